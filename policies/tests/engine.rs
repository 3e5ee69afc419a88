//! The engine decides as the contract says, and fails closed when a policy does not.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod question;

use writ_policy::decision::{Decision, DenialCause, Obligations};
use writ_policy::engine::{
    CompileError, Data, EXCHANGE, EngineError, Evaluator, Module, Program, TASK, compile,
    compile_judgements,
};
use writ_policy::input::Mcp;
use writ_policy::{Value, library};

struct Case {
    groups: &'static [&'static str],
    method: &'static str,
    tool: Option<&'static str>,
    arguments: &'static str,
}

fn decide(evaluator: &mut Evaluator, case: &Case) -> Decision {
    let arguments = Value::from_json_str(case.arguments).unwrap();
    let mcp = Mcp {
        version: Some("2026-07-28"),
        method: case.method,
        tool: case.tool,
        arguments: Some(&arguments),
        ..Mcp::default()
    };
    question::about(case.groups, &mcp, |input| evaluator.call(input))
}

fn evaluator(rego: &str) -> Evaluator {
    let module = Module {
        path: "policy.rego".to_owned(),
        text: rego.to_owned(),
    };
    Evaluator::new(
        &compile(&[module]).unwrap(),
        &Data::from_json("{}").unwrap(),
    )
    .unwrap()
}

const CALL: Case = Case {
    groups: &["treasury"],
    method: "tools/call",
    tool: Some("transfer"),
    arguments: r#"{"amount":5}"#,
};

#[test]
fn the_library_decides_the_same_from_its_portable_form() {
    let program = compile(&library::modules()).unwrap();
    let portable = Program::from_bytes(&program.to_bytes().unwrap()).unwrap();
    let data = Data::from_json(library::example_data()).unwrap();
    let cases = [
        (CALL, Ok(())),
        (
            Case {
                arguments: r#"{"amount":1000.5}"#,
                ..CALL
            },
            Err("amount is above the limit of 1000"),
        ),
        (
            Case {
                groups: &["finance"],
                ..CALL
            },
            Err("alice has no grant for transfer on ledger"),
        ),
        (
            Case {
                groups: &["finance"],
                tool: Some("listAccounts"),
                ..CALL
            },
            Ok(()),
        ),
        (
            Case {
                groups: &["finance"],
                tool: None,
                method: "tools/list",
                ..CALL
            },
            Ok(()),
        ),
        (
            Case {
                groups: &["sales"],
                tool: None,
                method: "tools/list",
                ..CALL
            },
            Err("no rule grants this call; ask the owner of the policy for access"),
        ),
    ];
    for program in [&program, &portable] {
        let mut evaluator = Evaluator::new(program, &data).unwrap();
        // Twice, and interleaved: a decision leaves nothing behind for the next.
        for (case, expected) in cases.iter().chain(&cases) {
            let expected = match expected {
                Ok(()) => Decision::Allow {
                    reason: None,
                    obligations: Obligations::default(),
                },
                Err(reason) => Decision::deny(DenialCause::Policy, *reason),
            };
            assert_eq!(decide(&mut evaluator, case), expected);
        }
    }
}

#[test]
fn the_library_on_no_data_denies() {
    let mut evaluator = Evaluator::new(
        &compile(&library::modules()).unwrap(),
        &Data::from_json("{}").unwrap(),
    )
    .unwrap();
    assert!(matches!(
        decide(&mut evaluator, &CALL),
        Decision::Deny {
            cause: DenialCause::Policy,
            ..
        }
    ));
}

fn cause(rego: &str) -> DenialCause {
    match decide(&mut evaluator(rego), &CALL) {
        Decision::Deny { cause, reason, .. } => {
            assert!(!reason.is_empty());
            cause
        }
        Decision::Allow { .. } => panic!("allowed by {rego}"),
    }
}

