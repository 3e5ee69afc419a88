//! What comes back through a real Envoy: results masked, a server's questions decided on, every ending told apart, and
//! streams that end with their caller's leave.

use std::net::Ipv4Addr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use writ_tests::clients::{Sdk, Story};
use writ_tests::deployment::{Deployment, Options};
use writ_tests::mcp::{self, Era};
use writ_tests::registrations::BATCH;
use writ_tests::talking::{CARD, SECRET, TalkingServer};

/// Allows what clients ask and nothing that servers do, and masks what a server tells.
const POLICY: &str = r#"package writ

default call := {"allow": false, "reason": "servers ask nothing here"}

call := {"allow": true} if input.mcp.from == "client"

visible := {"allow": true}

result := {"allow": true, "mask": ["card_numbers", "secrets"]} if input.mcp.tool == "tell"
"#;

/// How soon a stream ends that may not go on: a snapshot interval, a tick, and what a busy machine takes.
const SOON: Duration = Duration::from_secs(10);

async fn deployment(name: &str, upstream: u16) -> Deployment {
    Deployment::start(Options {
        policy: Some(POLICY.to_owned()),
        upstream: Some(upstream),
        ..Options::named(name)
    })
    .await
    .unwrap()
}

/// The outcome of the only call of `tool`.
async fn outcome(writ: &Deployment, tool: &str) -> Value {
    writ.audit_record(&format!("the outcome of {tool}"), |record| {
        record["kind"] == "outcome" && record["target"] == tool
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_result_is_masked_for_every_sdk_and_says_so() {
    let server = TalkingServer::start().await.unwrap();
    let writ = deployment("masked", server.port()).await;
    let token = writ.batch_token().await.unwrap();
    let steps = json!([{ "call": "tell", "arguments": {} }]);
    for sdk in Sdk::ALL {
        let answers = Story::play(sdk, &writ.url(), Some(&token), &steps)
            .await
            .unwrap();
        let result = &answers[0]["result"];
        let shown = result.to_string();
        assert!(
            !shown.contains(CARD) && !shown.contains(SECRET),
            "{sdk:?}: {shown}"
        );
        assert_eq!(
            result["structuredContent"],
            json!({ "card": "[card number]", "notes": ["token: [secret]"], "left": 1 }),
            "{sdk:?}: {shown}"
        );
        assert_eq!(
            result["_meta"]["writ/masked"],
            json!({ "card_number": 2, "secret": 2 }),
            "{sdk:?}: {shown}"
        );
    }
    let outcome = outcome(&writ, "tell").await;
    assert_eq!(outcome["detail"]["result"], "ok");
    assert_eq!(
        outcome["detail"]["masked"],
        json!({ "card_number": 2, "secret": 2 })
    );
    assert!(
        outcome["result_digest"]
            .as_str()
            .unwrap()
            .starts_with("sha-256=:"),
        "{outcome}"
    );
}

#[tokio::test]
async fn the_digest_on_record_is_that_of_what_the_caller_got() {
    let server = TalkingServer::start().await.unwrap();
    let writ = deployment("result-digest", server.port()).await;
    let token = writ.batch_token().await.unwrap();
    let answer = writ.post_call(&token, "tell", &json!({})).send().await;
    let body = answer.unwrap().text().await.unwrap();
    let data = body
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("data: "))
        .unwrap_or(&body);
    assert!(data.contains("[secret]"), "{body}");
    let outcome = outcome(&writ, "tell").await;
    let digest = STANDARD.encode(Sha256::digest(data));
    assert_eq!(outcome["result_digest"], format!("sha-256=:{digest}:"));
}

/// Begins a call that never ends, and waits for its first event.
async fn hanging(writ: &Deployment, token: &str) -> reqwest::Response {
    let mut message = mcp::call_message("hang", &json!({}));
    message["params"]["_meta"]["progressToken"] = json!("p");
    let mut answer = writ
        .post_call(token, "hang", &json!({}))
        .body(message.to_string())
        .send()
        .await
        .unwrap();
    let mut seen = String::new();
    while !seen.contains("begun") {
        let chunk = tokio::time::timeout(Duration::from_secs(10), answer.chunk()).await;
        let chunk = chunk
            .unwrap()
            .unwrap()
            .expect("the stream ended before it began");
        seen += &String::from_utf8_lossy(&chunk);
    }
    answer
}

#[tokio::test]
async fn a_tools_error_and_a_caller_who_leaves_are_told_apart() {
    let server = TalkingServer::start().await.unwrap();
    let writ = deployment("endings", server.port()).await;
    let token = writ.batch_token().await.unwrap();
    let failed = writ.post_call(&token, "fail", &json!({})).send().await;
    failed.unwrap().bytes().await.unwrap();
    assert_eq!(
        outcome(&writ, "fail").await["detail"]["result"],
        "tool_error"
    );

    drop(hanging(&writ, &token).await);
    let left = outcome(&writ, "hang").await;
    assert_eq!(left["detail"]["result"], "cancelled", "{left}");
    assert_eq!(left.get("result_digest"), None, "{left}");

    let unknown = writ.post_call(&token, "nothing", &json!({})).send().await;
    unknown.unwrap().bytes().await.unwrap();
    let unknown = outcome(&writ, "nothing").await;
    assert_eq!(unknown["detail"]["result"], "protocol_error", "{unknown}");
}

#[tokio::test]
async fn a_server_that_is_too_slow_for_the_proxy_timed_out() {
    let server = TalkingServer::start().await.unwrap();
    let writ = Deployment::start(Options {
        policy: Some(POLICY.to_owned()),
        upstream: Some(server.port()),
        yaml: vec![("timeout: 0s".to_owned(), "timeout: 3s".to_owned())],
        ..Options::named("timed-out")
    })
    .await
    .unwrap();
    let token = writ.batch_token().await.unwrap();
    let rest = hanging(&writ, &token).await.bytes().await;
    let slow = outcome(&writ, "hang").await;
    assert_eq!(slow["detail"]["result"], "timed_out", "{slow} {rest:?}");
}

/// A server that begins an event stream and breaks off within an event.
async fn breaking_server() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = [0; 64 * 1024];
            let _ = connection.read(&mut request).await;
            let _ = connection
                .write_all(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n\
                      10\r\n: hi\n\ndata: {\"js\r\n",
                )
                .await;
        }
    });
    port
}

