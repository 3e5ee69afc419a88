//! The Envoy around the filter: what the shipped YAML promises, and what happens where it is changed.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use serde_json::json;
use writ_tests::deployment::{Deployment, Options, gateway_yaml};
use writ_tests::envoy::{self, Envoy};
use writ_tests::scratch::Scratch;
use writ_tests::{binaries, mcp, tools};

const ALLOW_ALL: &str =
    "package writ\n\ncall := {\"allow\": true}\n\nvisible := {\"allow\": true}\n";

#[test]
fn the_shipped_yaml_is_valid() {
    // The files name the filter relative to the repository, where `make` puts it.
    binaries::wasm().unwrap();
    for name in ["gateway.yaml", "standalone.yaml"] {
        let checked = Command::new(tools::envoy().unwrap())
            .current_dir(binaries::workspace())
            .env("WRIT_GATEWAY_SECRET", "unused")
            .args(["--mode", "validate", "--config-path"])
            .arg(format!("envoy/{name}"))
            .output()
            .unwrap();
        let log = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(checked.status.success(), "{name}: {log}");
        for line in log.lines() {
            assert!(
                !line.to_lowercase().contains("deprecated"),
                "{name}: {line}"
            );
        }
    }
}

/// A server that always fails, and counts how often it is asked.
async fn failing_server() -> (u16, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let app = Router::new().fallback(move || {
        let counter = Arc::clone(&counter);
        async move {
            counter.fetch_add(1, Ordering::SeqCst);
            StatusCode::SERVICE_UNAVAILABLE
        }
    });
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (port, asked)
}

#[tokio::test]
async fn a_caller_cannot_turn_on_retries() {
    // As shipped, and with the circuit breaker out of the way that would stop them as well.
    let without_breaker = ("max_retries: 0".to_owned(), "max_retries: 3".to_owned());
    for (name, yaml) in [
        ("retries", vec![]),
        ("retries-no-breaker", vec![without_breaker]),
    ] {
        let (port, asked) = failing_server().await;
        let writ = Deployment::start(Options {
            policy: Some(ALLOW_ALL.to_owned()),
            upstream: Some(port),
            yaml,
            ..Options::named(name)
        })
        .await
        .unwrap();
        let token = writ.batch_token().await.unwrap();
        let answer = writ
            .post_call(&token, "reconcile", &json!({}))
            .header("x-envoy-retry-on", "5xx,reset,connect-failure")
            .header("x-envoy-max-retries", "3")
            .header("x-envoy-hedge-on-per-try-timeout", "true")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 503, "{name}");
        assert_eq!(
            asked.load(Ordering::SeqCst),
            1,
            "{name}: a single-use token was sent more than once"
        );
    }
}

#[tokio::test]
async fn what_could_be_read_in_two_ways_is_refused() {
    let writ = Deployment::start(Options::named("ambiguous"))
        .await
        .unwrap();
    let token = writ.batch_token().await.unwrap();
    let reached = writ.ledger.tap().count();

    let underscore = writ
        .post_call(&token, "reconcile", &json!({}))
        .header("mcp_name", "transfer")
        .send()
        .await;
    assert_eq!(underscore.unwrap().status(), 400);

    let escaped = writ.envoy.url("/x/..%2Fmcp");
    let escaped = mcp::post_call(&writ.http, &escaped, &token, "reconcile", &json!({}))
        .send()
        .await;
    assert_eq!(escaped.unwrap().status(), 400);

    let upgrade = writ
        .http
        .get(writ.url())
        .bearer_auth(&token)
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        .send()
        .await;
    assert_eq!(upgrade.unwrap().status(), 403);
    assert_eq!(
        writ.ledger.tap().count(),
        reached,
        "something reached the server"
    );

    let good = writ
        .post_call(&token, "reconcile", &json!({}))
        .send()
        .await
        .unwrap();
    assert_eq!(good.status(), 200);
}

#[tokio::test]
async fn a_caller_does_not_choose_the_request_id_on_record() {
    let writ = Deployment::start(Options::named("request-id"))
        .await
        .unwrap();
    let token = writ.batch_token().await.unwrap();
    let answer = writ
        .post_call(&token, "reconcile", &json!({}))
        .header("x-request-id", "chosen-by-the-caller")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let records = writ.service.audit().unwrap();
    let mint = records
        .iter()
        .rfind(|record| record["kind"] == "mint")
        .expect("no mint on record");
    assert_ne!(mint["request_id"], "chosen-by-the-caller");
    assert!(
        mint["request_id"].as_str().is_some_and(|id| !id.is_empty()),
        "{mint}"
    );
}

#[tokio::test]
async fn a_body_just_below_the_limit_goes_through_http_1_and_2() {
    let writ = Deployment::start(Options {
        open_ledger: true,
        ..Options::named("large")
    })
    .await
    .unwrap();
    let token = writ.batch_token().await.unwrap();
    let arguments = json!({ "account": "ops", "padding": "x".repeat(1_000_000) });
    let http2 = reqwest::Client::builder()
        .http2_prior_knowledge()
        .build()
        .unwrap();
    for http in [&writ.http, &http2] {
        let answer = mcp::post_call(http, &writ.url(), &token, "getAccount", &arguments)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        let message = mcp::message_in(&answer.text().await.unwrap()).unwrap();
        assert_eq!(
            message["result"]["structuredContent"]["id"], "ops",
            "{message}"
        );
    }
    assert_eq!(
        writ.ledger
            .tap()
            .last_call("getAccount")
            .unwrap()
            .body
            .len(),
        mcp::call_message("getAccount", &arguments)
            .to_string()
            .len()
    );
}

#[tokio::test]
async fn a_host_that_does_not_hold_headers_gets_a_503_and_leaks_nothing() {
    let writ = Deployment::start(Options {
        yaml: vec![(
            "allow_on_headers_stop_iteration: true".to_owned(),
            "allow_on_headers_stop_iteration: false".to_owned(),
        )],
        ..Options::named("no-hold")
    })
    .await
    .unwrap();
    let token = writ.batch_token().await.unwrap();
    let start = Instant::now();
    let answer = writ
        .post_call(&token, "reconcile", &json!({}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 503);
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "took {:?}",
        start.elapsed()
    );
    assert_eq!(writ.ledger.tap().count(), 0, "something reached the server");
    assert!(
        writ.envoy.log().contains("allow_on_headers_stop_iteration"),
        "the log does not name the option:\n{}",
        writ.envoy.process().tail()
    );
}

#[tokio::test]
async fn a_wrong_field_stops_envoy_and_is_named() {
    let scratch = Scratch::new("wrong-field").unwrap();
    for (from, to, named) in [
        ("\"clock_skew\"", "\"clock_skow\"", "clock_skow"),
        ("\"1MiB\"", "\"lots\"", "limits.body"),
        ("\"mode\": \"gateway\"", "\"mode\": \"gatewey\"", "gatewey"),
    ] {
        let yaml = gateway_yaml(1, 1).unwrap().replace(from, to).unwrap();
        let options = envoy::Options {
            name: format!("envoy-{named}"),
            env: vec![("WRIT_GATEWAY_SECRET".to_owned(), "unused".to_owned())],
            ..envoy::Options::default()
        };
        let log = Envoy::refuse(&scratch, yaml, options).await.unwrap();
        assert!(log.contains(named), "{to}: {log}");
    }
}