#[test]
fn a_policy_that_fails_denies() {
    assert_eq!(
        cause("package writ\ncall := {\"allow\": true} if input.mcp.tool == \"other\""),
        DenialCause::Undefined
    );
    assert_eq!(cause("package writ\ncall := true"), DenialCause::WrongShape);
    assert_eq!(
        cause(
            "package writ\ncall := {\"allow\": n > 0} if { n := count([1 | some i in numbers.range(1, 300); \
             some j in numbers.range(1, 300); i + j > 0]) }"
        ),
        DenialCause::Limit
    );
    // What throws has no answer, as in OPA.
    for throws in ["1 / 0 == 1", "input.mcp.tool + 1 == 2", "count(7) == 1"] {
        let rego = format!("package writ\ncall := {{\"allow\": true}} if {throws}");
        assert_eq!(cause(&rego), DenialCause::Undefined, "{throws}");
    }
    // Two answers at once: where OPA reports a conflict, the engine's bytecode has no answer.
    assert_eq!(
        cause(
            "package writ\ncall := {\"allow\": true} if input.mcp.method\ncall := {\"allow\": false} if input.mcp.tool"
        ),
        DenialCause::Undefined
    );
}

#[test]
fn a_decision_that_ran_away_does_not_spoil_the_next() {
    let mut evaluator = evaluator(
        "package writ\ncall := {\"allow\": n > 0} if { input.subject.groups[0] == \"endless\"; \
         n := count([1 | some i in numbers.range(1, 300); some j in numbers.range(1, 300); i + j > 0]) } \
         else := {\"allow\": true} if input.mcp.tool == \"transfer\"",
    );
    let endless = Case {
        groups: &["endless"],
        ..CALL
    };
    for _ in 0..3 {
        assert!(matches!(
            decide(&mut evaluator, &endless),
            Decision::Deny {
                cause: DenialCause::Limit,
                ..
            }
        ));
        assert!(matches!(
            decide(&mut evaluator, &CALL),
            Decision::Allow { .. }
        ));
    }
}

/// Rules that make more and more of what they have, `times` over.
fn again_and_again(step: &str, times: usize) -> String {
    let mut rego =
        "package writ\n\ncall := {\"allow\": true} if {\n\tx0 := input.mcp.tool\n".to_owned();
    for n in 1..=times {
        let (this, before) = (format!("x{n}"), format!("x{}", n - 1));
        rego.push_str(&format!("\t{this} := {}\n", step.replace('X', &before)));
    }
    rego + &format!("\tnot x{times} == 7\n}}\n")
}

#[test]
fn what_makes_too_much_out_of_little_is_cut_off() {
    for (step, times) in [
        ("concat(\"\", [X, X])", 40),
        ("concat(X, [\"a\", \"b\", X])", 40),
        ("sprintf(\"%s%s\", [X, X])", 40),
        ("replace(X, \"r\", X)", 8),
        ("strings.replace_n({\"r\": X}, X)", 40),
        ("regex.replace(X, \"r\", X)", 8),
        (
            "array.concat(array.concat([X], split(concat(\",\", [\"a\" | some _ in numbers.range(1, 2000)]), \",\")), split(X, \"\"))",
            1,
        ),
        ("json.marshal([X, X])", 40),
        ("base64.encode(X)", 60),
        ("base64url.encode_no_pad(X)", 60),
        ("hex.encode(X)", 40),
        ("numbers.range(1, count(json.marshal([[X, X], [X, X]])))", 1),
    ] {
        let wanted = if times == 1 {
            None
        } else {
            Some(DenialCause::Limit)
        };
        match (
            decide(&mut evaluator(&again_and_again(step, times)), &CALL),
            wanted,
        ) {
            (Decision::Allow { .. }, None) => {}
            (Decision::Deny { cause, reason, .. }, Some(wanted)) => {
                assert_eq!(cause, wanted, "{step}: {reason}");
                assert!(reason.contains("32 MiB"), "{step}: {reason}");
            }
            (other, _) => panic!("{step}: {other:?}"),
        }
    }
    // What is there once and is looked at many times over.
    let nested =
        again_and_again("[X, X]", 60).replace("not x60 == 7", "not json.marshal(x60) == 7");
    assert_eq!(cause(&nested), DenialCause::Limit);
    let product = again_and_again("X * X", 60).replace("input.mcp.tool", "123456789");
    assert_eq!(cause(&product), DenialCause::Limit);
    let short = again_and_again("X * 3", 60).replace("input.mcp.tool", "2");
    assert!(matches!(
        decide(&mut evaluator(&short), &CALL),
        Decision::Allow { .. }
    ));
}

