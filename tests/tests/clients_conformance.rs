//! The MCP project's own conformance suite against the issuer: every scenario of its `authorization` mode.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use writ_tests::oauth::Browser;
use writ_tests::registrations::{PASSWORD, Registrations, USER};
use writ_tests::scratch::Scratch;
use writ_tests::token_service::{Options, TokenService};
use writ_tests::{ports, tools};

/// The client that the suite plays.
const SUITE: &str = "conformance";
const RESOURCE: &str = "http://127.0.0.1:1/mcp";

/// Clients may be named by their metadata documents, as the suite would like.
const DOCUMENTS: &str =
    "[registration.client_documents]\nenabled = true\ndomains = [\"apps.example\"]\n";

/// Registers the suite as a public client whose answers go to its own callback server.
fn register(service: &TokenService, callback_port: u16) {
    let redirect_uri = format!("http://127.0.0.1:{callback_port}/callback");
    service
        .cli(&[
            "agent",
            "add",
            SUITE,
            "--name",
            "MCP conformance suite",
            "--redirect-uri",
            &redirect_uri,
            "--auth",
            "none",
        ])
        .unwrap();
}

/// Runs the suite, opening the page it asks for; answers what it printed and whether it was content.
async fn run(issuer: &str, callback_port: u16, results: &Path) -> (bool, String) {
    let mut suite = Command::new(tools::node().unwrap())
        .arg(
            tools::typescript_clients()
                .unwrap()
                .join("node_modules/.bin/conformance"),
        )
        .args(["authorization", "--url", issuer, "--client-id", SUITE])
        .args(["--resource", RESOURCE])
        .args(["--port", &callback_port.to_string()])
        .arg("--output-dir")
        .arg(results)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(suite.stdout.take().unwrap()).lines();
    let mut printed = String::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.starts_with(issuer) {
            let mut browser = Browser::of(USER, PASSWORD).unwrap();
            let landed = browser.open(&line).await.unwrap();
            reqwest::get(landed).await.unwrap();
        }
        printed += &line;
        printed.push('\n');
    }
    (suite.wait().await.unwrap().success(), printed)
}

/// Every check in every `checks.json` below a directory.
fn checks(results: &Path) -> Vec<Value> {
    let mut all = Vec::new();
    for scenario in std::fs::read_dir(results).unwrap() {
        let file = scenario.unwrap().path().join("checks.json");
        let checks: Vec<Value> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        all.extend(checks);
    }
    all
}

#[tokio::test]
async fn both_scenarios_of_the_authorization_mode_pass() {
    let scratch = Scratch::new("conformance").unwrap();
    let options = Options {
        config: Some(DOCUMENTS.to_owned()),
        ..Options::default()
    };
    let mut service = TokenService::prepare(&scratch, options).unwrap();
    Registrations::make(&service, &scratch, RESOURCE).unwrap();
    let callback_port = ports::free().unwrap();
    register(&service, callback_port);
    service.serve().await.unwrap();

    let results = scratch.path().join("results");
    let (content, printed) = run(&service.issuer(), callback_port, &results).await;
    assert!(content, "{printed}");
    let checks = checks(&results);
    let ids: Vec<&str> = checks
        .iter()
        .filter_map(|check| check["id"].as_str())
        .collect();
    for wanted in [
        "authorization-server-metadata",
        "authorization-server-metadata-cimd",
        "authorization-code-grant",
    ] {
        assert!(ids.contains(&wanted), "{ids:?}");
    }
    for check in &checks {
        assert_eq!(check["status"], "SUCCESS", "{check}");
    }
}
