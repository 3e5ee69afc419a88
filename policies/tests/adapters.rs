//! Policies that were written for something else decide as they did there.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod question;

use writ_policy::Value;
use writ_policy::decision::{Decision, DenialCause};
use writ_policy::engine::{CompileError, Data, Evaluator, Module, Program, compile};
use writ_policy::input::{Kind, Mcp};

/// AuthZEN.
const AUTHZEN: &str = r#"
# METADATA
# title: Records
# custom:
#   writ:
#     input: authzen
package records

default decision := {"decision": false, "context": {"reason": "not yours"}}

decision := {"decision": true} if {
	input.subject.type == "user"
	input.subject.properties.groups[_] == "treasury"
	input.action.name == "tools/call"
	input.action.properties.arguments.amount < 100
	input.resource == {"type": "tool", "id": "transfer", "properties": {"server": input.resource.properties.server}}
	input.resource.properties.server.id == "ledger"
	input.context.agent.id == "assistant"
	time.weekday(time.now_ns()) == "Monday"
}
"#;

/// OPA's plugin for Envoy.
const ENVOY: &str = r#"
package envoy.authz

import input.attributes.request.http as http_request

# METADATA
# custom: {writ: {input: envoy}}
default allow := {"allowed": false, "body": "not yours", "http_status": 403}

allow := {"allowed": true, "headers": {}} if {
	http_request.method == "POST"
	http_request.host == "ledger.example"
	http_request.path == "/mcp"
	http_request.headers["x-team"] == "red"
	input.parsed_path == ["mcp"]
	input.parsed_body.method == "tools/call"
	input.parsed_body.params.name == "transfer"
	input.parsed_body.params.arguments.amount < 100
	input.attributes.source.address.socketAddress.address == "192.0.2.1"
	time.weekday(time.now_ns()) == "Monday"
}
"#;

/// An MCP gateway.
const GATEWAY: &str = r#"
# METADATA
# custom: {writ: {input: mcp_gateway}}
package orchestrator

default result["allowed"] := false

result["allowed"] if {
	input.request.http.headers["x-team"] == "red"
	input.request.mcp.tool.params.name == "transfer"
	input.request.mcp.tool.params.arguments.amount < 100
	time.weekday(time.now_ns()) == "Monday"
}

result["external_message"] := "not yours" if not result.allowed
"#;

