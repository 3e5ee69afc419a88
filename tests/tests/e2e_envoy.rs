//! The Envoy around the filter: what the shipped YAML promises, and what happens where it is changed.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use writ_tests::deployment::{Deployment, Options, gateway_yaml};
use writ_tests::envoy::{self, Envoy};
use writ_tests::scratch::Scratch;
use writ_tests::{binaries, mcp, tools};

#[test]
fn the_shipped_yaml_is_valid() {
    // The files name the filter relative to the repository, where `make` puts it.
    binaries::wasm().unwrap();
    // They end with the key of RFC 8037 appendix A.3.
    let secret = "unused.kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
    for name in ["gateway.yaml", "standalone.yaml", "egress.yaml"] {
        let checked = Command::new(tools::envoy().unwrap())
            .current_dir(binaries::workspace())
            .env("WRIT_GATEWAY_SECRET", secret)
            .env("WRIT_EGRESS_SECRET", secret)
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
        start.elapsed() < Duration::from_secs(10),
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