#[cfg(feature = "authoring")]
#[test]
fn a_test_that_makes_too_much_is_cut_off_too() {
    use writ_policy::authoring::testing::{Outcome, Suite};
    let doubling = again_and_again("concat(\"\", [X, X])", 40);
    let rego = doubling
        .replace("package writ", "package t")
        .replace("call := {\"allow\": true}", "test_it")
        .replace("input.mcp.tool", "\"transfer\"");
    let test = Module {
        path: "t.rego".to_owned(),
        text: rego + "\ntest_next if sprintf(\"%s\", [concat(\"\", [\"a\", \"b\"])]) == \"ab\"\n",
    };
    let data = Data::from_json("{}").unwrap();
    let mut suite = Suite::new(&[], &[test], &data, false).unwrap();
    let outcomes: Vec<Outcome> = suite
        .tests()
        .to_vec()
        .iter()
        .map(|test| suite.run(test))
        .collect();
    assert!(
        matches!(&outcomes[..], [Outcome::Error(_), Outcome::Pass]),
        "{outcomes:?}"
    );
}

#[test]
fn a_decision_that_made_too_much_leaves_nothing_for_the_next() {
    let rego = "package writ\ncall := {\"allow\": true} if {\n\
        text := concat(\"\", [input.mcp.tool | some _ in numbers.range(1, 400)])\n\
        count(json.marshal([text | some _ in numbers.range(1, 900)])) > 0\n}\n";
    let mut evaluator = evaluator(rego);
    for _ in 0..9 {
        let decision = decide(&mut evaluator, &CALL);
        assert!(matches!(decision, Decision::Allow { .. }), "{decision:?}");
    }
}

#[test]
fn a_format_that_the_engine_breaks_off_at_has_no_answer() {
    for format in [
        "%\u{bd}d",
        "%1\u{664}d",
        "%99999999999999999999d",
        "%257d",
        "%.999999999f",
    ] {
        let rego =
            format!("package writ\ncall := {{\"allow\": true}} if sprintf(\"{format}\", [7])");
        assert_eq!(cause(&rego), DenialCause::Undefined, "{format}");
    }
    let rego = "package writ\ncall := {\"allow\": true} if sprintf(\"%5d %.2f %s%% %v\", [7, 1.5, \"a\", [1]]) == \"    7 1.50 a% [1]\"";
    assert!(matches!(
        decide(&mut evaluator(rego), &CALL),
        Decision::Allow { .. }
    ));
}

#[test]
fn a_policy_that_does_not_compile_says_where() {
    let broken = Module {
        path: "broken.rego".to_owned(),
        text: "package writ\ncall := {".to_owned(),
    };
    let CompileError::Module { path, message } = compile(&[broken]).unwrap_err() else {
        panic!("another error")
    };
    assert_eq!(path, "broken.rego");
    assert!(message.contains("broken.rego:2"), "{message}");

    let elsewhere = Module {
        path: "other.rego".to_owned(),
        text: "package other\ncall := true".to_owned(),
    };
    assert!(matches!(
        compile(&[elsewhere]),
        Err(CompileError::NoEntryPoint)
    ));
}

fn refused(rego: String) -> String {
    let module = Module {
        path: "p.rego".to_owned(),
        text: rego,
    };
    compile(&[module]).unwrap_err().to_string()
}

#[test]
fn a_policy_without_an_end_is_refused() {
    for rego in [
        "package writ\ncall := {\"allow\": p}\np if q\nq if p\n",
        "package writ\ncall := {\"allow\": f(3)}\nf(x) := f(x)\n",
        "package writ\ncall := {\"allow\": f(3)}\nf(x) := g(x) if x > 0\ng(x) := y if { some y in [z | z := f(x)] }\n",
        "package writ\ncall := {\"allow\": data.writ.call.allow}\n",
        "package writ\ncall := {\"allow\": data.writ[\"call\"].allow}\n",
    ] {
        let error = refused(rego.to_owned());
        assert!(error.contains("is recursive"), "{rego}: {error}");
    }
    // Not what a rule leads to, but what is looked up while it runs.
    for rego in [
        "package writ\nx := \"call\"\ncall := {\"allow\": data.writ[x].allow}\n",
        "package writ\ncall := {\"allow\": count(data.writ) > 0}\n",
        "package writ\ncall := {\"allow\": data.writ[input.mcp.tool] == 1}\n",
    ] {
        let module = Module {
            path: "p.rego".to_owned(),
            text: rego.to_owned(),
        };
        if let Ok(program) = compile(&[module]) {
            let data = Data::from_json("{}").unwrap();
            let mut evaluator = Evaluator::new(&program, &data).unwrap();
            let decision = decide(&mut evaluator, &CALL);
            assert!(matches!(decision, Decision::Deny { .. }), "{rego}");
        }
    }
}

