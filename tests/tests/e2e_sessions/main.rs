//! Sessions through the gateway, on two workers: the SDK's reference server, which keeps them and asks its clients things, real
//! clients, and a thief.

mod stage;

use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use stage::{BOB, Events, Stage};
use writ_tests::clients::Script;
use writ_tests::wait::{PATIENCE, until};

fn asks(message: &Value) -> bool {
    message["method"] == "elicitation/create"
}

fn ask() -> Value {
    json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call",
        "params": {"name": "trigger-elicitation-request", "arguments": {}}})
}

fn answer(question: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept", "content": {"name": "Alice Example"}}})
}

#[tokio::test]
async fn an_sdk_client_answers_what_an_sdk_server_asks_and_ends_its_session() {
    let stage = Stage::set("session-sdk").await;
    let told = json!({"url": stage.writ.url(), "token": stage.alice, "calls": [
        {"name": "trigger-elicitation-request", "arguments": {}},
        {"name": "trigger-sampling-request", "arguments": {"prompt": "hello"}},
    ]});
    let mut client = Script::node("session.mjs", &told).await.unwrap();
    let session = client.next().await.unwrap().unwrap();
    let session = session["session"].as_str().unwrap();
    let direct = stage.past_the_gateway(session).await;
    assert_eq!(
        direct, 400,
        "the server knows no session by the client's name"
    );
    for said in ["Alice Example", "a sample"] {
        let line = client.next().await.unwrap().unwrap();
        assert!(
            line["result"]["content"].to_string().contains(said),
            "{line}"
        );
    }
    assert_eq!(
        client.next().await.unwrap().unwrap(),
        json!({"ended": true})
    );
    for method in ["elicitation/create", "sampling/createMessage"] {
        let method = format!("response/{method}");
        let record = stage
            .writ
            .audit_record(&method, |r| r["method"] == method.as_str());
        assert_eq!(record.await.unwrap()["decision"], "allow");
    }

    // Another session of the same user's.
    stage.session(&stage.alice).await;
    let digest = Sha256::digest(session);
    let name: String = digest.iter().take(16).map(|b| format!("{b:02x}")).collect();
    let list = ["audit", "list", "--session", &name, "--limit", "1000"];
    let is = |record: &Value, kind: &str, method: &str| {
        record["kind"] == kind && record["method"] == method
    };
    let records = until("all of the session on record", PATIENCE, async || {
        let records = stage.writ.service.cli(&list).ok()?;
        let many = |method| {
            let outcomes = records.iter().filter(|r| is(r, "outcome", method));
            outcomes.count()
        };
        (many("session/close") > 0 && many("tools/call") >= 2).then_some(records)
    });
    let records = records.await.unwrap();
    for (kind, method, times) in [
        // It has no name before it is answered.
        ("mint", "initialize", 0),
        ("mint", "tools/call", 2),
        ("outcome", "tools/call", 2),
        ("mint", "response/elicitation/create", 1),
    ] {
        let found = records.iter().filter(|record| is(record, kind, method));
        assert_eq!(found.count(), times, "{kind} {method}: {records:?}");
    }
    let mut records = records.iter();
    assert!(records.any(|record| is(record, "outcome", "initialize")));
}

#[tokio::test]
async fn a_stolen_session_is_worth_nothing() {
    let stage = Stage::set("session-stolen").await;
    let session = stage.session(&stage.alice).await;
    let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"});
    // Often enough that both workers have seen it.
    for _ in 0..8 {
        assert_eq!(
            stage
                .post(&stage.alice, Some(&session), &list)
                .await
                .status(),
            200
        );
        assert_eq!(
            stage.post(&stage.bob, Some(&session), &list).await.status(),
            404
        );
    }
    for method in [Method::GET, Method::DELETE] {
        let stolen = stage.request(method, &stage.bob, Some(&session));
        assert_eq!(stolen.send().await.unwrap().status(), 404);
    }
    let denied = stage.writ.audit_record("the theft", |record| {
        record["detail"]["cause"] == "session" && record["subject"] == BOB.0
    });
    denied.await.unwrap();

    let workers = stage.writ.envoy.stats("worker_").await.unwrap();
    let served = |worker: &str| {
        let of = |name: &String| name.contains(worker) && name.ends_with("downstream_cx_total");
        workers
            .iter()
            .filter(|(name, _)| of(name))
            .map(|(_, n)| n)
            .sum::<u64>()
    };
    assert!(
        served("worker_0") > 0 && served("worker_1") > 0,
        "{workers:?}"
    );

    let own = stage
        .request(Method::DELETE, &stage.alice, Some(&session))
        .send()
        .await
        .unwrap();
    assert_eq!(own.status(), 200);
    assert!(
        !stage
            .post(&stage.alice, Some(&session), &list)
            .await
            .status()
            .is_success()
    );
}

#[tokio::test]
async fn only_who_was_asked_answers_on_whichever_worker() {
    let stage = Stage::set("session-answers").await;
    let session = stage.session(&stage.alice).await;
    let bobs = stage.session(&stage.bob).await;
    for _ in 0..4 {
        let mut stream = Events::of(stage.post(&stage.alice, Some(&session), &ask()).await);
        let (_, question) = stream.until(asks).await;
        assert!(
            question["id"].is_string(),
            "the server numbers its questions: {question}"
        );
        let answer = answer(&question);
        for (token, within, status) in [
            (&stage.bob, None, 400),
            (&stage.bob, Some(&bobs), 400),
            (&stage.bob, Some(&session), 404),
            (&stage.alice, None, 400),
        ] {
            let refused = stage.post(token, within.map(String::as_str), &answer).await;
            assert_eq!(refused.status(), status);
        }
        let taken = stage.post(&stage.alice, Some(&session), &answer).await;
        assert_eq!(taken.status(), 202);
        let (_, result) = stream.until(|message| message["id"] == 5).await;
        assert!(result.to_string().contains("Alice Example"), "{result}");
    }
    let denied = stage.writ.audit_record("the answers of others", |record| {
        record["detail"]["cause"] == "question" && record["subject"] == BOB.0
    });
    denied.await.unwrap();
}

#[tokio::test]
async fn a_stream_is_taken_up_again_and_its_question_answered_there() {
    let stage = Stage::set("session-resumed").await;
    let session = stage.session(&stage.alice).await;
    let mut stream = Events::of(stage.post(&stage.alice, Some(&session), &ask()).await);
    let (first, _) = stream.until(asks).await;
    // A second question follows the first; the stream breaks before it is read.
    let answer_to = async |question: &Value| {
        stage
            .post(&stage.alice, Some(&session), &answer(question))
            .await
            .status()
    };
    let mut again = Events::of(stage.post(&stage.alice, Some(&session), &ask()).await);
    let (_, second) = again.until(asks).await;
    drop(again);

    let resumed = stage
        .request(Method::GET, &stage.alice, Some(&session))
        .header("last-event-id", &first);
    let mut resumed = Events::of(resumed.send().await.unwrap());
    let (_, repeated) = resumed.until(asks).await;
    assert_eq!(
        repeated["id"], second["id"],
        "a question that is repeated keeps its name"
    );
    assert_eq!(answer_to(&repeated).await, 202);

    let others = stage
        .request(Method::GET, &stage.bob, Some(&session))
        .header("last-event-id", &first);
    assert_eq!(others.send().await.unwrap().status(), 404);
}
