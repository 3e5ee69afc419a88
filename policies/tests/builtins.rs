//! What the engine has beyond its own built-ins, it has in the filter's bytecode and in tests alike.
#![cfg(feature = "authoring")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;

use regorus::unstable::BUILTINS;
use writ_policy::Value;
use writ_policy::authoring::check::check;
use writ_policy::authoring::testing::{Outcome, Suite};
use writ_policy::builtins::EXTENSIONS;
use writ_policy::decision::{Decision, DenialCause};
use writ_policy::engine::{Data, Evaluator, Module, compile};

/// True in both.
const HOLDS: &[&str] = &[
    r#"crypto.sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad""#,
    r#"crypto.hmac.equal(crypto.hmac.sha256("m", "k"), crypto.hmac.sha256("m", "k"))"#,
    r#"[header, payload, _] := io.jwt.decode("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.AA"); header.alg == "HS256"; payload.sub == "a""#,
    r#"not io.jwt.decode("no token")"#,
    r#"not io.jwt.verify_hs256("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.AA", "secret")"#,
    r#"net.cidr_intersects("10.0.0.0/8", "10.1.0.0/16"); net.cidr_contains("10.0.0.0/8", "10.2.3.4")"#,
    r#"net.cidr_expand("10.0.0.0/31") == {"10.0.0.0", "10.0.0.1"}"#,
    r#"numbers.range(1, 3) == [1, 2, 3]; numbers.range_step(1, 5, 2) == [1, 3, 5]"#,
    r#"regex.find_all_string_submatch_n("^/users/([^/]+)$", "/users/alice", 1)[0][1] == "alice""#,
    r#"regex.match(`^\d+ \w+\s?$`, "12 ab"); regex.match("(?i)^transfer$", "Transfer")"#,
    r#"bits.lsh(1, 4) == 16"#,
    r#"urlquery.encode("a b") == "a+b"; urlquery.decode("a+b") == "a b""#,
    r#"urlquery.decode_object("a=1&a=2").a == ["1", "2"]; urlquery.encode_object({"a": "1"}) == "a=1""#,
    r#"{x | some n in numbers.range(1, 3); x := crypto.sha256(sprintf("%d", [n]))} == {crypto.sha256("1"), crypto.sha256("2"), crypto.sha256("3")}"#,
    r#"every n in numbers.range(1, 3) { n > 0 }; hashed("a") == crypto.sha256("a")"#,
    r#"graph.reachable({"cfo": ["finance"], "finance": ["staff"], "staff": []}, ["cfo"]) == {"cfo", "finance", "staff"}"#,
    r#"not crypto.sha256(7); not crypto.sha256(data.nothing)"#,
];

fn module(path: &str, text: String) -> Module {
    Module {
        path: path.to_owned(),
        text,
    }
}

fn decide(text: String, input: &str) -> Decision {
    let program = compile(&[module("p.rego", text)]).unwrap();
    let mut evaluator = Evaluator::new(&program, &Data::from_json("{}").unwrap()).unwrap();
    evaluator.call_with(Value::from_json_str(input).unwrap())
}

#[test]
fn the_bytecode_and_the_interpreter_agree() {
    for holds in HOLDS {
        let policy = format!(
            "package writ\nhashed(x) := crypto.sha256(x)\ncall := {{\"allow\": true}} if {{ {holds} }}\n"
        );
        let decision = decide(policy, "{}");
        assert!(
            matches!(decision, Decision::Allow { .. }),
            "{holds}: {decision:?}"
        );

        let tests = format!("package t\nhashed(x) := crypto.sha256(x)\ntest_it if {{ {holds} }}\n");
        let data = Data::from_json("{}").unwrap();
        let mut suite = Suite::new(&[], &[module("t.rego", tests)], &data, false).unwrap();
        let test = suite.tests().first().unwrap().clone();
        assert_eq!(suite.run(&test), Outcome::Pass, "{holds}");
    }
}

