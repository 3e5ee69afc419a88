//! The MCP project's own conformance suite against a server, directly and through Envoy and the filter: what the filter
//! adds may be seen by no check.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::Stdio;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;
use tokio::process::Command;
use writ_tests::deployment::{Deployment, Options};
use writ_tests::envoy::{self, Envoy, Yaml};
use writ_tests::scratch::Scratch;
use writ_tests::servers::Server;
use writ_tests::signer::{ACCESS_TOKEN, Signer, workload_claims};
use writ_tests::{ports, tools};

const ALLOW_ALL: &str =
    "package writ\n\ncall := {\"allow\": true}\n\nvisible := {\"allow\": true}\n";

/// What the suite is asked to run: every scenario of a revision, or one that no revision requires yet.
const RUNS: [&[&str]; 3] = [
    &["--requirements", "2025-11-25"],
    &["--requirements", "2026-07-28"],
    &["--scenario", "http-header-validation"],
];

/// The extension that the server's SDK does not have: its scenarios fail, and must fail alike.
const NOT_SERVED: &str = "server-tasks-";

/// What each check of a scenario came to, in the order in which they were made.
type Results = BTreeMap<String, Vec<Check>>;

struct Check {
    id: String,
    status: String,
    /// What was seen; it holds ids that differ from run to run.
    description: String,
    error: Option<String>,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} ({})", self.status, self.id, self.description)?;
        match &self.error {
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        }
    }
}

impl Check {
    fn of(check: &Value) -> Self {
        let text = |name: &str| check[name].as_str().map(str::to_owned);
        Self {
            id: text("id").unwrap(),
            status: text("status").unwrap(),
            description: text("description").unwrap(),
            error: text("errorMessage"),
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        (&self.id, &self.status) == (&other.id, &other.status)
    }
}

async fn run(arguments: &[&str], url: &str, into: &Path) -> Results {
    let suite = Command::new(tools::node().unwrap())
        .arg(
            tools::typescript_clients()
                .unwrap()
                .join("node_modules/.bin/conformance"),
        )
        .args(["server", "--url", url, "--output-dir"])
        .arg(into)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    let printed = suite.await.unwrap();
    let mut results = Results::new();
    for scenario in std::fs::read_dir(into).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&printed.stderr));
    }) {
        let path = scenario.unwrap().path();
        let checks = std::fs::read(path.join("checks.json")).unwrap();
        let checks: Vec<Value> = serde_json::from_slice(&checks).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // The directory's name ends in the time: `-2026-11-25T02-35-38-426Z`.
        let (name, _time) = name.split_at(name.len() - "-0000-00-00T00-00-00-000Z".len());
        let earlier = results.insert(name.to_owned(), checks.iter().map(Check::of).collect());
        assert!(earlier.is_none(), "{name} ran twice");
    }
    results
}

/// The direct results are good ones, so that being equal to them means something.
fn assert_good(results: &Results) {
    assert!(!results.is_empty());
    for (scenario, checks) in results {
        assert!(!checks.is_empty(), "{scenario} checked nothing");
        let fails = |check: &&Check| check.status == "FAILURE";
        if let Some(failed) = checks.iter().find(fails)
            && !scenario.starts_with(NOT_SERVED)
        {
            panic!("{scenario} fails without the filter: {failed}");
        }
    }
}

fn differences(direct: &Results, through: &Results) -> Vec<String> {
    let names = |results: &Results| results.keys().cloned().collect::<Vec<_>>();
    if names(direct) != names(through) {
        return vec![format!("other scenarios ran: {:?}", names(through))];
    }
    let mut found = Vec::new();
    for (scenario, checks) in direct {
        let others = &through[scenario];
        if checks.len() != others.len() {
            let all = |checks: &[Check]| {
                checks
                    .iter()
                    .map(|check| format!("\n    {check}"))
                    .collect::<String>()
            };
            found.push(format!(
                "{scenario}:{}\n  became{}",
                all(checks),
                all(others)
            ));
            continue;
        }
        for (one, other) in checks.iter().zip(others) {
            if !one.is_like(other) {
                found.push(format!("{scenario}:\n    {one}\n  became\n    {other}"));
            }
        }
    }
    found
}

/// Runs all against the server and against what stands before it, and compares.
async fn assert_equal(direct: &str, through: &str, scratch: &Scratch, log: impl Fn() -> String) {
    let mut found = Vec::new();
    for (index, arguments) in RUNS.iter().enumerate() {
        let into = |side| scratch.path().join(format!("results-{index}-{side}"));
        let without = run(arguments, direct, &into("direct")).await;
        assert_good(&without);
        let with = run(arguments, through, &into("through")).await;
        found.extend(differences(&without, &with));
    }
    assert!(
        found.is_empty(),
        "{} checks differ:\n{}\n{}",
        found.len(),
        found.join("\n"),
        log()
    );
}

#[tokio::test]
async fn the_results_are_equal_through_the_gateway() {
    let scratch = Scratch::new("conformance-server").unwrap();
    let server = Server::typescript_reference(&scratch).await.unwrap();
    let writ = Deployment::start(Options {
        policy: Some(ALLOW_ALL.to_owned()),
        upstream: Some(server.port()),
        workers: 2,
        bearer: true,
        ..Options::named("conformance-gateway")
    })
    .await
    .unwrap();
    assert_equal(&server.url(), &writ.url(), &scratch, || {
        writ.envoy.process().tail()
    })
    .await;
}

#[tokio::test]
async fn the_results_are_equal_through_the_filter_alone() {
    const ISSUER: &str = "https://idp.example.com";
    const SHIPPED_KEY: &str = "Ct2YJG3rMmNv5-pHDZN-M0ZfUw-Fe-QR7TODZf99qXo";
    let scratch = Scratch::new("conformance-standalone").unwrap();
    let server = Server::typescript_reference(&scratch).await.unwrap();
    let signer = Signer::generate().under_kid("example");
    let port = ports::free().unwrap();
    let audience = format!("http://127.0.0.1:{port}/mcp");
    let claims = workload_claims(ISSUER, "agent", &audience, "", 600);
    let yaml = Yaml::shipped("standalone.yaml")
        .and_then(|yaml| yaml.port(8080, server.port()))
        .and_then(|yaml| {
            yaml.replace(
                SHIPPED_KEY,
                &BASE64_URL_SAFE_NO_PAD.encode(signer.public_bytes()),
            )
        })
        .and_then(|yaml| yaml.replace("if input.mcp.tool == `echo`", "if true"))
        .and_then(|yaml| yaml.bearing(&signer.sign(ACCESS_TOKEN, &claims)?))
        .unwrap();
    let options = envoy::Options {
        workers: 2,
        port: Some(port),
        ..envoy::Options::default()
    };
    let envoy = Envoy::start(&scratch, yaml, options).await.unwrap();
    assert_equal(&server.url(), &envoy.url("/mcp"), &scratch, || {
        envoy.process().tail()
    })
    .await;
}
