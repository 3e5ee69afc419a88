//! `writ registration`, and what administrators do about what registered itself.

use std::path::Path;

use serde_json::Value;

use crate::process::{json_of, run};

fn error_of(dir: &Path, arguments: &[&str]) -> String {
    let output = run(dir, arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn lines(dir: &Path, arguments: &[&str]) -> Vec<Value> {
    let output = run(dir, arguments);
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_token_is_shown_once_listed_and_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let added = json_of(
        dir,
        &[
            "--json",
            "registration",
            "token",
            "add",
            "--count",
            "3",
            "--expires",
            "7d",
            "--label",
            "vouched=true",
            "--owner",
            "platform team",
        ],
    );
    let (id, secret) = (
        added["id"].as_str().unwrap(),
        added["secret"].as_str().unwrap(),
    );
    assert_eq!(secret.len(), 43);
    let listed = run(dir, &["--json", "registration", "token", "list"]).stdout;
    let listed = String::from_utf8(listed).unwrap();
    assert!(listed.contains("platform team") && !listed.contains(secret));
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&listed["count"], &listed["used"]), (&3.into(), &0.into()));
    assert_eq!(listed["labels"]["vouched"], "true");

    json_of(dir, &["--json", "registration", "token", "revoke", id]);
    assert!(lines(dir, &["--json", "registration", "token", "list"]).is_empty());
    let told = error_of(dir, &["registration", "token", "revoke", id]);
    assert!(told.contains("there is no registration token"), "{told}");
    let told = error_of(dir, &["registration", "token", "add", "--expires", "2y"]);
    assert!(told.contains("--expires"), "{told}");
    let commands: Vec<_> = lines(dir, &["--json", "audit", "list"])
        .into_iter()
        .map(|record| record["method"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(commands.len(), 2, "{commands:?}");
    assert!(!format!("{commands:?}").contains(secret));
}

#[test]
fn a_server_says_who_owns_it_where_it_is_and_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut add = vec![
        "--json",
        "server",
        "add",
        "crm",
        "--resource",
        "https://crm.test/mcp",
        "--audience",
        "urn:crm",
        "--enforcement",
        "guard",
        "--name",
        "CRM",
        "--owner",
        "sales",
        "--tool",
        "find",
        "--tool",
        "update",
        "--may-call",
        "ledger",
        "--upstream",
    ];
    add.push("ftp://crm.internal/");
    assert!(error_of(dir, &add).contains("--upstream"));
    add.pop();
    add.push("http://crm.internal:8080/mcp");
    json_of(dir, &add);
    let listed = json_of(dir, &["--json", "server", "list"]);
    assert_eq!(
        (&listed["name"], &listed["owner"]),
        (&"CRM".into(), &"sales".into())
    );
    assert_eq!(listed["tools"], serde_json::json!(["find", "update"]));
    assert_eq!(listed["may_call"], serde_json::json!(["ledger"]));
    assert_eq!(listed["upstream"], "http://crm.internal:8080/mcp");
    assert_eq!(listed["origin"], "admin");

    let methods = || json_of(dir, &["--json", "server", "list"])["methods"].clone();
    assert_eq!(methods(), serde_json::json!([]));
    json_of(
        dir,
        &[
            "--json",
            "server",
            "update",
            "crm",
            "--method",
            "acme/report",
        ],
    );
    assert_eq!(methods(), serde_json::json!(["acme/report"]));
    json_of(dir, &["--json", "server", "update", "crm", "--no-methods"]);
    assert_eq!(methods(), serde_json::json!([]));
    let told = error_of(dir, &["server", "update", "crm", "--method", "stream/open"]);
    assert!(told.contains("no name of a method"), "{told}");
    assert!(error_of(dir, &["server", "update", "crm"]).contains("--method"));
    let told = error_of(dir, &["server", "update", "wiki", "--method", "a"]);
    assert!(told.contains("there is no server"), "{told}");

    json_of(dir, &["--json", "server", "remove", "crm"]);
    assert!(lines(dir, &["--json", "server", "list"]).is_empty());
    assert!(error_of(dir, &["server", "remove", "crm"]).contains("there is no server"));
}

#[test]
fn an_agent_that_an_administrator_made_does_not_wait_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let added = json_of(
        dir,
        &[
            "--json",
            "agent",
            "add",
            "nightly",
            "--name",
            "Nightly",
            "--auth",
            "secret",
            "--scope",
            "a:read",
            "--scope",
            "b:read",
            "--default-resource",
            "https://crm.test/mcp",
        ],
    );
    let secret = added["secret"].as_str().unwrap();
    assert_eq!((added["id"].as_str(), secret.len()), (Some("nightly"), 43));
    let listed = json_of(dir, &["--json", "agent", "list"]);
    assert_eq!(listed["origin"], "admin");
    assert_eq!(listed["metadata"]["scope"], "a:read b:read");
    assert_eq!(
        listed["metadata"]["default_resource"],
        "https://crm.test/mcp"
    );
    assert!(
        !listed.to_string().contains(secret),
        "a secret is shown once"
    );
    for verb in ["approve", "reject"] {
        assert!(error_of(dir, &["agent", verb, "nightly"]).contains("does not wait"));
        assert!(error_of(dir, &["agent", verb, "nobody"]).contains("there is no agent"));
    }
    json_of(dir, &["--json", "agent", "remove", "nightly"]);
    assert!(lines(dir, &["--json", "agent", "list"]).is_empty());
}
