//! What others are shown of the log: servers, that the records of their tokens are in it, and witnesses, that it goes on.

use std::sync::{Arc, Mutex};

use axum::{Router, extract::State, http::HeaderMap};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use reqwest::{Response, StatusCode};
use serde_json::Value;
use sha2::Sha256;
use writ_token_service::{
    config::audit::Endpoint,
    log::{
        checkpoint::{Head, NoteKey, PublicKey},
        cosign::{self, CosignError, Witness},
        keep, sequence, tree,
    },
    store::Store,
};

use crate::{
    harness::{Service, call, place},
    log::Log,
    waiting::until,
};

/// A token whose record is proved, as a server asks for it.
async fn asked(service: &Service, path: &str) -> Response {
    let request = service.http.get(service.public_url(path));
    let request = request.basic_auth("ledger", Some(&service.server_secret));
    request.send().await.unwrap()
}

/// The proof of a path, once a checkpoint has what it is about.
async fn proved(service: &Service, path: &str) -> Value {
    let ask = async || {
        let answer = asked(service, path).await;
        match answer.status() {
            StatusCode::OK => Some(answer.json().await.unwrap()),
            StatusCode::NOT_FOUND => None,
            other => panic!("{other}: {}", answer.text().await.unwrap()),
        }
    };
    until("proof", ask).await
}

fn hashes(proof: &Value) -> Vec<sha2::digest::Output<Sha256>> {
    let hash = |text: &Value| STANDARD.decode(text.as_str().unwrap()).unwrap();
    let hashes = proof["proof"].as_array().unwrap().iter().map(hash);
    hashes
        .map(|hash| <[u8; 32]>::try_from(hash).unwrap().into())
        .collect()
}

