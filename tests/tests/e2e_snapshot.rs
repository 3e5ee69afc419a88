//! Snapshots on a real Envoy with four workers: a change is in force on each of them, a listener update and a new filter
//! refuse nobody, and an Envoy that was there before its token service begins as soon as that is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use reqwest::Client;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use writ_tests::binaries;
use writ_tests::deployment::{Deployment, Options, demo_policy, gateway_yaml, verifying_ledger};
use writ_tests::envoy::{self, Envoy, Yaml};
use writ_tests::ledger::Ledger;
use writ_tests::oauth::{self, client_credentials};
use writ_tests::registrations::{BATCH, Registrations, SCOPES};
use writ_tests::scratch::Scratch;
use writ_tests::token_service::{self, TokenService};
use writ_tests::wait::{PATIENCE, until};
use writ_tests::{mcp, ports};

const WORKERS: u32 = 4;
/// The main thread has a filter, too.
const FILTERS: usize = 5;
const IN_FORCE: &str = "is in force";

/// A call on a connection of its own, so that any worker may get it: its status, and what it said.
async fn call(url: &str, token: &str) -> (u16, Value) {
    let arguments = json!({ "account": "ops" });
    let request = mcp::post_call(&Client::new(), url, token, "getAccount", &arguments);
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) => return (0, json!(error.to_string())),
    };
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap_or_default();
    (status, mcp::message_in(&text).unwrap_or(json!(text)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_in_force_on_every_worker_and_shows_in_the_metrics() {
    let options = Options {
        workers: WORKERS,
        ..Options::named("snapshot-workers")
    };
    let writ = Deployment::start(options).await.unwrap();
    let token = writ.batch_token().await.unwrap();
    let revision = async || writ.envoy.stat("wasmcustom.writ.snapshot.revision").await;
    let mut before = revision().await.unwrap();
    for (command, refused) in [("disable", true), ("enable", false), ("disable", true)] {
        writ.service.cli(&["agent", command, BATCH]).unwrap();
        writ.wait_for_registrations().await.unwrap();
        for _ in 0..16 {
            let (status, told) = call(&writ.url(), &token).await;
            assert_eq!(status == 401, refused, "{command}: {status} {told}");
        }
        let after = until("the revision in the metrics", PATIENCE, async || {
            revision().await.ok().filter(|after| *after > before)
        });
        before = after.await.unwrap();
    }
    let stats = writ.envoy.stats("writ.snapshot").await.unwrap();
    let stat = |name: &str| stats.get(&format!("wasmcustom.writ.snapshot.{name}"));
    assert!(*stat("age_s").unwrap_or(&0) < 60, "{stats:?}");
    assert_eq!(stat("refused"), Some(&0), "{stats:?}");
}

/// Calls without a pause, each on a connection of its own; what is not answered with a result is kept.
struct Traffic {
    calls: JoinSet<Vec<(u16, Value)>>,
    passed: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
}

impl Traffic {
    fn begin(url: &str, token: &str) -> Self {
        let (passed, is_over) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let mut calls = JoinSet::new();
        for _ in 0..3 {
            let (url, token) = (url.to_owned(), token.to_owned());
            let (passed, is_over) = (Arc::clone(&passed), Arc::clone(&is_over));
            calls.spawn(async move {
                let mut refused = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    let (status, told) = call(&url, &token).await;
                    if told.get("result").is_some() {
                        passed.fetch_add(1, Ordering::Relaxed);
                    } else {
                        refused.push((status, told));
                    }
                }
                refused
            });
        }
        Self {
            calls,
            passed,
            is_over,
        }
    }

    /// Waits until more of them have passed.
    async fn goes_on(&self) {
        let enough = self.passed.load(Ordering::Relaxed) + 40;
        until("more calls to pass", PATIENCE, async || {
            (self.passed.load(Ordering::Relaxed) > enough).then_some(())
        })
        .await
        .unwrap();
    }

    async fn end(self) -> Vec<(u16, Value)> {
        self.is_over.store(true, Ordering::Relaxed);
        self.calls.join_all().await.concat()
    }
}

/// The shipped listener, as a file that Envoy follows; the rest of the configuration as replacements in the shipped text.
fn followed(scratch: &Scratch, port: u16) -> (String, Vec<(String, String)>) {
    let shipped = Yaml::shipped("gateway.yaml").unwrap();
    let text = shipped.as_str();
    let (begin, end) = (
        text.find("  listeners:\n").unwrap(),
        text.find("  clusters:\n").unwrap(),
    );
    let listener = &text[begin..end];
    let block = listener
        .lines()
        .skip(1)
        .map(|line| line.strip_prefix("    ").unwrap_or(line));
    let block: String = block.map(|line| format!("{line}\n")).collect();
    let of_type =
        "- \"@type\": type.googleapis.com/envoy.config.listener.v3.Listener\n  name: mcp\n";
    let file = format!(
        "resources:\n{}",
        block.replacen("- name: mcp\n", of_type, 1)
    );
    let file = file.replace("port_value: 10000 }", &format!("port_value: {port} }}"));
    let file = Yaml::text(file).patient().as_str().to_owned();
    let path = scratch.path().join("listeners.yaml").display().to_string();
    let source = format!(
        "node: {{ id: writ, cluster: writ }}\ndynamic_resources:\n  lds_config: {{ resource_api_version: V3, path_config_source: {{ path: {path:?} }} }}\n"
    );
    let replacements = vec![
        (
            listener.to_owned(),
            "  # The listener at port_value: 10000 } is in a file of its own.\n".to_owned(),
        ),
        (
            "static_resources:\n".to_owned(),
            format!("{source}static_resources:\n"),
        ),
    ];
    (file, replacements)
}

/// Moves a file into place, which is what Envoy looks for.
fn put(scratch: &Scratch, text: &str) {
    let new = scratch.write("listeners.new", text).unwrap();
    std::fs::rename(new, scratch.path().join("listeners.yaml")).unwrap();
}

/// The filter with one custom section more: the same to whoever runs it, another one to Envoy.
fn another_filter(scratch: &Scratch) -> String {
    let mut module = std::fs::read(binaries::wasm().unwrap()).unwrap();
    module.extend([0, 3, 1, b'x', b'2']);
    scratch
        .write("another.wasm", module)
        .unwrap()
        .display()
        .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_update_and_a_new_filter_refuse_no_call() {
    let scratch = Scratch::new("snapshot-update").unwrap();
    let port = ports::free().unwrap();
    let (listener, yaml) = followed(&scratch, port);
    put(&scratch, &listener);
    let options = Options {
        workers: WORKERS,
        yaml,
        preferred_ports: Some((port, ports::free().unwrap())),
        ..Options::named("snapshot-updated")
    };
    let writ = Deployment::start(options).await.unwrap();
    let token = writ.batch_token().await.unwrap();
    writ.wait_for_registrations().await.unwrap();
    let traffic = Traffic::begin(&writ.url(), &token);
    traffic.goes_on().await;
    let wasm = binaries::wasm().unwrap().display().to_string();
    let reconfigured = listener.replace("\"clock_skew\": \"5s\"", "\"clock_skew\": \"4s\"");
    let replaced = reconfigured.replace(&wasm, &another_filter(&scratch));
    for (update, text) in [("reconfigured", &reconfigured), ("replaced", &replaced)] {
        let so_far = writ.envoy.log().matches(IN_FORCE).count();
        put(&scratch, text);
        until(
            &format!("the {update} filter to begin"),
            PATIENCE,
            async || {
                let now = writ.envoy.log().matches(IN_FORCE).count();
                (now >= so_far + FILTERS).then_some(())
            },
        )
        .await
        .unwrap_or_else(|error| panic!("{error}\n{}", writ.envoy.process().tail()));
        traffic.goes_on().await;
    }
    let refused = traffic.end().await;
    assert!(refused.is_empty(), "{refused:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_that_was_there_first_begins_when_its_token_service_does() {
    let scratch = Scratch::new("snapshot-late").unwrap();
    let options = token_service::Options {
        policy: Some(demo_policy(&scratch).unwrap()),
        ..token_service::Options::default()
    };
    let mut service = TokenService::prepare(&scratch, options).unwrap();
    let port = ports::free().unwrap();
    let resource = format!("http://127.0.0.1:{port}/mcp");
    let registered = Registrations::make(&service, &scratch, &resource).unwrap();
    let listener = Ledger::bind().await.unwrap();
    let upstream = listener.local_addr().unwrap().port();
    let yaml = gateway_yaml(upstream, service.gateway_port()).unwrap();
    let options = envoy::Options {
        workers: WORKERS,
        env: vec![(
            "WRIT_GATEWAY_SECRET".to_owned(),
            registered.gateway_secret.clone(),
        )],
        port: Some(port),
        ..envoy::Options::default()
    };
    let envoy = Envoy::start(&scratch, yaml, options).await.unwrap();
    let url = envoy.url("/mcp");
    for _ in 0..8 {
        let (status, told) = call(&url, "any").await;
        assert_eq!(status, 503);
        assert!(told.to_string().contains("no policy in force"), "{told}");
    }
    until("a failure in the metrics", PATIENCE, async || {
        let errors = envoy.stat("wasmcustom.writ.snapshot.errors").await.ok()?;
        (errors > 0).then_some(())
    })
    .await
    .unwrap();

    service.serve().await.unwrap();
    let _ledger = verifying_ledger(listener, &service, &registered)
        .await
        .unwrap();
    until("every filter to begin", PATIENCE, async || {
        (envoy.log().matches(IN_FORCE).count() >= FILTERS).then_some(())
    })
    .await
    .unwrap();
    let client = oauth::Client::Secret {
        id: BATCH,
        secret: &registered.batch_secret,
    };
    let token = client_credentials(&service.issuer(), &client, &resource, SCOPES).await;
    let (status, told) = call(&url, &token.unwrap()).await;
    assert!(told.get("result").is_some(), "{status} {told}");
}
