//! Published policies: in force at once, taken back as fast, and never worse than the last good one.

use std::collections::BTreeMap;

use jiff::Timestamp;
use metrics_exporter_prometheus::PrometheusBuilder;
use reqwest::StatusCode;
use serde_json::Value;
use writ_token_service::{
    audit::Kind,
    config::Config,
    policy::Sources,
    serve::Running,
    store::{Store, audit::Filter, policies::NewRevision},
};

use crate::harness::{Form, Service, call, place};

const CLOSED: &str =
    "package writ\n\ncall := {\"allow\": false, \"reason\": \"closed for the night\"}\n";
const ENDLESS: &str = "package writ\n\nagain if again\n\ncall := {\"allow\": true} if again\n";
const OPEN: &str = "package writ\n\ncall := {\"allow\": true}\n";

/// Publishes as another process does.
async fn publish(store: &Store, text: &str) -> i64 {
    let files = BTreeMap::from([("p.rego".to_owned(), text.to_owned())]);
    let revision = Sources::of("test".to_owned(), files.clone())
        .map_or_else(|_| "none".to_owned(), |sources| sources.revision());
    let new = NewRevision {
        revision: &revision,
        files: &files,
        origin: "test",
        named: None,
        message: "a test",
        author: "tester",
    };
    store.publish_policy(&new, Timestamp::now()).await.unwrap()
}

