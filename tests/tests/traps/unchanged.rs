//! What was decided on is what the server gets: Writ is last.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;
use sha2::{Digest, Sha256};
use writ_tests::deployment::{Deployment, Options};
use writ_tests::ledger::tap::Heard;
use writ_tests::traps::table::UNCHANGED;

use super::bad::{Answer, Post, TOOL};

/// The digest that the minted token is bound to (RFC 9530), and that of the body it came with.
fn digests(heard: &Heard) -> (String, String) {
    let bound = heard.headers["content-digest"].to_str().unwrap();
    let body = BASE64_STANDARD.encode(Sha256::digest(&heard.body));
    (bound.to_owned(), format!("sha-256=:{body}:"))
}

#[tokio::test]
async fn what_was_decided_on_is_what_the_server_gets() {
    // A server that verifies its tokens by itself, as the guard does.
    let writ = Deployment::start(Options {
        traps: UNCHANGED.to_vec(),
        ..Options::named("traps-unchanged")
    })
    .await
    .unwrap();
    let token = writ.batch_token().await.unwrap();
    let call = Post::good(&token).header("host", writ.envoy.listener().to_string());
    let send = async |trap: &str| -> (Answer, Heard) {
        writ.ledger.tap().clear();
        let answer = call.send(writ.traps[trap]).await;
        (answer, writ.ledger.tap().heard().remove(0))
    };

    let (answer, heard) = send("changed-after-the-filter").await;
    assert_eq!(heard.json()["params"]["name"], "closeBooks", "not {TOOL}");
    let (bound, body) = digests(&heard);
    assert_ne!(bound, body, "the token is not for this body");
    assert_ne!(answer.status, 200, "who verifies refuses it: {answer}");

    for trap in [
        "credential-after-the-filter",
        "filter-at-the-cluster",
        "credential-on-a-host",
    ] {
        let (answer, heard) = send(trap).await;
        assert_eq!(heard.bearer(), Some("standing-credential"), "{trap}");
        assert_eq!(answer.status, 401, "{trap}: who verifies refuses it");
    }
    let (_, heard) = send("credential-on-a-route").await;
    assert_eq!(heard.headers["x-api-key"], "standing-credential");

    writ.ledger.tap().clear();
    let answer = call.send(writ.envoy.listener()).await;
    assert_eq!(answer.status, 200, "as shipped: {answer}");
    let heard = writ.ledger.tap().last_call(TOOL).unwrap();
    let (bound, body) = digests(&heard);
    assert_eq!(bound, body);
    assert!(!heard.headers.contains_key("x-api-key"));
    assert_eq!(
        heard.json()["params"]["arguments"],
        json!({"account": "ops"})
    );
}
