//! Pins: approved at the command line, on record, carried to gateways, and decided with.

use std::path::Path;

use jiff::Timestamp;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use writ_policy::pin::Definition;
use writ_token_service::audit::Kind;

use crate::{
    follower::Follower,
    harness::{Form, GUARD, Service, call, refusal},
    process::run,
};

const READS: &str =
    r#"{"name":"echo","description":"Says it again","annotations":{"readOnlyHint":true}}"#;
const WRITES: &str = r#"{"name":"echo","description":"Says it again","annotations":{"readOnlyHint":false,"idempotentHint":true}}"#;

/// What is pinned and only reads may be called.
const POLICY: &str = r#"package writ

default call := {"allow": false, "reason": "nothing that is pinned says that it reads"}

call := {"allow": true} if {
	input.mcp.pinned
	input.mcp.annotations == {"readOnlyHint": true}
}
"#;

fn definition(text: &str) -> Definition {
    Definition::read(text.as_bytes()).unwrap()
}

fn with_server() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let add = [
        "server",
        "add",
        "ledger",
        "--resource",
        "https://ledger.test/mcp",
        "--audience",
        "urn:ledger",
        "--enforcement",
        "guard",
    ];
    assert!(run(dir.path(), &add).status.success());
    dir
}

/// The lines that `writ server …` prints, or what it says is wrong.
fn server(dir: &Path, arguments: &[&str]) -> Result<Vec<Value>, String> {
    let output = run(dir, &[&["--json", "server"], arguments].concat());
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr).unwrap());
    }
    let text = String::from_utf8(output.stdout).unwrap();
    Ok(text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect())
}

