//! What a denial tells of what the policy was asked, so that it can be asked again.

use writ_policy::kept::{KeptInput, Lack, MOST_REPORTED};

use super::*;

/// The input of the denial that the last call to the service reports.
pub(super) fn reported(world: &World) -> Option<KeptInput> {
    let calls = world.proxy.calls.borrow();
    let (_, headers, body) = calls.last().unwrap();
    assert_eq!(headers[":path"], "/gateway/v1/events");
    let batch: EventBatch = serde_json::from_slice(body).unwrap();
    match batch.events.as_slice() {
        [Event::Denied(denied)] => denied.input.clone(),
        other => panic!("{other:?}"),
    }
}

fn calling(arguments: &Json) -> String {
    json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call",
           "params": {"name": "exportAuditReport", "arguments": arguments}})
    .to_string()
}

#[test]
fn a_denial_tells_what_the_policy_was_asked_and_no_token() {
    let mut world = World::new();
    let caller = world.caller();
    world.request(Some(&caller), &calling(&json!({"year": 2026})));
    let input = reported(&world).unwrap();
    assert_eq!(input.lacks, None);
    let document = input.document.unwrap();
    assert!(!document.contains(&caller), "{document}");
    let document: Json = serde_json::from_str(&document).unwrap();
    assert_eq!(document["mcp"]["arguments"], json!({"year": 2026}));
    assert_eq!(document["subject"]["id"], "alice");
    assert_eq!(document["server"]["id"], "ledger");
}

#[test]
fn what_is_too_long_is_left_out_of_it() {
    let mut world = World::configured(
        br#"{"mode":"gateway","token_service":{"cluster":"writ","gateway_id":"edge","secret_env":"S"}}"#,
    )
    .with_snapshot(|_| {});
    let caller = world.caller();
    let long = "x".repeat(MOST_REPORTED);
    world.request(Some(&caller), &calling(&json!({"year": long})));
    let input = reported(&world).unwrap();
    assert_eq!(input.lacks, Some(Lack::LongArguments));
    let document: Json = serde_json::from_str(&input.document.unwrap()).unwrap();
    assert_eq!(document["mcp"]["tool"], "exportAuditReport");
    assert_eq!(document["mcp"].get("arguments"), None);
}

#[test]
fn nothing_is_told_where_the_rule_about_calls_did_not_say_no() {
    let mut world = World::new();
    let caller = world.caller();
    let burn = CALL.replace("tools/call", "tools/burn");
    world.request(Some(&caller), &burn);
    assert_eq!(reported(&world), None);
}
