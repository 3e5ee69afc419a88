//! `writ doctor` on a running installation: everything right, and each thing that can be wrong around the filter.

use std::collections::BTreeMap;

use serde_json::Value;
use writ_tests::envoy::{Envoy, Options, Yaml};
use writ_tests::guard;
use writ_tests::scratch::Scratch;
use writ_tests::token_service::{self, TokenService};
use writ_tests::traps::{beside, table};

/// What the doctor says of this Envoy, and that its exit status is as expected.
fn findings(service: &TokenService, envoy: &Envoy, status: i32) -> Vec<Value> {
    let output = service
        .output(&["doctor", "--envoy-admin", &envoy.admin_url("/")])
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(status), "{text}");
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn the_doctor_finds_nothing_wrong_with_the_standalone_filter() {
    let scratch = Scratch::new("doctor-standalone").unwrap();
    let service = TokenService::start(&scratch, token_service::Options::default())
        .await
        .unwrap();
    let yaml = Yaml::shipped("standalone.yaml").unwrap();
    let envoy = Envoy::start(&scratch, yaml, Options::default())
        .await
        .unwrap();
    let wrong: Vec<Value> = findings(&service, &envoy, 0)
        .into_iter()
        .filter(|one| one["level"] != "ok" && one["check"] != "keys" && one["check"] != "audit log")
        .collect();
    assert_eq!(wrong, Vec::<Value>::new());
}

#[tokio::test]
async fn the_doctor_notices_whatever_is_wrong_around_the_filter() {
    let scratch = Scratch::new("doctor").unwrap();
    let service = TokenService::start(&scratch, token_service::Options::default())
        .await
        .unwrap();
    let server = ["server", "add", "ledger", "--audience", "urn:ledger"];
    let how = [
        "--resource",
        "http://127.0.0.1/mcp",
        "--enforcement",
        "introspect",
    ];
    service.cli(&[server.as_slice(), &how].concat()).unwrap();
    let secret = service
        .cli_secret(&["gateway", "add", "edge", "--server", "ledger"])
        .unwrap();
    let shipped = Yaml::shipped("gateway.yaml").unwrap();
    let traps: Vec<_> = table::all().map(|trap| (trap, 0)).collect();
    let yaml = beside(&shipped, &traps)
        .and_then(|yaml| yaml.port(8182, service.gateway_port()))
        .unwrap();
    let options = Options {
        env: vec![("WRIT_GATEWAY_SECRET".to_owned(), secret)],
        ..Options::default()
    };
    let envoy = Envoy::start(&scratch, yaml, options).await.unwrap();

    let found = findings(&service, &envoy, 1);
    let mut wrong: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for one in &found {
        let text = |name: &str| one[name].as_str().unwrap();
        let named = text("found").strip_prefix("listener ");
        let listener = named.and_then(|rest| rest.split(':').next()).unwrap_or("");
        if text("level") == "ok" {
            assert!(one.get("fix").is_none(), "{one}");
        } else {
            assert!(!text("fix").is_empty(), "{one}");
            let noticed = (text("check"), text("level"));
            wrong.entry(listener).or_default().push(noticed);
        }
    }
    assert_eq!(wrong.remove("mcp"), None, "the shipped listener is right");
    let of_service = wrong.remove("").unwrap_or_default();
    // Keys lie in clear here, and checkpoints nowhere else.
    let of_tests = [("keys", "warning"), ("audit log", "warning")];
    assert_eq!(of_service, of_tests);
    for trap in table::all() {
        let mut noticed = wrong.remove(trap.name).unwrap_or_default();
        noticed.sort_unstable();
        assert_eq!(noticed, trap.noticed, "{}", trap.name);
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// What is found of each guard's listener that is not right.
#[tokio::test]
async fn the_doctor_knows_a_guard_and_what_it_guards() {
    let scratch = Scratch::new("doctor-guard").unwrap();
    let service = TokenService::start(&scratch, token_service::Options::default())
        .await
        .unwrap();
    for (id, enforcement) in [("ledger", "guard"), ("bank", "introspect")] {
        let (resource, audience) = (format!("http://127.0.0.1/{id}"), format!("urn:{id}"));
        let add = [
            "server",
            "add",
            id,
            "--resource",
            &resource,
            "--audience",
            &audience,
        ];
        let how = ["--enforcement", enforcement];
        service.cli(&[add.as_slice(), &how].concat()).unwrap();
    }
    let secret = guard::register(&service).unwrap();
    let shipped = guard::sidecar_yaml(8080, service.gateway_port()).unwrap();
    let (before, clusters) = shipped.as_str().split_once("\n  clusters:\n").unwrap();
    let start = before.find("    - name: mcp\n      address").unwrap();
    let listener = before.get(start..).unwrap();
    let other = |name: &str, from: &str, to: &str| {
        assert!(listener.contains(from), "{from}");
        listener
            .replacen("- name: mcp\n", &format!("- name: {name}\n"), 1)
            .replace("port_value: 10000 }", "port_value: 0 }")
            .replace(from, to)
    };
    let server = "\"server\": \"ledger\"";
    let others = [
        other("unknown", server, "\"server\": \"nobody\""),
        other("introspecting", server, "\"server\": \"bank\""),
        other(
            "no-cluster",
            "\"cluster\": \"writ\"",
            "\"cluster\": \"elsewhere\"",
        ),
        other(
            "switched-off",
            "- name: writ\n",
            "- name: writ\n                    disabled: true\n",
        ),
        other(
            "retrying",
            "timeout: 0s\n",
            "timeout: 0s\n                            retry_policy: { retry_on: 5xx }\n",
        ),
    ];
    let yaml = Yaml::text(format!(
        "{before}\n{}\n  clusters:\n{clusters}",
        others.join("\n")
    ));
    let options = Options {
        env: vec![("WRIT_GUARD_SECRET".to_owned(), secret)],
        ..Options::default()
    };
    let envoy = Envoy::start(&scratch, yaml, options).await.unwrap();
    let output = service
        .output(&["doctor", "--envoy-admin", &envoy.admin_url("/")])
        .unwrap();
    let found: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let wrong: BTreeMap<String, String> = found
        .iter()
        .filter(|one| one["level"] != "ok")
        .filter_map(|one| {
            let rest = one["found"].as_str()?.strip_prefix("listener ")?;
            let (listener, _) = rest.split_once(':')?;
            Some((
                listener.to_owned(),
                format!("{} {}", one["check"], one["level"]).replace('"', ""),
            ))
        })
        .collect();
    let expected = [
        ("introspecting", "guard warning"),
        ("no-cluster", "token service problem"),
        ("switched-off", "filter problem"),
        ("retrying", "retries problem"),
        ("unknown", "guard problem"),
    ];
    let expected = expected.map(|(listener, what)| (listener.to_owned(), what.to_owned()));
    assert_eq!(wrong, BTreeMap::from(expected), "the shipped one is right");
    let guards = |one: &Value| one["found"] == "listener mcp: guards ledger";
    assert!(found.iter().any(guards), "{found:?}");
}