async fn answered(service: &Service) -> (StatusCode, Value) {
    let form = Form::new(&service.caller_token(), &call("echo"));
    let response = service.exchange(&form).await;
    (response.status(), response.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_decides_the_next_call_and_so_does_what_is_taken_back() {
    let service = Service::start().await;
    assert_eq!(answered(&service).await.0, StatusCode::OK);
    let elsewhere = service.elsewhere().await;

    let first = publish(&elsewhere, OPEN).await;
    let second = publish(&elsewhere, CLOSED).await;
    let (status, answer) = answered(&service).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(answer["error_description"], "closed for the night");
    let published = service.running.app.policy();
    let known = elsewhere.policy_history(10).await.unwrap();
    assert_eq!(known[0].revision, published.revision());
    assert!(known[0].in_force_since.is_some() && known[1].in_force_since.is_none());

    // What the configuration names no longer counts.
    assert!(!service.running.reload_policy().await.unwrap());
    assert_eq!(answered(&service).await.0, StatusCode::FORBIDDEN);

    let now = Timestamp::now();
    elsewhere
        .put_policy_in_force(first, "tester", Some("too early"), now)
        .await
        .unwrap();
    assert_eq!(answered(&service).await.0, StatusCode::OK);

    let records = elsewhere
        .newest_records(
            &Filter {
                kind: Some(Kind::Admin),
                ..Filter::default()
            },
            2,
        )
        .await
        .unwrap();
    let [publication, rollback] = records.as_slice() else {
        panic!("{records:?}")
    };
    let of = |entry: &writ_token_service::store::audit::Entry| {
        let record = entry.record.clone();
        (
            record.method.unwrap(),
            record.target.unwrap(),
            record.reason.unwrap(),
            record.detail.unwrap(),
        )
    };
    let (method, target, reason, detail) = of(publication);
    assert_eq!(
        (method.as_str(), target),
        ("policy publish", second.to_string())
    );
    assert_eq!(
        (reason.as_str(), &detail["before"]),
        ("a test", &Value::from(first))
    );
    let (method, target, reason, detail) = of(rollback);
    assert_eq!(
        (method.as_str(), target),
        ("policy rollback", first.to_string())
    );
    assert_eq!(
        (reason.as_str(), &detail["author"]),
        ("too early", &Value::from("tester"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_policy_that_cannot_be_used_leaves_the_last_good_one_in_force() {
    let service = Service::start().await;
    let elsewhere = service.elsewhere().await;
    publish(&elsewhere, CLOSED).await;
    assert_eq!(answered(&service).await.0, StatusCode::FORBIDDEN);
    for broken in [
        "package writ\n\ncall := {",
        "package writ\n\ncall := {\"allow\": true} if http.send({})\n",
        "package other\n",
    ] {
        publish(&elsewhere, broken).await;
        let (status, answer) = answered(&service).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert_eq!(
            answer["error_description"], "closed for the night",
            "{broken}"
        );
    }
    publish(&elsewhere, OPEN).await;
    assert_eq!(answered(&service).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_or_fails_moves_a_metric() {
    let recorder = PrometheusBuilder::new().install_recorder().unwrap();
    let metric = |name: &str| -> f64 {
        let text = recorder.render();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    };
    let mut directory = None;
    let service = Service::start_with(|config| directory.clone_from(&config.policy_dir)).await;
    let directory = directory.unwrap();
    assert_eq!(answered(&service).await.0, StatusCode::OK);

    // From the directory that the configuration names.
    let refused = "writ_policy_refused_total{source=\"directory\"}";
    for (file, broken, told) in [
        (
            "test.rego",
            "package writ\n\ncall := {".to_owned(),
            "test.rego",
        ),
        ("test.rego", ENDLESS.to_owned(), "recursi"),
        (
            "test.rego",
            format!("{OPEN}# {}", "x".repeat(5 << 20)),
            "MiB",
        ),
        ("data.json", "[1]".to_owned(), "data.json"),
    ] {
        let before = metric(refused);
        let path = directory.join(file);
        let good = std::fs::read(&path).ok();
        std::fs::write(&path, broken).unwrap();
        let error = service
            .running
            .reload_policy()
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(told), "{error}");
        assert_eq!(answered(&service).await.0, StatusCode::OK, "{told}");
        assert!(metric(refused) > before, "{told}");
        match good {
            Some(good) => std::fs::write(&path, good).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
    }
    assert!(service.running.reload_policy().await.unwrap());

    // From the database.
    let elsewhere = service.elsewhere().await;
    let refused = "writ_policy_refused_total{source=\"published\"}";
    let before = metric(refused);
    publish(&elsewhere, ENDLESS).await;
    assert_eq!(answered(&service).await.0, StatusCode::OK);
    assert!(metric(refused) > before);
    assert_eq!(metric("writ_policy_current"), 0.0);

    // What nobody could see before it is asked.
    for (failing, cause) in [
        ("call := \"yes\"", "not a decision"),
        ("call := {\"allow\": true, \"ttl\": 5}", "not a decision"),
        (
            "call := {\"allow\": n > 0} if n := count([1 | some i in numbers.range(1, 300); some j in numbers.range(1, 300); i + j > 0])",
            "steps to decide",
        ),
        (
            "call := {\"allow\": true} if not numbers.range(1, 1000000)[3]",
            "may not do that",
        ),
    ] {
        let before = metric("writ_policy_failures_total");
        publish(&elsewhere, &format!("package writ\n\n{failing}\n")).await;
        let (status, answer) = answered(&service).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{failing}");
        let told = answer["error_description"].as_str().unwrap();
        assert!(told.contains(cause), "{told}");
        assert!(metric("writ_policy_failures_total") > before, "{failing}");
        assert_eq!(metric("writ_policy_current"), 1.0);
    }
    // The first is decided by the policy before, and then again.
    publish(&elsewhere, CLOSED).await;
    assert_eq!(answered(&service).await.0, StatusCode::FORBIDDEN);
    let before = metric("writ_policy_failures_total");
    assert_eq!(answered(&service).await.0, StatusCode::FORBIDDEN);
    assert_eq!(
        metric("writ_policy_failures_total"),
        before,
        "a plain no is none"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_starts_with_what_is_published_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::load(None, []).unwrap();
    config.store = Some(place(dir.path()));
    config.public.set_port(0);
    config.gateway =
        writ_token_service::config::GatewayListen::Loopback("127.0.0.1:0".parse().unwrap());
    let start = || {
        let clock = std::sync::Arc::new(writ_token_service::clock::SystemClock);
        Running::start(config.clone(), clock, None)
    };
    let store = Store::open(&place(dir.path())).await.unwrap();
    publish(&store, OPEN).await;
    let running = start().await.unwrap();
    let known = store.policy_history(1).await.unwrap();
    assert_eq!(running.app.policy().revision(), known[0].revision);
    running.stop().await;

    publish(&store, "package writ\n\ncall := {").await;
    let refused = start().await.unwrap_err().to_string();
    assert!(
        refused.contains("the published policy 2 cannot be used")
            && refused.contains("writ policy rollback"),
        "{refused}"
    );
}

#[tokio::test]
async fn what_was_published_is_never_changed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&place(dir.path())).await.unwrap();
    publish(&store, OPEN).await;
    for change in [
        "UPDATE policy_revisions SET message = 'another'",
        "DELETE FROM policy_revisions",
    ] {
        let mut tx = store.write().await.unwrap();
        let refused = sqlx::query(change).execute(tx.conn()).await.unwrap_err();
        assert!(
            refused.to_string().contains("published policies are"),
            "{refused}"
        );
    }
    let files = BTreeMap::from([("p.rego".to_owned(), OPEN.to_owned())]);
    let again = NewRevision {
        revision: "x",
        files: &files,
        origin: "test",
        named: None,
        message: "again",
        author: "tester",
    };
    let refused = store
        .publish_policy(&again, Timestamp::now())
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("in force already"),
        "{refused}"
    );
}
