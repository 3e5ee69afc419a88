//! How a policy came to its answer about one input: which of its rules held, and how far the others came.
//!
//! It runs on the interpreter, on the rules as they are written. A rule may be written several times, and a definition have
//! several bodies: each body is asked by itself, as a rule that is added to its module for that.

use std::ops::{Range, RangeInclusive};

use regorus::Value;
use regorus::unstable::{Expr, Module as Parsed, Rule, RuleBody, RuleHead, Span};
use serde::Serialize;

use super::interpreter::Interpreter;
use super::{Place, package, parsed, rule_name};
use crate::decision::{Decision, DenialCause};
use crate::defined;
use crate::engine::{self, CompileError, Data, Module};

/// A body of a rule that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Looked {
    /// The rule, by its package and name.
    pub rule: String,
    /// Where it is written.
    #[serde(flatten)]
    pub place: Place,
    /// How it ended.
    #[serde(flatten)]
    pub end: End,
}

/// How a body of a rule ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// All of it held, and gave this value, or these members of a set.
    Held(Value),
    /// It did not hold, and came no further than this.
    Stopped(Statement),
}

/// A statement of a body, or what it would have given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Statement {
    /// As it is written.
    pub text: String,
    /// Its line, from 1.
    pub line: u32,
}

/// How a policy came to its answer.
#[derive(Clone, Debug)]
pub struct Trace {
    /// What the answer stands for.
    pub decision: Decision,
    /// What was looked at on the way, in the order of files and lines.
    pub looked: Vec<Looked>,
    /// The rules that the answer was asked of.
    asked: Vec<String>,
}

impl Trace {
    /// What held.
    pub fn held(&self) -> impl Iterator<Item = &Looked> {
        let looked = self.looked.iter();
        looked.filter(|looked| matches!(looked.end, End::Held(_)))
    }

    /// What did not hold and may have been missing: bodies of the rules that the answer was asked of, and of those that did
    /// not hold at all.
    pub fn missing(&self) -> impl Iterator<Item = &Looked> {
        let is_missing = |looked: &&Looked| match looked.end {
            End::Held(_) => false,
            End::Stopped(_) => {
                self.asked.contains(&looked.rule)
                    || !self.held().any(|held| held.rule == looked.rule)
            }
        };
        self.looked.iter().filter(is_missing)
    }
}

/// Says how a policy comes to its answer about `input`, a whole document as [`crate::input::Input::to_value`] makes it.
///
/// # Errors
/// When the policy cannot be loaded.
pub fn trace(modules: &[Module], data: &Data, input: &Value) -> Result<Trace, CompileError> {
    let (asking, mut modules) = engine::asking(modules)?;
    let (mut bodies, mut given) = (Vec::new(), Vec::new());
    for (tree, module) in parsed(&modules).iter().zip(&mut modules) {
        add_bodies(tree, module, &mut bodies, &mut given);
    }
    let mut interpreter = Interpreter::new(asking.clone(), &modules, data)?;
    let decision = match interpreter.ask(input) {
        Ok(answer) => asking.decision(&answer),
        Err(problem) => Decision::deny(DenialCause::Error, format!("the policy failed: {problem}")),
    };
    let through = interpreter.gone_through();
    bodies.retain(|body| {
        let lines = through.get(&body.place.path);
        lines.is_some_and(|lines| lines.range(body.lines.clone()).next().is_some())
    });
    let mut looked: Vec<Looked> = bodies
        .iter()
        .map(|body| look_at(body, &mut interpreter))
        .collect();
    let asked = asking.rules();
    // What holds by itself is the answer where nothing else was.
    for (rule, place) in given {
        let held = |looked: &Looked| looked.rule == rule && matches!(looked.end, End::Held(_));
        if asked.contains(&rule) && !looked.iter().any(held) {
            let value = interpreter.ask_rule(&rule).unwrap_or(Value::Undefined);
            looked.push(Looked {
                end: End::Held(value),
                rule,
                place,
            });
        }
    }
    looked.sort_by(|a, b| a.place.cmp(&b.place));
    Ok(Trace {
        decision,
        looked,
        asked,
    })
}