/// The proofs are checked by another's implementation of RFC 6962.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_shown_that_the_records_of_its_tokens_are_in_the_log() {
    let service = Service::start_with(|config| {
        config.audit.checkpoint_interval = std::time::Duration::from_millis(1);
    })
    .await;
    let key = PublicKey::parse(&service.running.app.log_key.public()).unwrap();
    let root = |proof: &Value| {
        let head = Head::read(proof["checkpoint"].as_str().unwrap(), &key).unwrap();
        (
            head.size,
            RootHash::<Sha256>::new(head.root.0.into(), head.size),
        )
    };
    let mut first = None;
    for _ in 0..3 {
        let (_, answer) = service.mint(&call("echo")).await;
        let token = answer["jti"].as_str().unwrap();
        let proof = proved(&service, &format!("/audit/v1/inclusion?token={token}")).await;
        assert_eq!(
            (&proof["leaf"]["token_id"], &proof["leaf"]["server"]),
            (&token.into(), &"ledger".into())
        );
        assert!(!proof["leaf"].to_string().contains("alice"));
        let (_, root) = root(&proof);
        let digests = hashes(&proof);
        let inclusion = InclusionProof::<Sha256>::from_digests(digests.iter());
        // Members in their order, without spaces: RFC 8785, for a document of texts.
        let leaf = proof["leaf"].to_string().into_bytes();
        let index = proof["index"].as_u64().unwrap();
        root.verify_inclusion(&leaf, index, &inclusion).unwrap();
        root.verify_inclusion(&b"{}".to_vec(), index, &inclusion)
            .unwrap_err();
        first.get_or_insert(proof);
    }
    let first = first.unwrap();
    let (older, old_root) = root(&first);
    let proof = proved(&service, &format!("/audit/v1/consistency?from={older}")).await;
    let (newer, new_root) = root(&proof);
    assert!(newer > older);
    let digests = hashes(&proof);
    let consistency = ConsistencyProof::<Sha256>::from_digests(digests.iter());
    new_root
        .verify_consistency(&old_root, &consistency)
        .unwrap();
    let note = asked(&service, "/audit/v1/checkpoint")
        .await
        .text()
        .await
        .unwrap();
    assert!(Head::read(&note, &key).unwrap().size >= newer);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_shown_what_is_none_of_their_business() {
    let service = Service::start().await;
    let (_, answer) = service.mint(&call("echo")).await;
    let path = format!(
        "/audit/v1/inclusion?token={}",
        answer["jti"].as_str().unwrap()
    );
    let request = service.http.get(service.public_url(&path));
    let other = request.basic_auth("other", Some(&service.other_secret));
    let answer = other.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    assert_eq!(answer.json::<Value>().await.unwrap()["error"], "not_found");
    for path in [
        path.as_str(),
        "/audit/v1/checkpoint",
        "/audit/v1/consistency?from=1",
    ] {
        let nobody = service
            .http
            .get(service.public_url(path))
            .send()
            .await
            .unwrap();
        assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    for wrong in ["/audit/v1/inclusion", "/audit/v1/inclusion?token=a&more=b"] {
        assert_eq!(
            asked(&service, wrong).await.status(),
            StatusCode::BAD_REQUEST,
            "{wrong}"
        );
    }
    proved(&service, "/audit/v1/consistency?from=1").await;
    for wrong in ["from=0", "from=1000000", "from=-1"] {
        let path = format!("/audit/v1/consistency?{wrong}");
        assert_eq!(
            asked(&service, &path).await.status(),
            StatusCode::BAD_REQUEST,
            "{wrong}"
        );
    }
}

/// A witness of the log of this key, and a service whose log it sees.
async fn witness_of(log: &NoteKey) -> Service {
    let log = PublicKey::parse(&log.public()).unwrap();
    Service::start_with(move |config| {
        config.audit.witness_name = Some("witness.example".to_owned());
        config.audit.witness_of = vec![log];
    })
    .await
}

async fn add_checkpoint(witness: &Service, body: String) -> (u16, String) {
    let url = witness.public_url("/witness/add-checkpoint");
    let answer = witness.http.post(url).body(body).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_cosigns_a_log_that_goes_on_and_no_other() {
    let log = Log::of(3).await;
    log.grow(4).await;
    log.grow(1).await;
    let notes: Vec<_> = log.store.checkpoints().await.unwrap();
    let witness = witness_of(&log.key).await;
    let key = witness.running.app.witness_key.as_ref().unwrap().public();
    let key = PublicKey::parse(&key).unwrap();
    let proof = async |size: u64, older: u64| {
        let tiles = log.store.tiles(tree::for_tree(size, older)).await.unwrap();
        let proof = tiles.prove_tree(size, older).unwrap();
        proof
            .iter()
            .map(|hash| format!("{hash}\n"))
            .collect::<String>()
    };
    let ask = async |old: u64, proof: &str, note: &str| {
        add_checkpoint(&witness, format!("old {old}\n{proof}\n{note}")).await
    };
    let first = &notes[0].note;
    let (status, line) = ask(0, "", first).await;
    assert_eq!(status, 200, "{line}");
    Head::read(&format!("{first}{line}"), &key).unwrap();
    assert_eq!(ask(3, "", first).await.0, 200, "the same again");

    let second = &notes[1].note;
    assert_eq!(ask(0, "", second).await, (409, "3\n".to_owned()));
    assert_eq!(ask(3, "", second).await.0, 422);
    assert_eq!(
        ask(3, &proof(8, 3).await, second).await.0,
        422,
        "of another size"
    );
    assert_eq!(ask(3, &proof(7, 3).await, second).await.0, 200);
    assert_eq!(
        ask(3, &proof(7, 3).await, second).await,
        (409, "7\n".to_owned())
    );
    assert_eq!(ask(7, "", first).await.0, 400, "backwards");

    // The same size by the same key, of another tree.
    let split = log.key.checkpoint(7, tlog_tiles::Hash([1; 32])).unwrap();
    assert_eq!(ask(7, "", &split).await, (409, "7\n".to_owned()));
    let stranger = NoteKey::log("writ.example/audit", &[9; 32]);
    let forged = stranger.checkpoint(8, tlog_tiles::Hash([1; 32])).unwrap();
    assert_eq!(ask(7, "", &forged).await.0, 403);
    let other = NoteKey::log("other.example/audit", &[9; 32]);
    let unknown = other.checkpoint(8, tlog_tiles::Hash([1; 32])).unwrap();
    assert_eq!(ask(0, "", &unknown).await.0, 404);
    for wrong in [
        "",
        "old 7\n",
        "old -1\n\nx",
        "old 07\n\nx",
        "new 7\n\nx",
        "old 7\nnothash\n\nx",
    ] {
        assert_eq!(
            add_checkpoint(&witness, wrong.to_owned()).await.0,
            400,
            "{wrong:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_are_cosigned_by_a_second_service() {
    // The log's key is known before it starts: its database is made first.
    let dir = tempfile::tempdir().unwrap();
    let data = place(&dir.path().join("data"));
    let store = Store::open(&data).await.unwrap();
    let key = keep::key(&store, &None, "https://writ.example")
        .await
        .unwrap();
    store.close().await;
    let witness = witness_of(&key).await;
    let cosigns = witness.running.app.witness_key.as_ref().unwrap().public();
    let cosigns = PublicKey::parse(&cosigns).unwrap();
    let seen = Witness {
        url: witness.public_url("/witness").parse().unwrap(),
        key: cosigns.clone(),
    };
    // Another accepts connections and never answers, and keeps nobody.
    let hanging = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", hanging.local_addr().unwrap());
    let service = Service::start_with(|config| {
        config.store = Some(data);
        config.audit.checkpoint_interval = std::time::Duration::from_millis(1);
        config.audit.witnesses = vec![witness_at(&url), seen];
    })
    .await;
    let (hangs, _) = hanging.accept().await.unwrap();
    let cosigned = async |more_than: u64| {
        let look = async || {
            let newest = service.store().newest_checkpoint().await.unwrap()?;
            let counts = newest.size > more_than && Head::read(&newest.note, &cosigns).is_ok();
            counts.then_some(newest.size)
        };
        until("cosignature", look).await
    };
    let first = cosigned(0).await;
    service.mint(&call("echo")).await;
    let second = cosigned(first).await;
    assert_eq!(
        service.store().cosigned("witness.example").await.unwrap(),
        second
    );
    let mut asked = [0; 4096];
    while hangs.try_read(&mut asked).is_ok_and(|read| {
        assert_ne!(read, 0, "nobody waited until it was given up");
        true
    }) {}
    service.running.stop().await;
}

/// A witness of any name and key, which nobody asks twice.
fn witness_at(url: &str) -> Witness {
    let key = NoteKey::witness("other.example", &[7; 32]).public();
    Witness {
        url: url.parse().unwrap(),
        key: PublicKey::parse(&key).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_has_seen_more_tells_of_a_log_that_was_put_back() {
    let saw = |headers| (axum::http::StatusCode::CONFLICT, headers, "999999\n");
    let saw = saw([("content-type", "text/x.tlog.size")]);
    let routes = axum::Router::new().fallback(move || async move { saw });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    let service = Service::start().await;
    let newest = async || service.store().newest_checkpoint().await.unwrap();
    until("a checkpoint", newest).await;
    let told = cosign::newest_by(&service.running.app, &witness_at(&url)).await;
    assert!(matches!(told, Err(CosignError::Ahead(999_999))), "{told:?}");
}

/// What an endpoint was sent (credential and note) and whether it takes that.
type Posts = Arc<Mutex<(Vec<(String, String)>, bool)>>;

async fn post(State(posts): State<Posts>, headers: HeaderMap, note: String) -> StatusCode {
    let mut posts = posts.lock().unwrap();
    let credential = headers["authorization"].to_str().unwrap().to_owned();
    posts.0.push((credential, note));
    match posts.1 {
        true => StatusCode::NO_CONTENT,
        false => StatusCode::SERVICE_UNAVAILABLE,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_posted_until_it_is_taken() {
    let posts = Posts::default();
    let routes = Router::new().fallback(post).with_state(Arc::clone(&posts));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/checkpoints", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    let service = Service::start_with(|config| {
        config.audit.checkpoint_interval = std::time::Duration::from_millis(1);
        config.audit.checkpoint_endpoint = Some(Endpoint {
            url: url.parse().unwrap(),
            token: Some("s3cr3t".into()),
        });
    })
    .await;
    let sent = || posts.lock().unwrap().0.clone();
    until("the same checkpoint once more", async || {
        let sent = sent();
        let (last, others) = sent.split_last()?;
        others.contains(last).then_some(())
    })
    .await;
    let before = {
        let mut posts = posts.lock().unwrap();
        posts.1 = true;
        posts.0.len()
    };
    until("what is taken", async || sent().get(before).cloned()).await;
    service.mint(&call("echo")).await;
    let key = PublicKey::parse(&service.running.app.log_key.public()).unwrap();
    let size = sequence::catch_up(service.store()).await.unwrap();
    until("the checkpoint of what came after", async || {
        let (credential, note) = sent().pop()?;
        assert_eq!(credential, "Bearer s3cr3t");
        (Head::read(&note, &key).unwrap().size >= size).then_some(())
    })
    .await;
    service.running.stop().await;
    let mut taken = sent().split_off(before);
    let all = taken.len();
    taken.dedup();
    assert_eq!(taken.len(), all, "what was taken is not sent again");
}
