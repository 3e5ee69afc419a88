//! Whether a policy's answer depends on what an input lacks.
//!
//! It does not where the policy came to its answer without a look at it: then it would have come to the same with any.

use std::collections::BTreeMap;

use regorus::Value;
use regorus::unstable::{Expr, Module as Parsed, Ref, Rule, RuleHead};

use super::interpreter::{Interpreter, Lines};
use super::{dotted, parsed};
use crate::engine::{self, CompileError, Data, Module};
use crate::kept::CARRIED;
use crate::walk::{self, Node};

/// Knows where a policy looks at what messages carry ([`CARRIED`]).
pub struct Reader {
    interpreter: Interpreter,
    /// None where no lines say it all.
    reads: Option<Lines>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("reads", &self.reads)
            .finish_non_exhaustive()
    }
}

impl Reader {
    /// Prepares a policy.
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub fn new(modules: &[Module], data: &Data) -> Result<Self, CompileError> {
        let (asking, modules) = engine::asking(modules)?;
        // In another shape what is carried has other names.
        let reads = match asking.is_foreign() {
            true => None,
            false => reads(&parsed(&modules)),
        };
        Ok(Self {
            interpreter: Interpreter::new(asking, &modules, data)?,
            reads,
        })
    }

    /// Whether the policy looks, or may look, at what the message carried on its way to the answer about `input`, which
    /// lacks that.
    pub fn looks_at_what_is_carried(&mut self, input: &Value) -> bool {
        let Some(reads) = &self.reads else {
            return true;
        };
        if reads.is_empty() {
            return false;
        }
        if self.interpreter.ask(input).is_err() {
            return true;
        }
        let gone_through = self.interpreter.gone_through();
        reads.iter().any(|(path, lines)| {
            let through = gone_through.get(path);
            through.is_some_and(|through| !through.is_disjoint(lines))
        })
    }
}

/// The lines on which what is carried is looked at, or may be: as part of the whole input, or by a name that is not fixed.
/// None where the input has other names too.
fn reads(trees: &[Ref<Parsed>]) -> Option<Lines> {
    let mut reads: Lines = BTreeMap::new();
    for tree in trees {
        let renamed = tree.imports.iter().any(|import| is_read(&import.refr));
        if renamed || tree.policy.iter().any(|rule| is_named_by_input(rule)) {
            return None;
        }
        for rule in &tree.policy {
            walk::rule(rule, &mut |node| {
                if let Node::Reference(expr) = node
                    && is_read(expr)
                {
                    let span = expr.span();
                    let lines = reads.entry(span.source.file().clone()).or_default();
                    lines.insert(span.line);
                }
            });
        }
    }
    Some(reads)
}

/// Whether it may have a value of what is carried.
fn is_read(reference: &Expr) -> bool {
    let names = dotted(reference);
    let mut names = names.iter().map(String::as_str);
    if names.next() != Some("input") {
        return false;
    }
    match (names.next(), names.next()) {
        (None, _) | (Some("mcp"), None) => true,
        (Some("mcp"), Some(member)) => CARRIED.contains(&member),
        (Some(_), _) => false,
    }
}

/// Whether the name of a rule depends on the input, `p[input.x] := …`.
fn is_named_by_input(rule: &Rule) -> bool {
    let Rule::Spec { head, .. } = rule else {
        return false;
    };
    let (RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } | RuleHead::Func { refr, .. }) =
        head;
    let mut expr: &Expr = refr;
    loop {
        match expr {
            Expr::RefDot { refr, .. } => expr = refr,
            Expr::RefBrack { refr, index, .. } => {
                if !matches!(&**index, Expr::Var { .. } | Expr::String { .. }) {
                    return true;
                }
                expr = refr;
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(rego: &str, tool: &str) -> bool {
        let module = Module {
            path: "p.rego".to_owned(),
            text: format!("package writ\n\n{rego}\n"),
        };
        let data = Data::from_json(r#"{"limits": {"transfer": {"amount": 1}}}"#).unwrap();
        let input = format!(r#"{{"mcp": {{"tool": "{tool}"}}, "subject": {{"id": "alice"}}}}"#);
        let input = Value::from_json_str(&input).unwrap();
        let mut reader = Reader::new(&[module], &data).unwrap();
        reader.looks_at_what_is_carried(&input)
    }

    #[test]
    fn an_answer_without_a_look_depends_on_nothing() {
        let limits = "call := {\"allow\": count(over) == 0}\n\nover contains name if {\n\tsome name, max in data.limits[input.mcp.tool]\n\tinput.mcp.arguments[name] > max\n}";
        assert!(!looks(limits, "getAccount"));
        assert!(looks(limits, "transfer"));
        assert!(!looks(
            "call := {\"allow\": input.subject.id == \"alice\"}",
            "x"
        ));
    }

    #[test]
    fn whatever_may_be_a_look_is_one() {
        for rego in [
            "call := {\"allow\": true} if not input.mcp.arguments.dry",
            "call := {\"allow\": true} if input[\"mcp\"][\"arguments\"]",
            "call := {\"allow\": true} if object.get(input.mcp, \"arguments\", {}) == {}",
            "call := {\"allow\": true} if count(input) > 0",
            "call := {\"allow\": true} if {\n\tsome part\n\tinput[part].id == \"alice\"\n}",
            "call := {\"allow\": true} if {\n\tmember := \"answer\"\n\tnot input.mcp[member]\n}",
            "call := {\"allow\": true} if f(1)\n\nf(x) := [y | y := input.mcp.input_responses]",
            "import input.mcp as m\n\ncall := {\"allow\": true} if not m.arguments",
            "call := {\"allow\": p.a}\n\np[input.mcp.arguments.x] := true",
            "# METADATA\n# custom:\n#   writ:\n#     input: authzen\nallow := true",
        ] {
            assert!(looks(rego, "x"), "{rego}");
        }
    }
}