/// How a body ends.
fn look_at(body: &Body, interpreter: &mut Interpreter) -> Looked {
    let end = match interpreter.ask_rule(&body.asked) {
        Ok(Value::Set(members)) if members.is_empty() => furthest(body, interpreter),
        Ok(Value::Undefined) | Err(_) => furthest(body, interpreter),
        Ok(value) => End::Held(value),
    };
    Looked {
        rule: body.rule.clone(),
        place: body.place.clone(),
        end,
    }
}

/// How far a body came that was asked just now.
fn furthest(body: &Body, interpreter: &Interpreter) -> End {
    let through = interpreter.gone_through();
    let lines = through.get(&body.place.path);
    let is_tried = |step: &&Step| {
        lines.is_some_and(|lines| lines.range(step.asked_at.clone()).next().is_some())
    };
    let furthest = body.steps.iter().rev().find(is_tried);
    let furthest = furthest.or(body.steps.first());
    End::Stopped(
        furthest
            .map(|step| step.statement.clone())
            .unwrap_or_default(),
    )
}

/// A body of a rule, and the rule that asks it by itself.
struct Body {
    rule: String,
    place: Place,
    /// From its first statement to the end of its last.
    lines: RangeInclusive<u32>,
    /// Its statements, then what it gives.
    steps: Vec<Step>,
    asked: String,
}

/// A statement, and where it is in the rule that asks.
struct Step {
    statement: Statement,
    asked_at: RangeInclusive<u32>,
}

/// Adds what asks each body of a module by itself. Functions have no answer without arguments: what calls one says how it
/// ended.
fn add_bodies(
    tree: &Parsed,
    module: &mut Module,
    bodies: &mut Vec<Body>,
    given: &mut Vec<(String, Place)>,
) {
    let package = package(tree);
    let mut prefix = "writ_".to_owned();
    while module.text.contains(&prefix) {
        prefix.push('_');
    }
    if !module.text.ends_with('\n') {
        module.text.push('\n');
    }
    for rule in &tree.policy {
        let name = format!("{package}.{}", rule_name(rule).join("."));
        let place = Place::of(rule.span());
        let all = match &**rule {
            Rule::Spec { head, bodies, .. } if !matches!(head, RuleHead::Func { .. }) => bodies,
            Rule::Default { .. } => {
                given.push((name, place));
                continue;
            }
            Rule::Spec { .. } => continue,
        };
        if all.is_empty() {
            given.push((name, place));
            continue;
        }
        for (at, body) in all.iter().enumerate() {
            let (Some(first), Some(last)) = (body.query.stmts.first(), body.query.stmts.last())
            else {
                continue;
            };
            let asking = format!("{prefix}{}", bodies.len());
            let steps = ask_alone(&asking, rule, body, &mut module.text);
            bodies.push(Body {
                rule: name.clone(),
                place: match at {
                    0 => place.clone(),
                    _ => Place::of(&body.span),
                },
                lines: first.span.line..=ends(&last.span),
                steps,
                asked: format!("{package}.{asking}"),
            });
        }
    }
}

/// What a body gives where it holds, as it is written: ` := value`, ` contains member`. None where that is nothing but that it
/// holds, or cannot be asked alone.
fn given<'a>(rule: &'a Rule, body: &'a RuleBody) -> Option<(&'a Span, Range<usize>)> {
    let Rule::Spec { head, .. } = rule else {
        return None;
    };
    match (head, &body.assign) {
        (_, Some(assign)) => Some((&assign.span, defined::range(&assign.span))),
        _ if body.is_else => None,
        (RuleHead::Compr { refr, .. }, _) if matches!(&**refr, Expr::RefBrack { .. }) => None,
        (RuleHead::Compr { assign, .. }, _) => {
            let assign = assign.as_ref()?;
            Some((&assign.span, defined::range(&assign.span)))
        }
        (RuleHead::Set { span, refr, .. }, _) => {
            let contains = defined::range(refr.span()).end..defined::range(span).end;
            Some((span, contains))
        }
        (RuleHead::Func { .. }, _) => None,
    }
}