#[tokio::test]
async fn a_server_that_breaks_off_has_cut_the_call_off() {
    let writ = deployment("cut-off", breaking_server().await).await;
    let token = writ.batch_token().await.unwrap();
    let answer = writ.post_call(&token, "anything", &json!({})).send().await;
    let rest = answer.unwrap().text().await;
    assert!(!format!("{rest:?}").contains("js"), "{rest:?}");
    let broken = outcome(&writ, "anything").await;
    assert_eq!(broken["detail"]["result"], "cut_off", "{broken}");
}

#[tokio::test]
async fn a_stream_ends_soon_after_its_agent_is_switched_off() {
    let server = TalkingServer::start().await.unwrap();
    let writ = deployment("stream-ends", server.port()).await;
    let token = writ.batch_token().await.unwrap();
    let mut stream = hanging(&writ, &token).await;
    writ.service.cli(&["agent", "disable", BATCH]).unwrap();
    let end = tokio::time::timeout(SOON, async {
        while let Ok(Some(_)) = stream.chunk().await {}
    })
    .await;
    assert!(end.is_ok(), "the stream goes on");
    let ended = outcome(&writ, "hang").await;
    assert_eq!(ended["detail"]["result"], "ended", "{ended}");
    assert!(
        ended["reason"].as_str().unwrap().contains("not approved"),
        "{ended}"
    );
}

#[tokio::test]
async fn every_sdk_declines_a_question_that_was_denied_and_the_server_is_answered() {
    let server = TalkingServer::start().await.unwrap();
    let writ = deployment("denied-question", server.port()).await;
    let token = writ.batch_token().await.unwrap();
    let steps = json!([{ "call": "ask", "arguments": {} }]);
    for sdk in [
        Sdk::TypeScriptV1,
        Sdk::TypeScriptV2(Era::Sessions),
        Sdk::Python(Era::Sessions),
    ] {
        let answers = Story::play(sdk, &writ.url(), Some(&token), &steps)
            .await
            .unwrap();
        assert_eq!(
            answers[0]["result"]["content"][0]["text"], "declined -32601",
            "{sdk:?}: {}",
            answers[0]
        );
    }
    let client = mcp::connect(&writ.url(), &token, Era::Sessions)
        .await
        .unwrap();
    let answer = mcp::call(&client, "ask", json!({})).await.unwrap();
    let told = serde_json::to_value(&answer.content).unwrap();
    assert_eq!(told[0]["text"], "declined -32601", "{told}");
    let denied = writ
        .audit_record("the denied question", |record| {
            record["kind"] == "denied" && record["method"] == "roots/list"
        })
        .await
        .unwrap();
    assert_eq!(denied["target"], "ask");
    assert_eq!(denied["reason"], "servers ask nothing here");
}