fn list(dir: &Path, tools: &[&str]) -> String {
    let path = dir.join("tools.json");
    let list = format!(r#"{{"tools":[{}]}}"#, tools.join(","));
    std::fs::write(&path, list).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn what_would_change_is_shown_and_what_is_approved_is_kept_and_on_record() {
    let dir = with_server();
    let dir = dir.path();
    let other = r#"{"name":"other"}"#;
    let file = list(dir, &[READS, other]);
    let pin = ["pin", "ledger", &file, "--author", "ada"];
    let dry = server(dir, &[&pin[..], &["--dry-run"]].concat()).unwrap();
    let changes = |lines: &[Value]| -> Vec<(String, String)> {
        let word = |line: &Value, member: &str| line[member].as_str().unwrap().to_owned();
        let pairs = lines.iter();
        pairs
            .map(|line| (word(line, "tool"), word(line, "change")))
            .collect()
    };
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(a, b)| ((*a).into(), (*b).into()))
            .collect()
    };
    assert_eq!(changes(&dry), pairs(&[("echo", "new"), ("other", "new")]));
    assert_eq!(server(dir, &["pins", "ledger"]).unwrap(), [Value::Null; 0]);

    let pinned = server(dir, &[&pin[..], &["--tool", "echo"]].concat()).unwrap();
    assert_eq!(changes(&pinned), pairs(&[("echo", "new")]));
    let [shown] = &server(dir, &["pins", "ledger"]).unwrap()[..] else {
        panic!("one")
    };
    assert_eq!(shown["digest"], definition(READS).pin.digest.to_string());
    assert_eq!(
        (&shown["by"], &shown["annotations"]),
        (&json!("ada"), &json!({"readOnlyHint": true}))
    );
    assert_eq!(
        shown["definition"],
        serde_json::from_str::<Value>(READS).unwrap()
    );

    let file = list(dir, &[WRITES]);
    let pin = ["pin", "ledger", &file, "--author", "bob"];
    let dry = server(dir, &[&pin[..], &["--dry-run"]].concat()).unwrap();
    assert_eq!(changes(&dry), pairs(&[("echo", "changed")]));
    assert_eq!(
        dry[0]["differences"],
        json!([
            {"path": "/annotations/idempotentHint", "after": true},
            {"path": "/annotations/readOnlyHint", "before": true, "after": false},
        ])
    );
    assert_eq!(server(dir, &["pins", "ledger"]).unwrap()[0]["by"], "ada");
    server(dir, &pin).unwrap();
    let again = server(dir, &["pin", "ledger", &file, "--author", "eve"]).unwrap();
    assert_eq!(changes(&again), pairs(&[("echo", "unchanged")]));
    assert_eq!(server(dir, &["pins", "ledger"]).unwrap()[0]["by"], "bob");
    let file = list(dir, &[other]);
    let gone = server(
        dir,
        &["pin", "ledger", &file, "--author", "bob", "--dry-run"],
    )
    .unwrap();
    assert_eq!(
        changes(&gone),
        pairs(&[("echo", "not in this list"), ("other", "new")])
    );

    server(dir, &["unpin", "ledger", "--all", "--author", "bob"]).unwrap();
    assert_eq!(server(dir, &["pins", "ledger"]).unwrap(), [Value::Null; 0]);
    let output = run(dir, &["--json", "audit", "list", "--kind", "admin"]);
    let trail = String::from_utf8(output.stdout).unwrap();
    let said: Vec<String> = trail
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|record| record["target"] == "echo")
        .map(|record| {
            format!(
                "{} {} {} {}",
                record["method"],
                record["server"],
                record["detail"]["by"],
                record["detail"]["digest"]
            )
        })
        .collect();
    let digest = |text: &str| definition(text).pin.digest;
    let expected = [
        format!(r#""server pin" "ledger" "ada" "{}""#, digest(READS)),
        format!(r#""server pin" "ledger" "bob" "{}""#, digest(WRITES)),
        r#""server unpin" "ledger" "bob" null"#.to_owned(),
    ];
    assert_eq!(said, expected);
}

#[test]
fn what_cannot_be_pinned_is_said_and_nothing_is() {
    let dir = with_server();
    let dir = dir.path();
    let broken = list(
        dir,
        &[READS, r#"{"name":"twice","inputSchema":{"a":1,"a":2}}"#],
    );
    let pin = |arguments: &[&str]| {
        let author = ["--author", "ada"];
        server(dir, &[&["pin"], arguments, &author].concat()).unwrap_err()
    };
    let told = pin(&["ledger", &broken]);
    assert!(told.contains("tools.json: the tool at place 2"), "{told}");
    let good = list(dir, &[READS]);
    let told = pin(&["ledger", &good, "--tool", "missing"]);
    assert!(told.contains("has no tool \"missing\""), "{told}");
    let told = pin(&["nobody", &good]);
    assert!(told.contains("there is no server \"nobody\""), "{told}");
    let told = pin(&["ledger", "/nowhere/tools.json"]);
    assert!(told.contains("cannot read /nowhere/tools.json"), "{told}");
    assert_eq!(server(dir, &["pins", "ledger"]).unwrap(), [Value::Null; 0]);
    let unpin = ["unpin", "ledger", "--tool", "echo", "--author", "ada"];
    let told = server(dir, &unpin).unwrap_err();
    assert!(told.contains("\"echo\" of ledger is not pinned"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_get_the_pins_with_their_next_snapshot_and_guards_get_none() {
    let service = Service::start().await;
    let mut edge = Follower::up_to_date(&service, "edge", &service.gateway_secret).await;
    assert!(edge.servers()["ledger"].pins.is_empty());
    let tool = definition(READS);
    let elsewhere = service.elsewhere().await;
    let now = Timestamp::now();
    elsewhere.pin("ledger", [&tool], "ada", now).await.unwrap();
    edge.catch_up().await;
    assert_eq!(edge.servers()["ledger"].pins["echo"], tool.pin);
    let guard = Follower::up_to_date(&service, GUARD, &service.guard_secret).await;
    assert!(guard.servers()["ledger"].pins.is_empty());
    elsewhere.unpin("ledger", None, "ada", now).await.unwrap();
    edge.catch_up().await;
    assert!(edge.servers()["ledger"].pins.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_decides_with_the_approved_annotations() {
    let service = Service::start_with(|config| {
        let policy = config.policy_dir.clone().unwrap();
        std::fs::write(policy.join("test.rego"), POLICY).unwrap();
    })
    .await;
    let answered = async |tool: &str| {
        let form = Form::new(&service.caller_token(), &call(tool));
        service.exchange(&form).await.status()
    };
    assert_eq!(answered("echo").await, StatusCode::FORBIDDEN);
    let elsewhere = service.elsewhere().await;
    let now = Timestamp::now();
    for (text, expected) in [(READS, StatusCode::OK), (WRITES, StatusCode::FORBIDDEN)] {
        let tool = definition(text);
        elsewhere.pin("ledger", [&tool], "ada", now).await.unwrap();
        assert_eq!(answered("echo").await, expected, "{text}");
        assert_eq!(answered("transfer").await, StatusCode::FORBIDDEN);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_has_changed_is_on_record_for_gateways_of_the_server_only() {
    let service = Service::start().await;
    let changed = |server: &str| {
        json!([{
            "type": "pin_changed", "server": server, "tool": "echo", "pinned": "aa", "shown": "bb",
            "request_id": "req-9", "time": "2026-11-23T18:00:00Z",
        }])
    };
    let reported = service.report(&changed("ledger")).await;
    assert_eq!(reported.status(), StatusCode::NO_CONTENT);
    let records = service.records().await;
    let [record] = records.as_slice() else {
        panic!("{records:?}")
    };
    assert_eq!(record.kind, Kind::PinChanged);
    assert_eq!(
        (
            record.gateway.as_deref(),
            record.server.as_deref(),
            record.target.as_deref()
        ),
        (Some("edge"), Some("ledger"), Some("echo"))
    );
    let detail = record.detail.as_ref().unwrap();
    assert_eq!(
        (&detail["pinned"], &detail["shown"]),
        (&json!("aa"), &json!("bb"))
    );
    refusal(service.report(&changed("other")).await).await;
    let guard = (GUARD, service.guard_secret.as_str());
    refusal(service.report_as(guard, &changed("ledger")).await).await;
    assert_eq!(service.records().await.len(), 1);
}