/// Writes a rule of its own for a body, a statement on each line.
fn ask_alone(name: &str, rule: &Rule, body: &RuleBody, text: &mut String) -> Vec<Step> {
    text.push_str(name);
    let given = given(rule, body).map(|(span, range)| write(span, range, text));
    if given.is_none() {
        text.push_str(" := true");
    }
    text.push_str(" if {\n");
    let mut steps = Vec::new();
    for statement in &body.query.stmts {
        let span = &statement.span;
        steps.push(write(span, defined::range(span), text));
        text.push('\n');
    }
    text.push_str("}\n");
    steps.extend(given);
    steps
}

/// The line that a statement ends on.
fn ends(span: &Span) -> u32 {
    let range = defined::range(span);
    let to_there = span.source.get_contents().get(..range.end);
    last_line(to_there.unwrap_or_default())
}

/// Writes what is at `range` of the source once more, at the end of `text`; `span` says on which line that is.
fn write(span: &Span, range: Range<usize>, text: &mut String) -> Step {
    let written = span.source.get_contents().get(range).unwrap_or_default();
    let first = last_line(text);
    text.push(' ');
    text.push_str(written);
    Step {
        asked_at: first..=last_line(text),
        statement: Statement {
            text: written.split_whitespace().collect::<Vec<_>>().join(" "),
            line: span.line,
        },
    }
}

