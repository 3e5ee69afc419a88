//! Signing keys of services that run: changed by command, shared by replicas, encrypted where they lie.

use std::sync::Arc;

use jiff::Timestamp;
use reqwest::StatusCode;
use serde_json::Value;
use writ_token_service::{
    clock::SystemClock,
    config::{Config, GatewayListen},
    keys::{self, Algorithm, Keys, Rotation},
    serve::Running,
    store::Store,
};

use crate::{
    follower::Follower,
    harness::{Form, Service, call},
    process::{json_of, registered, run, writ},
    waiting::until,
};

/// Rotates as another process does: the key that signs from now on.
async fn rotated_elsewhere(store: &Store, config: &Config) -> String {
    let settings = (&config.keys.schedule, &config.keys.sealing);
    let now = Timestamp::now();
    let (kid, _) = keys::rotate(store, settings, Algorithm::EdDsa, Rotation::Immediate, now)
        .await
        .unwrap();
    kid
}

fn has(jwks: &Value, kid: &str) -> bool {
    let keys = jwks["keys"].as_array().unwrap();
    keys.iter().any(|key| key["kid"] == kid)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_by_command_is_published_at_once() {
    let service = Service::start().await;
    let elsewhere = service.elsewhere().await;
    let config = &service.running.app.config;
    let old = service.running.app.keys.kid().unwrap();
    let kid = rotated_elsewhere(&elsewhere, config).await;
    let jwks: Value = service
        .http
        .get(service.public_url("/oauth/jwks"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert!(has(&jwks, &kid) && has(&jwks, &old));

    let kid = rotated_elsewhere(&elsewhere, config).await;
    let edge = Follower::up_to_date(&service, "edge", &service.gateway_secret).await;
    assert!(has(&edge.jwks(), &kid) && has(&edge.jwks(), &old));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_nobody_asks_anything_signs_with_the_new_key_in_a_moment() {
    let service = Service::start().await;
    let kid = rotated_elsewhere(&service.elsewhere().await, &service.running.app.config).await;
    let signs = async || (service.running.app.keys.kid().unwrap() == kid).then_some(());
    until("signature by the new key", signs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_signed_with_a_key_that_was_made_a_moment_ago_is_good() {
    let service = Service::start().await;
    let elsewhere = service.elsewhere().await;
    let config = &service.running.app.config;
    let before = service.caller_token();
    rotated_elsewhere(&elsewhere, config).await;
    let keys = Keys::open(&elsewhere, config, Arc::new(SystemClock))
        .await
        .unwrap();
    let token = keys.sign(&service.caller_claims()).unwrap();
    for token in [token, before] {
        let answer = service.exchange(&Form::new(&token, &call("echo"))).await;
        assert_eq!(answer.status(), StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_revoked_key_signed_is_refused() {
    let service = Service::start().await;
    let config = &service.running.app.config;
    let stolen = service.running.app.keys.kid().unwrap();
    let token = service.caller_token();
    let settings = (&config.keys.schedule, &config.keys.sealing);
    keys::revoke(
        &service.elsewhere().await,
        settings,
        &stolen,
        Timestamp::now(),
    )
    .await
    .unwrap();
    // The first request there is: nothing has told the service yet.
    let answer = service.exchange(&Form::new(&token, &call("echo"))).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let new = service.caller_token();
    let answer = service.exchange(&Form::new(&new, &call("echo"))).await;
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_on_one_database_have_the_same_keys() {
    let issuer = ("WRIT_ISSUER".to_owned(), "https://writ.test".to_owned());
    let one = Service::start_with(|config| {
        let mut named = Config::load(None, [issuer]).unwrap();
        named.data_dir.clone_from(&config.data_dir);
        named.policy_dir.clone_from(&config.policy_dir);
        named.public = config.public;
        named.gateway = config.gateway.clone();
        *config = named;
    })
    .await;
    let mut config = one.running.app.config.clone();
    config.public = "127.0.0.1:0".parse().unwrap();
    config.gateway = GatewayListen::Loopback("127.0.0.1:0".parse().unwrap());
    let two = Running::start(config, Arc::new(SystemClock), None)
        .await
        .unwrap();
    assert_eq!(one.running.app.keys.jwks(), two.app.keys.jwks());
    assert_eq!(
        one.running.app.keys.kid().unwrap(),
        two.app.keys.kid().unwrap()
    );

    let kid = rotated_elsewhere(one.store(), &two.app.config).await;
    two.app.current_registry().await.unwrap();
    assert_eq!(two.app.keys.kid().unwrap(), kid);
    let token = two.app.keys.sign(&one.caller_claims()).unwrap();
    let answer = one.exchange(&Form::new(&token, &call("echo"))).await;
    assert_eq!(answer.status(), StatusCode::OK);
    two.stop().await;
}

#[test]
fn keys_are_listed_and_rotated_by_command() {
    let (dir, _) = registered();
    let rotate = ["keys", "rotate", "--json"];
    let said = run(dir.path(), &rotate);
    // Nothing has served yet: the first key is the one that the command made.
    assert!(said.status.success());
    let listed = || {
        let output = run(dir.path(), &["keys", "list", "--json"]).stdout;
        let lines = output.split(|b| *b == b'\n').filter(|l| !l.is_empty());
        lines
            .map(|l| serde_json::from_slice::<Value>(l).unwrap())
            .map(|k| (k["alg"].clone(), k["state"].clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(listed(), [("EdDSA".into(), "next".into())]);
    json_of(
        dir.path(),
        &["keys", "rotate", "--alg", "ES256", "--now", "--json"],
    );
    assert_eq!(
        listed(),
        [
            ("ES256".into(), "active".into()),
            ("EdDSA".into(), "next".into())
        ]
    );
    let again = run(dir.path(), &rotate);
    assert!(!again.status.success());
    let told = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(told.contains("--now"), "{told}");
}

#[test]
fn a_service_does_not_start_with_the_wrong_encryption_key() {
    let (dir, _) = registered();
    let with = |variable: &str, arguments: &[&str]| {
        writ(dir.path())
            .args(arguments)
            .arg("--config")
            .arg(dir.path().join("writ.toml"))
            .env("SEAL", variable)
            .output()
            .unwrap()
    };
    std::fs::write(
        dir.path().join("writ.toml"),
        "[keys]\nencryption_key_env = \"SEAL\"\n",
    )
    .unwrap();
    let generated = || {
        let key = json_of(dir.path(), &["keys", "generate-encryption-key", "--json"]);
        key["encryption_key"].as_str().unwrap().to_owned()
    };
    let (right, wrong) = (generated(), generated());
    assert!(with(&right, &["keys", "rotate", "--now"]).status.success());
    let refused = with(&wrong, &["serve"]);
    assert!(!refused.status.success());
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        told.contains("keys.encryption_key_env = \"SEAL\""),
        "{told}"
    );
    assert!(!told.contains(&wrong), "{told}");
}
