//! The kill switch on a real Envoy with two workers: how long after the command the next call is refused and the last open
//! stream has ended, and that all goes on again when it may.

use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;
use writ_tests::deployment::{Deployment, Options};
use writ_tests::mcp;
use writ_tests::registrations::{BATCH, SERVER};
use writ_tests::talking::TalkingServer;
use writ_tests::wait::{PATIENCE, until};

const POLICY: &str = "package writ\n\ncall := {\"allow\": true}\n\nvisible := call\n";
/// Streams that are open at a time: each worker has some.
const STREAMS: usize = 6;
/// How soon all of them have ended: a gateway's poll, a tick, and what a busy machine takes.
const SOON: Duration = Duration::from_secs(10);

/// A call on a connection of its own, so that any worker may get it; what came back, or nothing where it was a result.
async fn refused(writ: &Deployment, token: &str) -> Option<String> {
    let request = mcp::post_call(&Client::new(), &writ.url(), token, "tell", &json!({}));
    let answer = request.send().await.unwrap().text().await.unwrap();
    let message = mcp::message_in(&answer).unwrap_or_default();
    match message.get("result") {
        Some(_) => None,
        None => Some(answer),
    }
}

/// Calls go through on both workers.
async fn goes_on(writ: &Deployment, token: &str) {
    until("calls to go through", PATIENCE, async || {
        for _ in 0..8 {
            if refused(writ, token).await.is_some() {
                return None;
            }
        }
        Some(())
    })
    .await
    .unwrap();
}

/// A stream that has begun and does not end by itself.
async fn stream(writ: &Deployment, token: &str) -> reqwest::Response {
    let mut message = mcp::call_message("hang", &json!({}));
    message["params"]["_meta"]["progressToken"] = json!("p");
    let request = mcp::post_call(&Client::new(), &writ.url(), token, "hang", &json!({}));
    let mut answer = request.body(message.to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.chunk().await.unwrap().is_some(), "it has begun");
    answer
}

/// Runs the command with streams open; they end, and what is called then is refused.
async fn stop(writ: &Deployment, token: &str, command: &[&str]) {
    goes_on(writ, token).await;
    let mut ends = JoinSet::new();
    for _ in 0..STREAMS {
        let mut open = stream(writ, token).await;
        ends.spawn(async move { while let Ok(Some(_)) = open.chunk().await {} });
    }
    let shown = command.join(" ");
    let reason = [command, &["--reason", "a drill"]].concat();
    writ.service.cli(&reason).unwrap();
    let done = Instant::now();
    let why = refused(writ, token).await;
    let refused_after = done.elapsed();
    assert!(why.is_some(), "{shown}: the next call went through");
    let ended = timeout(SOON, ends.join_all()).await;
    assert!(ended.is_ok(), "{shown}: a stream goes on");
    println!(
        "writ {shown}: the next call was refused after {:.1} ms, the last open stream ended after {:.1} ms",
        refused_after.as_secs_f64() * 1e3,
        done.elapsed().as_secs_f64() * 1e3,
    );
    // Whichever worker gets it, and whatever it remembers of the caller.
    for _ in 0..8 {
        assert!(refused(writ, token).await.is_some(), "{shown}");
    }
    let records = writ.service.audit().unwrap();
    let on_record = |record: &&Value| record["kind"] == "admin" && record["reason"] == "a drill";
    assert!(records.iter().any(|record| on_record(&record)), "{shown}");
}

#[tokio::test]
async fn whoever_is_stopped_is_refused_at_once_and_their_streams_end() {
    let server = TalkingServer::start().await.unwrap();
    let writ = Deployment::start(Options {
        policy: Some(POLICY.to_owned()),
        upstream: Some(server.port()),
        workers: 2,
        ..Options::named("kill-switch")
    })
    .await
    .unwrap();
    let token = writ.batch_token().await.unwrap();
    let cases: [(&[&str], &[&str]); 4] = [
        (&["agent", "disable", BATCH], &["agent", "enable", BATCH]),
        (
            &["server", "disable", SERVER],
            &["server", "enable", SERVER],
        ),
        (&["lockdown"], &["lockdown", "--off"]),
        (
            &["lockdown", "--allow", "subject:nobody"],
            &["lockdown", "--allow", "server:ledger"],
        ),
    ];
    for (off, on) in cases {
        stop(&writ, &token, off).await;
        writ.service.cli(on).unwrap();
        goes_on(&writ, &token).await;
    }
    stop(&writ, &token, &["revoke", "--subject", BATCH]).await;
    // It may sign in again, from the next second on.
    let again = until("a token that is good", PATIENCE, async || {
        let token = writ.batch_token().await.ok()?;
        refused(&writ, &token).await.is_none().then_some(token)
    })
    .await
    .unwrap();
    stop(&writ, &again, &["revoke", "--agent", BATCH]).await;
}