/// The line that `text` ends on, from 1.
fn last_line(text: &str) -> u32 {
    let before = text.matches('\n').count();
    u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library;

    const DATA: &str = r#"{
        "access": {"ledger": {"tools": {"transfer": {"finance": true}, "getAccount": {"finance": true}}}},
        "limits": {"ledger": {"transfer": {"amount": {"max": 1000}}}},
        "risk": {"ledger": {"low": {"transfer": true, "getAccount": true}}}
    }"#;

    fn call(tool: &str, arguments: &str, groups: &str) -> Value {
        let json = format!(
            r#"{{"subject": {{"id": "alice", "groups": {groups}, "claims": {{}}}},
                "agent": {{"id": "assistant", "kind": "delegated", "authn": "key", "labels": {{}}, "tools": []}},
                "server": {{"id": "ledger", "labels": {{}}}}, "task": null,
                "mcp": {{"method": "tools/call", "tool": "{tool}", "from": "client", "arguments": {arguments}}},
                "request": {{"time": "2026-11-23T10:00:00Z"}}}}"#
        );
        Value::from_json_str(&json).unwrap()
    }

    fn looked(modules: &[Module], data: &str, input: &Value) -> (Decision, Vec<String>) {
        let data = Data::from_json(data).unwrap();
        let trace = trace(modules, &data, input).unwrap();
        let told = |looked: &Looked| {
            let Looked { rule, place, end } = looked;
            let rule = rule.trim_start_matches("data.");
            match end {
                End::Held(value) => format!("{place} {rule}: {value}"),
                End::Stopped(at) => format!("{place} {rule} stopped at {}: {}", at.line, at.text),
            }
        };
        (trace.decision, trace.looked.iter().map(told).collect())
    }

    fn of_the_library(tool: &str, arguments: &str, groups: &str) -> (Decision, Vec<String>) {
        looked(&library::modules(), DATA, &call(tool, arguments, groups))
    }

    #[test]
    fn an_objection_is_traced_to_the_rule_that_makes_it() {
        let (decision, looked) =
            of_the_library("transfer", r#"{"amount": 5000}"#, r#"["finance"]"#);
        let reason = "amount is above the limit of 1000";
        assert_eq!(decision, Decision::deny(DenialCause::Policy, reason));
        for expected in [
            r#"main.rego:28:1 writ.call: {"allow":false,"reason":"amount is above the limit of 1000"}"#,
            r#"main.rego:62:1 writ.objections: ["amount is above the limit of 1000"]"#,
            r#"arguments.rego:41:1 writ.arguments.objections: ["amount is above the limit of 1000"]"#,
            "arguments.rego:33:1 writ.arguments.objections stopped at 37: not number_at_least(value, limit)",
            "main.rego:78:1 writ.objections stopped at 78: some message in read_only.objections",
        ] {
            assert!(
                looked.contains(&expected.to_owned()),
                "{expected}\n{looked:#?}"
            );
        }
        // The answer was there before anybody asked whether the call is granted.
        assert!(
            !looked.iter().any(|one| one.contains("writ.granted")),
            "{looked:#?}"
        );
    }

    #[test]
    fn a_grant_that_is_missing_is_traced_to_where_it_stopped() {
        let (_, looked) = of_the_library("close", "{}", r#"["finance"]"#);
        for expected in [
            "access.rego:21:1 writ.access.entries stopped at 21: := data.access[input.server.id].tools[input.mcp.tool]",
            "access.rego:33:1 writ.access.granted stopped at 33: may(entries)",
            "main.rego:52:1 writ.granted stopped at 52: access.granted",
            r#"main.rego:35:3 writ.call: {"allow":false,"reason":"alice has no grant for close on ledger"}"#,
        ] {
            assert!(
                looked.contains(&expected.to_owned()),
                "{expected}\n{looked:#?}"
            );
        }
        let (decision, looked) = of_the_library("getAccount", "{}", r#"["finance"]"#);
        assert!(matches!(decision, Decision::Allow { .. }));
        let granted = "main.rego:52:1 writ.granted: true".to_owned();
        assert!(looked.contains(&granted), "{looked:#?}");
    }

    #[test]
    fn whatever_way_a_rule_is_written_it_is_told_where_it_is() {
        let module = Module {
            path: "p.rego".to_owned(),
            text: "package writ\n\ndefault call := {\"allow\": false}\n\ncall := {\n\t\"allow\": true,\n\t\"reason\": reason,\n} if {\n\tok; reason := \"r\"\n\tcount([x |\n\t\tsome x in [1]\n\t]) == 1\n}\n\nok if 1 == 2\nok if \"a\" == input.subject.id\nparts[k] := v if some k, v in {\"a\": 1}\n\nok if parts.a == 1 # 3\n".to_owned(),
        };
        let input = |id: &str| {
            Value::from_json_str(&format!(r#"{{"subject": {{"id": "{id}"}}}}"#)).unwrap()
        };
        let (decision, yes) = looked(std::slice::from_ref(&module), "{}", &input("a"));
        assert!(matches!(decision, Decision::Allow { .. }));
        assert_eq!(
            yes,
            [
                r#"p.rego:5:1 writ.call: {"allow":true,"reason":"r"}"#,
                "p.rego:15:1 writ.ok stopped at 15: 1 == 2",
                "p.rego:16:1 writ.ok: true",
                "p.rego:17:1 writ.parts: true",
                "p.rego:19:1 writ.ok: true",
            ]
        );
        let never = Module {
            text: module.text.replace("== 1 # 3", "== 2"),
            ..module
        };
        let (_, no) = looked(&[never], "{}", &input("b"));
        assert_eq!(
            no,
            [
                r#"p.rego:3:1 writ.call: {"allow":false}"#,
                "p.rego:5:1 writ.call stopped at 9: ok",
                "p.rego:15:1 writ.ok stopped at 15: 1 == 2",
                r#"p.rego:16:1 writ.ok stopped at 16: "a" == input.subject.id"#,
                "p.rego:17:1 writ.parts: true",
                "p.rego:19:1 writ.ok stopped at 19: parts.a == 2",
            ]
        );
    }

    #[test]
    fn a_policy_for_another_input_is_traced_in_its_own() {
        let module = Module {
            path: "p.rego".to_owned(),
            text: "# METADATA\n# custom:\n#   writ:\n#     input: authzen\npackage az\n\nallow if input.action.name == \"tools/call\"\n"
                .to_owned(),
        };
        let (decision, looked) = looked(&[module], "{}", &call("x", "{}", "[]"));
        assert!(matches!(decision, Decision::Allow { .. }), "{decision:?}");
        assert_eq!(looked, ["p.rego:7:1 az.allow: true"]);
    }
}