#[test]
fn the_time_is_that_of_the_request() {
    let policy =
        "package writ\ncall := {\"allow\": true, \"reason\": sprintf(\"%d\", [time.now_ns()])}\n";
    let at = |time: &str| match decide(policy.to_owned(), time) {
        Decision::Allow { reason, .. } => reason.unwrap(),
        Decision::Deny { cause, .. } => format!("{cause:?}"),
    };
    let expected = "1795428000000000000";
    assert_eq!(
        at(r#"{"request": {"time": "2026-11-23T10:00:00.000Z"}}"#),
        expected
    );
    assert_eq!(at(r#"{"time": "2026-11-23T10:00:00Z"}"#), expected);
    assert_eq!(at("{}"), "Undefined");

    let tests = "package t\ntest_it if time.weekday(time.now_ns()) == \"Monday\" with time.now_ns as 1795428000000000000\n";
    let data = Data::from_json("{}").unwrap();
    let mut suite = Suite::new(&[], &[module("t.rego", tests.to_owned())], &data, false).unwrap();
    let test = suite.tests().first().unwrap().clone();
    assert_eq!(suite.run(&test), Outcome::Pass);
}

#[test]
fn what_would_make_too_much_denies_even_where_it_is_negated() {
    let policy =
        |rule: &str| format!("package writ\ncall := {{\"allow\": true}} if {{ {rule} }}\n");
    for rule in [
        "not numbers.range(0, input.most)[7]",
        "count(net.cidr_expand(\"::/0\")) > 0",
        "not bits.lsh(1, 1000000000000)",
        "not crypto.sha256(concat(\"\", [input.long | some _ in numbers.range(1, 70)]))",
    ] {
        let long = "x".repeat(1024);
        let input = format!(r#"{{"most": 1000000000, "long": "{long}"}}"#);
        let decision = decide(policy(rule), &input);
        let Decision::Deny { cause, reason, .. } = decision else {
            panic!("{rule} is allowed");
        };
        assert_eq!(cause, DenialCause::Limit, "{rule}: {reason}");
    }
}

#[test]
fn a_decision_that_was_cut_off_leaves_nothing_for_the_next() {
    let policy =
        "package writ\ncall := {\"allow\": n > 0} if n := count(numbers.range(0, input.most))\n";
    let program = compile(&[module("p.rego", policy.to_owned())]).unwrap();
    let mut evaluator = Evaluator::new(&program, &Data::from_json("{}").unwrap()).unwrap();
    let mut ask = |input: &str| evaluator.call_with(Value::from_json_str(input).unwrap());
    for _ in 0..3 {
        assert!(matches!(
            ask(r#"{"most": 1000000}"#),
            Decision::Deny {
                cause: DenialCause::Limit,
                ..
            }
        ));
        assert!(matches!(ask(r#"{"most": 10}"#), Decision::Allow { .. }));
    }
    // Steps are counted across the built-ins of one decision, and from nothing in the next.
    let endless = "package writ\ncall := {\"allow\": true} if { every n in numbers.range(1, 60000) { crypto.sha256(sprintf(\"%d\", [n])) != input.x } }\n";
    let decision = decide(endless.to_owned(), "{\"x\": 1}");
    assert!(
        matches!(
            decision,
            Decision::Deny {
                cause: DenialCause::Limit,
                ..
            }
        ),
        "{decision:?}"
    );
}

#[test]
fn the_documentation_names_exactly_those_that_there_are() {
    let page = include_str!("../../docs/rego.md");
    let (page, _) = page.split_once("## Policies written").unwrap();
    let table = page.lines().filter(|line| line.starts_with("| "));
    let documented: BTreeSet<&str> = table
        .flat_map(|row| row.split('`').skip(1).step_by(2))
        .collect();
    let extensions = EXTENSIONS.iter().map(|(name, _)| *name);
    let there: BTreeSet<&str> = BUILTINS
        .keys()
        .copied()
        .filter(|name| !name.starts_with("__"))
        .chain(extensions)
        .collect();
    assert_eq!(documented, there);
}

#[test]
fn a_check_knows_them() {
    let policy = "package writ\nvisible := {\"allow\": true}\ncall := {\"allow\": true} if io.jwt.decode(input.x)[1].sub == \"a\"\n";
    let data = Data::from_json("{}").unwrap();
    assert_eq!(
        check(&[module("p.rego", policy.to_owned())], &[], &data),
        []
    );
}

#[test]
fn a_policy_cannot_reach_past_them() {
    let policy =
        "package writ\ncall := {\"allow\": true} if __builtin_host_await([], \"http.send\")\n";
    let decision = decide(policy.to_owned(), "{}");
    assert!(
        matches!(
            decision,
            Decision::Deny {
                cause: DenialCause::Error,
                ..
            }
        ),
        "{decision:?}"
    );
}
