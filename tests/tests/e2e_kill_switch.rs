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

/// Status and reason, from the service or, once its gateway has the snapshot, from that: whoever is asked first.
type Either = [(u16, &'static str); 2];

/// A call on a connection of its own, so that any worker may get it; status and body, or nothing where it was a result.
async fn refused(writ: &Deployment, token: &str) -> Option<(u16, String)> {
    let request = mcp::post_call(&Client::new(), &writ.url(), token, "tell", &json!({}));
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let answer = answer.text().await.unwrap();
    let message = mcp::message_in(&answer).unwrap_or_default();
    match message.get("result") {
        Some(_) => None,
        None => Some((status, answer)),
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

/// Runs the command with streams open; they end, and what is called then is refused with one of these statuses and reasons:
/// the service's, and the gateway's own once it has heard of it.
async fn stop(writ: &Deployment, token: &str, command: &[&str], told: Either) {
    goes_on(writ, token).await;
    let mut ends = JoinSet::new();
    for _ in 0..STREAMS {
        let mut open = stream(writ, token).await;
        ends.spawn(async move { while let Ok(Some(_)) = open.chunk().await {} });
    }
    let shown = command.join(" ");
    let so_refused = |answer: Option<(u16, String)>| {
        let (found, body) = answer.unwrap_or_else(|| panic!("{shown}: a call went through"));
        let so = |(status, reason): &(u16, &str)| found == *status && body.contains(reason);
        assert!(told.iter().any(so), "{shown}: {found} {body}");
    };
    let on_record = [command, &["--reason", "a drill"]].concat();
    writ.service.cli(&on_record).unwrap();
    let done = Instant::now();
    let next = refused(writ, token).await;
    let refused_after = done.elapsed();
    so_refused(next);
    let ended = timeout(SOON, ends.join_all()).await;
    assert!(ended.is_ok(), "{shown}: a stream goes on");
    println!(
        "writ {shown}: the next call was refused after {:.1} ms, the last open stream ended after {:.1} ms",
        refused_after.as_secs_f64() * 1e3,
        done.elapsed().as_secs_f64() * 1e3,
    );
    // Whichever worker gets it, and whatever it remembers of the caller.
    for _ in 0..8 {
        so_refused(refused(writ, token).await);
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
    let all = "an administrator has stopped all calls but some";
    let locked_down = [(200, all), (401, all)];
    let cases: [(&[&str], Either, &[&str]); 4] = [
        (
            &["agent", "disable", BATCH],
            [
                (401, "the agent is disabled or not registered"),
                (401, "the agent is not approved"),
            ],
            &["agent", "enable", BATCH],
        ),
        (
            &["server", "disable", SERVER],
            [
                (503, "the token service does not mint for this server"),
                (404, "MCP server `ledger` is switched off"),
            ],
            &["server", "enable", SERVER],
        ),
        (&["lockdown"], locked_down, &["lockdown", "--off"]),
        (
            &["lockdown", "--allow", "subject:nobody"],
            locked_down,
            &["lockdown", "--allow", "server:ledger"],
        ),
    ];
    for (off, told, on) in cases {
        stop(&writ, &token, off, told).await;
        writ.service.cli(on).unwrap();
        goes_on(&writ, &token).await;
    }
    let revoked = [
        (401, "subject_token has been revoked"),
        (401, "the token has been revoked"),
    ];
    stop(&writ, &token, &["revoke", "--subject", BATCH], revoked).await;
    // It may sign in again, from the next second on.
    let again = until("a token that is good", PATIENCE, async || {
        let token = writ.batch_token().await.ok()?;
        refused(&writ, &token).await.is_none().then_some(token)
    })
    .await
    .unwrap();
    stop(&writ, &again, &["revoke", "--agent", BATCH], revoked).await;
}
