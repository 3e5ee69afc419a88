//! Streams pass through as they are written: the server's first event arrives before it has sent its second.

use std::time::Duration;

use serde_json::{Value, json};
use writ_tests::clients::{Sdk, Story};
use writ_tests::deployment::{Deployment, Options};
use writ_tests::mcp;
use writ_tests::waiting::WaitingServer;

/// Allows everything: these tests are about what happens afterwards.
const ALLOW_ALL: &str =
    "package writ\n\ncall := {\"allow\": true}\n\nvisible := {\"allow\": true}\n";

async fn deployment(name: &str, server: &WaitingServer) -> Deployment {
    Deployment::start(Options {
        policy: Some(ALLOW_ALL.to_owned()),
        upstream: Some(server.address().port()),
        ..Options::named(name)
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn an_event_arrives_before_the_server_has_sent_the_next() {
    let server = WaitingServer::start().await.unwrap();
    let writ = deployment("streaming", &server).await;
    let token = writ.batch_token().await.unwrap();

    let mut message = mcp::call_message("wait", &json!({}));
    message["params"]["_meta"]["progressToken"] = json!("p");
    let mut answer = writ
        .post_call(&token, "wait", &json!({}))
        .body(message.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);

    let mut seen = String::new();
    while !seen.contains("notifications/progress") {
        seen += &next_chunk(&mut answer)
            .await
            .expect("the stream ended before its first event");
    }
    assert!(
        !seen.contains("the rest"),
        "the first event came with the last: {seen}"
    );

    server.go_on();
    while let Some(chunk) = next_chunk(&mut answer).await {
        seen += &chunk;
    }
    assert!(seen.contains("the rest"), "{seen}");
}

async fn next_chunk(answer: &mut reqwest::Response) -> Option<String> {
    let chunk = tokio::time::timeout(Duration::from_secs(10), answer.chunk())
        .await
        .expect("nothing came through for ten seconds")
        .unwrap()?;
    Some(String::from_utf8_lossy(&chunk).into_owned())
}

#[tokio::test]
async fn every_sdk_sees_progress_before_the_result() {
    let server = WaitingServer::start().await.unwrap();
    let writ = deployment("streaming-sdks", &server).await;
    let token = writ.batch_token().await.unwrap();
    let steps = json!([{ "call": "wait", "arguments": {}, "progress": true }]);

    for sdk in Sdk::ALL {
        let mut story = Story::start(sdk, &writ.url(), Some(&token), &steps)
            .await
            .unwrap();
        let connected = story.next().await.unwrap();
        assert_eq!(connected, Some(json!({ "connected": true })), "{sdk:?}");
        let first: Value = story.next().await.unwrap().unwrap();
        assert_eq!(first["progress"]["message"], "waiting", "{sdk:?}: {first}");
        server.go_on();
        let last = story.next().await.unwrap().unwrap();
        assert_eq!(
            last["result"]["content"][0]["text"], "the rest",
            "{sdk:?}: {last}"
        );
    }
}