fn with(evaluator: &mut Evaluator, tool: &str, amount: i64, listed: bool) -> Decision {
    let arguments = Value::from_json_str(&format!(r#"{{"amount":{amount}}}"#)).unwrap();
    let mcp = Mcp {
        method: "tools/call",
        tool: Some(tool),
        arguments: Some(&arguments),
        ..Mcp::default()
    };
    question::about(&["treasury"], &mcp, |input| match listed {
        false => evaluator.call(input),
        true => evaluator.visible(&input.listing(), Kind::Tool, tool, None),
    })
}

fn program(text: &str) -> Result<Program, CompileError> {
    compile(&[
        Module {
            path: "a.rego".to_owned(),
            text: "package other\nx := 1\n".to_owned(),
        },
        Module {
            path: "p.rego".to_owned(),
            text: text.to_owned(),
        },
    ])
}

fn evaluator(text: &str) -> Evaluator {
    let portable = program(text).unwrap().to_bytes().unwrap();
    let program = Program::from_bytes(&portable).unwrap();
    Evaluator::new(&program, &Data::from_json("{}").unwrap()).unwrap()
}

#[test]
fn each_decides_from_the_input_that_it_was_written_for() {
    for policy in [AUTHZEN, ENVOY, GATEWAY] {
        let mut evaluator = evaluator(policy);
        for _ in 0..2 {
            let decision = with(&mut evaluator, "transfer", 5, false);
            assert!(
                matches!(decision, Decision::Allow { .. }),
                "{policy}: {decision:?}"
            );
            for (tool, amount) in [("transfer", 500), ("other", 5)] {
                let decision = with(&mut evaluator, tool, amount, false);
                let expected = Decision::deny(DenialCause::Policy, "not yours");
                assert_eq!(decision, expected, "{policy}");
            }
        }
        // An entry of a list has no arguments: a rule about them hides it.
        let listed = with(&mut evaluator, "transfer", 5, true);
        assert!(matches!(listed, Decision::Deny { .. }), "{policy}");
    }
}

#[test]
fn the_example_of_the_documentation_decides() {
    let page = include_str!("../../docs/rego.md");
    let (_, rest) = page.split_once("```rego\n").unwrap();
    let (policy, _) = rest.split_once("```").unwrap();
    let mut evaluator = evaluator(policy);
    for (amount, allowed) in [(5, true), (500, false)] {
        let decision = with(&mut evaluator, "transfer", amount, false);
        assert_eq!(matches!(decision, Decision::Allow { .. }), allowed);
    }
}

#[test]
fn lists_show_what_may_be_called_unless_a_rule_of_writs_says_otherwise() {
    let policy = "# METADATA\n# custom: {writ: {input: envoy}}\npackage envoy.authz\nallow if input.parsed_body.params.name == \"transfer\"\n";
    let mut plain = evaluator(policy);
    for (tool, shown) in [("transfer", true), ("other", false)] {
        let decision = with(&mut plain, tool, 5, true);
        assert_eq!(matches!(decision, Decision::Allow { .. }), shown, "{tool}");
    }
    let visible = "package writ\nvisible := {\"allow\": input.mcp.tool == \"other\"}\n";
    let modules = [policy, visible].map(|text| Module {
        path: format!("{}.rego", text.len()),
        text: text.to_owned(),
    });
    let program = compile(&modules).unwrap();
    let mut both = Evaluator::new(&program, &Data::from_json("{}").unwrap()).unwrap();
    for (tool, shown) in [("transfer", false), ("other", true)] {
        let decision = with(&mut both, tool, 5, true);
        assert_eq!(matches!(decision, Decision::Allow { .. }), shown, "{tool}");
    }
}

#[test]
fn a_declaration_that_is_not_understood_says_where_it_is() {
    for (policy, line, told) in [
        (
            "package p\n\n# METADATA\n# custom: {writ: {input: kong}}\nallow if true\n",
            3,
            "no input `kong` is known",
        ),
        (
            "# METADATA\n# custom: {writ: {inputs: envoy}}\npackage p\nallow if true\n",
            1,
            "no input `envoy` is known",
        ),
        (
            "# METADATA\n# custom: {writ: {input: envoy, more: 1}}\npackage p\nallow if true\n",
            1,
            "one member",
        ),
        (
            "# METADATA\n# custom: {writ: {input: envoy}}\npackage p\nallowed if true\n",
            1,
            "no rule to ask: define `allow`",
        ),
        (
            "# METADATA\n# custom: {writ: {input: envoy}}\npackage p\n# METADATA\n# custom: {writ: {input: authzen}}\nallow if true\n",
            4,
            "p.rego:1 declares an input already",
        ),
    ] {
        let error = program(policy).unwrap_err().to_string();
        assert!(error.starts_with(&format!("p.rego:{line}: ")), "{error}");
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn writs_own_input_may_be_declared_and_changes_nothing() {
    let plain = "package writ\ncall := {\"allow\": input.mcp.tool == \"transfer\"}\n";
    let declared = format!("# METADATA\n# custom: {{writ: {{input: writ}}}}\n{plain}");
    let mut evaluator = evaluator(&declared);
    assert!(matches!(
        with(&mut evaluator, "transfer", 5, false),
        Decision::Allow { .. }
    ));
    let bare = program("package writ\ncall := true\n").unwrap();
    assert!(!bare.to_bytes().unwrap().starts_with(b"writ-input"));
}

#[test]
fn a_program_of_an_input_that_nobody_here_knows_is_refused() {
    let bytes = program(GATEWAY).unwrap().to_bytes().unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(
        text.starts_with(
            "writ-input mcp_gateway data.orchestrator.result allowed external_message\n"
        )
    );
    for head in [
        "writ-input kong data.p.allow\n",
        "writ-input envoy",
        "writ-input \n",
    ] {
        let error = Program::from_bytes(head.as_bytes())
            .unwrap_err()
            .to_string();
        assert!(error.contains("does not know"), "{error}");
    }
}
