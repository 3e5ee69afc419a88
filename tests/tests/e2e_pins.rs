//! A server that defines a tool in another way after it was approved, behind a real Envoy: nobody is shown the tool and nobody
//! calls it, it is on record, and all goes on once the new definition is approved or the old one is back.

use serde_json::{Value, json};
use writ_tests::changing::{CHANGES, ChangingServer, STAYS};
use writ_tests::deployment::{Deployment, Options};
use writ_tests::mcp::{self, Era};
use writ_tests::registrations::SERVER;
use writ_tests::wait::{PATIENCE, until};

/// Nothing is called that is not pinned as reading.
const POLICY: &str = r#"package writ

default call := {"allow": false, "reason": "this is not pinned as reading"}

call := {"allow": true} if input.mcp.method != "tools/call"

call := {"allow": true} if {
	input.mcp.pinned
	input.mcp.annotations.readOnlyHint
}

visible := call
"#;

async fn shown(writ: &Deployment, token: &str, era: Era) -> Vec<String> {
    let client = mcp::connect(&writ.url(), token, era).await.unwrap();
    let tools = client.list_all_tools().await.unwrap();
    tools.iter().map(|tool| tool.name.to_string()).collect()
}

/// Why a call of `tool` was refused; nothing where it was not.
async fn refused(writ: &Deployment, token: &str, tool: &str) -> Option<String> {
    let answer = writ.post_call(token, tool, &json!({})).send().await;
    let message = mcp::message_in(&answer.unwrap().text().await.unwrap()).unwrap();
    match &message["error"]["message"] {
        Value::String(told) => Some(told.clone()),
        _ => {
            assert_eq!(message["result"]["content"][0]["text"], "done", "{message}");
            None
        }
    }
}

/// What the server itself lists, as an administrator saves it.
async fn save(server: &ChangingServer, writ: &Deployment, name: &str) -> String {
    let client = mcp::connect(&server.url(), "unused", Era::Sessions)
        .await
        .unwrap();
    let tools = client.list_all_tools().await.unwrap();
    let list = json!({ "tools": tools }).to_string();
    let path = writ.scratch.write(name, list).unwrap();
    path.to_str().unwrap().to_owned()
}

fn pin(writ: &Deployment, list: &str, more: &[&str]) -> Vec<Value> {
    let command = ["server", "pin", SERVER, list, "--author", "ada"];
    writ.service.cli(&[&command[..], more].concat()).unwrap()
}

/// Waits until the gateway has heard of what was approved.
async fn shows(writ: &Deployment, token: &str, tools: &[&str]) {
    until("the tools to be shown", PATIENCE, async || {
        let shown = shown(writ, token, Era::Stateless).await;
        (shown == tools).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_tool_that_turns_is_cut_from_lists_not_called_and_on_record_until_somebody_has_looked_at_it()
 {
    let server = ChangingServer::start().await.unwrap();
    let writ = Deployment::start(Options {
        policy: Some(POLICY.to_owned()),
        upstream: Some(server.port()),
        ..Options::named("pins")
    })
    .await
    .unwrap();
    let token = writ.batch_token().await.unwrap();
    assert_eq!(shown(&writ, &token, Era::Stateless).await, [""; 0]);
    assert_eq!(
        refused(&writ, &token, CHANGES).await.unwrap(),
        "this is not pinned as reading"
    );

    let first = save(&server, &writ, "tools.json").await;
    pin(&writ, &first, &[]);
    shows(&writ, &token, &[CHANGES, STAYS]).await;
    for era in Era::ALL {
        assert_eq!(shown(&writ, &token, era).await, [CHANGES, STAYS], "{era:?}");
    }
    assert_eq!(refused(&writ, &token, CHANGES).await, None);
    assert_eq!(server.calls(), 1);

    server.turn(true);
    for era in Era::ALL {
        assert_eq!(shown(&writ, &token, era).await, [STAYS], "{era:?}");
    }
    let told = refused(&writ, &token, CHANGES).await.unwrap();
    assert!(
        told.contains("does not define report as it was approved")
            && told.contains("writ server pin ledger TOOLS.json --tool report"),
        "{told}"
    );
    assert_eq!(server.calls(), 1, "the call has not reached it");
    assert_eq!(refused(&writ, &token, STAYS).await, None);
    let changed = writ
        .audit_record("the change", |record| record["kind"] == "pin_changed")
        .await
        .unwrap();
    assert_eq!(
        (&changed["server"], &changed["target"], &changed["gateway"]),
        (&json!(SERVER), &json!(CHANGES), &json!("edge"))
    );
    let denied = writ
        .audit_record("the refusal", |record| record["detail"]["cause"] == "pin")
        .await
        .unwrap();
    assert_eq!(denied["target"], CHANGES);
    until("the metric", PATIENCE, async || {
        let changed = writ.envoy.stats("writ.pins.changed").await.ok()?;
        (changed.values().sum::<u64>() == 2).then_some(())
    })
    .await
    .unwrap();

    server.turn(false);
    assert_eq!(shown(&writ, &token, Era::Stateless).await, [CHANGES, STAYS]);
    assert_eq!(refused(&writ, &token, CHANGES).await, None);

    server.turn(true);
    assert_eq!(shown(&writ, &token, Era::Stateless).await, [STAYS]);
    let second = save(&server, &writ, "turned.json").await;
    let lines = pin(&writ, &second, &["--tool", CHANGES]);
    assert_eq!(lines[0]["differences"][0]["path"], "/description");
    assert_eq!(changed["detail"]["shown"], lines[0]["digest"]);
    shows(&writ, &token, &[CHANGES, STAYS]).await;
    assert_eq!(refused(&writ, &token, CHANGES).await, None);
    let told = writ.service.audit().unwrap();
    let told = told.iter().filter(|record| record["kind"] == "pin_changed");
    assert_eq!(told.count(), 1, "once for each definition");
}