#[test]
fn a_policy_that_goes_too_deep_or_is_too_large_is_refused() {
    let chain = |length: usize| {
        let rules = (0..length).map(|n| format!("r{n} if r{}\n", n + 1));
        let rules: String = rules.collect();
        format!("package writ\ncall := {{\"allow\": r0}}\n{rules}r{length} if true\n")
    };
    assert!(matches!(
        decide(&mut evaluator(&chain(28)), &CALL),
        Decision::Allow { .. }
    ));
    assert!(refused(chain(100)).contains("more than 32 rules lead from one to the next"));

    let brackets = format!(
        "package writ\ncall := {}1{}\n",
        "[".repeat(20_000),
        "]".repeat(20_000)
    );
    let error = refused(brackets);
    assert!(error.contains("p.rego:2:1"), "{error}");
    assert!(error.contains("more than 64 brackets"), "{error}");

    let large = "y".repeat(5_000_000);
    let error = refused(format!(
        "package writ\ncall := {{\"allow\": true}}\nx := \"{large}\"\n"
    ));
    assert!(
        error.contains("exceeds maximum allowed policy file size"),
        "{error}"
    );
}

#[test]
fn a_damaged_program_is_refused() {
    let bytes = compile(&library::modules()).unwrap().to_bytes().unwrap();
    assert!(matches!(
        Program::from_bytes(&bytes[..bytes.len() / 2]),
        Err(EngineError::Program(_))
    ));
    assert!(matches!(
        Program::from_bytes(b"{}"),
        Err(EngineError::Program(_))
    ));
}

#[test]
fn data_that_collides_with_a_rule_is_refused() {
    let program = compile(&library::modules()).unwrap();
    let data = Data::from_json(r#"{"writ":{"call":{"allow":true}}}"#).unwrap();
    assert!(matches!(
        Evaluator::new(&program, &data),
        Err(EngineError::Data(_))
    ));
    assert!(matches!(Data::from_json("[]"), Err(EngineError::Data(_))));
}

#[derive(Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Yes {
    allow: bool,
}

fn judge(rego: &str, entry_point: &str) -> Result<Yes, DenialCause> {
    let module = Module {
        path: "policy.rego".to_owned(),
        text: rego.to_owned(),
    };
    let Some(program) = compile_judgements(&[module]).unwrap() else {
        return Err(DenialCause::Undefined);
    };
    let mut evaluator = Evaluator::new(&program, &Data::from_json("{}").unwrap()).unwrap();
    let input = serde_json::json!({"ask": 1});
    evaluator
        .judge(entry_point, &input)
        .map_err(|unjudged| unjudged.cause)
}

#[test]
fn what_is_no_answer_to_the_service_is_a_refusal() {
    let yes = r#"package writ
task := {"allow": true} if input.ask == 1"#;
    assert_eq!(judge(yes, TASK), Ok(Yes { allow: true }));
    assert_eq!(judge(yes, EXCHANGE), Err(DenialCause::Undefined));
    for (rego, cause) in [
        ("package writ\ncall := {}", DenialCause::Undefined),
        (
            "package writ\ntask := {\"allow\": true} if input.ask == 2",
            DenialCause::Undefined,
        ),
        ("package writ\ntask := true", DenialCause::WrongShape),
        (
            "package writ\ntask := {\"allow\": true, \"forever\": true}",
            DenialCause::WrongShape,
        ),
        (
            "package writ\ntask := {\"allow\": true} if every x in numbers.range(0, 100000) { x >= 0 }",
            DenialCause::Limit,
        ),
    ] {
        assert_eq!(judge(rego, TASK), Err(cause), "{rego}");
    }
}

#[test]
fn data_is_the_same_whether_it_is_read_or_taken() {
    let json = r#"{"numbers": [0, -1, 18446744073709551615, 123456789012345678901234567890, 0.1, 1e300, 2.0],
                   "texts": ["", "\u0000ü"], "others": [null, true, {"a": {}}]}"#;
    let taken = Data::of(&serde_json::from_str(json).unwrap()).unwrap();
    let read = Data::from_json(json).unwrap();
    assert_eq!(taken.value(), read.value());
    assert_eq!(taken.value().to_string(), read.value().to_string());
}
