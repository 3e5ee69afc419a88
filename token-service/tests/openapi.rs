//! The OpenAPI document names every JSON endpoint, and is what the service serves and prints.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "test code: a panic is how it says no"
)]

use std::{collections::BTreeSet, path::Path, sync::Arc};

use serde_json::Value;
use writ_token_service::{
    clock::SystemClock,
    config::{Config, GatewayListen},
    openapi,
    serve::Running,
};

/// Routes for people, monitoring and pictures: no JSON.
const OTHERS: [&str; 11] = [
    "/oauth/authorize",
    "/oauth/logout",
    "/oauth/logout/confirm",
    "/oauth/logout/done",
    "/oauth/sign-in/{provider}",
    "/oauth/callback/{provider}",
    "/oauth/logo/{provider}",
    "/oauth/consent",
    "/healthz",
    "/readyz",
    "/metrics",
];

fn document() -> Value {
    let config = Config::load(None, []).unwrap();
    serde_json::to_value(openapi::document(&config)).unwrap()
}

/// The paths that appear in `.route(…)` anywhere in the sources.
fn routes(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            routes(&path, found);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        for route in text.split(".route(").skip(1) {
            let before_handler = route.split_once(',').map_or(route, |(path, _)| path);
            let literal = before_handler.split('"').nth(1);
            found.extend(literal.filter(|l| l.starts_with('/')).map(str::to_owned));
        }
    }
}

#[test]
fn every_route_is_in_the_document_or_no_json() {
    let mut found = BTreeSet::new();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    routes(&sources, &mut found);
    assert!(found.len() > 20, "{found:?}");
    let document = document();
    for route in found.iter().filter(|r| !OTHERS.contains(&r.as_str())) {
        assert!(
            document["paths"].get(route).is_some(),
            "{route} is not in the document"
        );
    }
    let metadata = [
        "/.well-known/oauth-authorization-server",
        "/.well-known/authzen-configuration",
    ];
    for (path, _) in document["paths"].as_object().unwrap() {
        assert!(
            found.contains(path) || metadata.contains(&path.as_str()),
            "{path} is no route"
        );
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_operation_is_named_once() {
    let document = document();
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 50);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let mut names = BTreeSet::new();
    for (_, path) in document["paths"].as_object().unwrap() {
        for (_, operation) in path.as_object().unwrap() {
            let Some(name) = operation.get("operationId").and_then(Value::as_str) else {
                continue;
            };
            assert!(names.insert(name.to_owned()), "{name} is there twice");
        }
    }
}

fn collect<'a>(value: &'a Value, references: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            references.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|v| collect(v, references));
        }
        Value::Array(items) => items.iter().for_each(|v| collect(v, references)),
        _ => {}
    }
}

#[tokio::test]
async fn the_service_serves_what_the_command_prints() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::load(None, []).unwrap();
    config.data_dir = dir.path().join("data");
    config.public = "127.0.0.1:0".parse().unwrap();
    config.gateway = GatewayListen::Loopback("127.0.0.1:0".parse().unwrap());
    let running = Running::start(config, Arc::new(SystemClock), None)
        .await
        .unwrap();
    let issuer = running.app.config.issuer.clone();
    let served: Value = reqwest::get(format!("{issuer}/openapi.json"))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(served["servers"][0]["url"], issuer.as_str());
    let printed = std::process::Command::new(env!("CARGO_BIN_EXE_writ"))
        .env_clear()
        .env("WRIT_ISSUER", &issuer)
        .arg("openapi")
        .output()
        .unwrap();
    let printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(printed, served);
    running.stop().await;
}
