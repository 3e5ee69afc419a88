//! A policy that fails says no, wherever it is asked, and the proxy's metrics say that it failed.

use super::*;

/// What a rule answers in each of the ways to fail.
const FAILURES: [(&str, &str); 3] = [
    (
        "{`allow`: n > 0} if { n := count([1 | some i in numbers.range(1, 300); some j in numbers.range(1, 300); i + j > 0]) }",
        "steps to decide",
    ),
    ("`yes`", ""),
    ("{`allow`: `true`}", ""),
];

const ALLOWS: &str = "package writ\ncall := {`allow`: true}\n";

#[test]
fn a_call_that_the_policy_fails_at_is_denied_and_counted() {
    for (answer, told) in FAILURES {
        let mut world = World::of(&format!("package writ\ncall := {answer}"));
        let caller = world.caller();
        world.request(Some(&caller), CALL);
        world.answers(204, "");
        world.answered();
        world.assert_nothing_forwarded();
        let (_, body) = world.reply();
        assert_eq!(body["error"]["code"], 403, "{answer}");
        let reason = body["error"]["message"].as_str().unwrap();
        assert!(!reason.is_empty() && reason.contains(told), "{reason}");
        assert_eq!(world.gateway.stats().policy_failures, 1, "{answer}");
    }
    // A plain no is none, nor is silence.
    for rule in [
        "call := {`allow`: false}",
        "call := {`allow`: true} if false",
    ] {
        let mut world = World::of(&format!("package writ\n{rule}"));
        let caller = world.caller();
        world.request(Some(&caller), CALL);
        world.assert_nothing_forwarded();
        assert_eq!(world.gateway.stats().denied, 1);
        assert_eq!(world.gateway.stats().policy_failures, 0, "{rule}");
    }
}

#[test]
fn what_the_policy_fails_at_on_the_way_back_is_not_shown_and_counted() {
    for (answer, _) in FAILURES {
        let mut world = World::of(&format!("{ALLOWS}visible := {answer}")).sent(LIST);
        let shown = pass(&mut world, "application/json", &[], TOOLS, 100);
        assert!(!shown.contains("listAccounts"), "{shown}");
        let failures = world.gateway.stats().policy_failures;
        assert_eq!(failures, 3, "one an entry: {answer}");

        let mut world = World::of(&format!("{ALLOWS}result := {answer}")).sent(CALL);
        let result = r#"{"jsonrpc":"2.0","id":7,"result":{"content":[]}}"#;
        let shown = pass(&mut world, "application/json", &[], result, 100);
        assert!(shown.contains("result_withheld"), "{shown}");
        assert_eq!(world.gateway.stats().policy_failures, 1, "{answer}");

        let asks = r#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#;
        let asked = format!(
            "package writ\ncall := {{`allow`: true}} if input.mcp.from == `client`\nelse := {answer}"
        );
        let mut world = World::of(&asked).sent(CALL);
        let event = format!("data: {asks}\n\n");
        let shown = pass(&mut world, "text/event-stream", &[], &event, 100);
        assert!(shown.contains("writ/denied"), "{shown}");
        assert_eq!(world.gateway.stats().policy_failures, 1, "{answer}");
    }
}
