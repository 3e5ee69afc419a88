//! What keeps a policy from doing in the filter what it says, with the place of it.
//!
//! A policy without an error here is one that the filter and the token service load.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Engine;
use regorus::unstable::{AssignOp, BUILTINS, Expr, Module as Parsed, Rule, RuleHead};
use serde::Serialize;

use super::{Place, dotted, located, package, parsed, rule_name};
use crate::adapter;
use crate::builtins::EXTENSIONS;
use crate::engine::{self, CompileError, Data, Evaluator, Module};
use crate::walk;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The policy is not taken.
    Error,
    /// It is taken, and may not do what it says.
    Warning,
}

/// Something that is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where, where it is in one place.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// What is wrong, and what to do.
    pub message: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        f.write_str(&self.message)
    }
}

fn error(place: Option<Place>, message: impl Into<String>) -> Finding {
    Finding {
        severity: Severity::Error,
        place,
        message: message.into(),
    }
}

/// Checks the modules of a policy, those of its tests, and its data. Empty where nothing is wrong.
#[must_use]
pub fn check(modules: &[Module], tests: &[Module], data: &Data) -> Vec<Finding> {
    let mut findings = unparsed(modules);
    findings.extend(unparsed(tests));
    if !findings.is_empty() {
        return findings;
    }
    let trees = parsed(modules);
    let trees: Vec<&Parsed> = trees.iter().map(|tree| &**tree).collect();
    let foreign = matches!(adapter::declaration(modules), Ok(Some(_)));
    if !foreign {
        findings.extend(shapes(&trees));
    }
    let failure = compiled(modules, data).err();
    let severity = match failure {
        Some(_) => Severity::Error,
        None => Severity::Warning,
    };
    let lacks = lacking(&trees, severity);
    // A compiler stops at its first problem, which these name with all others of their kind.
    if let Some(failure) = failure.filter(|failure| {
        failure.place.is_none() || !lacks.iter().any(|found| near(found, failure))
    }) {
        findings.push(failure);
    }
    findings.extend(lacks);
    findings.extend(untested(&trees, tests));
    if !foreign && !trees.iter().any(|tree| defines(tree, "visible")) {
        findings.push(Finding {
            severity: Severity::Warning,
            place: None,
            message: "no rule `visible` in package `writ`: every list is shown empty".to_owned(),
        });
    }
    findings.sort();
    findings.dedup();
    findings
}

/// Whether both are about the same line.
fn near(one: &Finding, other: &Finding) -> bool {
    let line = |finding: &Finding| finding.place.as_ref().map(|p| (p.path.clone(), p.line));
    line(one) == line(other)
}

/// Every file that does not parse, not only the first.
fn unparsed(modules: &[Module]) -> Vec<Finding> {
    let parse = |module: &Module| {
        let mut engine = Engine::new();
        let problem = match engine::bounded(module) {
            Err(problem) => problem.to_string(),
            Ok(()) => engine
                .add_policy(module.path.clone(), module.text.clone())
                .err()?
                .to_string(),
        };
        let (place, message) = located(&problem);
        let place = place.unwrap_or_else(|| Place {
            path: module.path.clone(),
            line: 1,
            column: 1,
        });
        Some(error(Some(place), message))
    };
    modules.iter().filter_map(parse).collect()
}

/// Whether it can be loaded, as the filter and the token service do.
fn compiled(modules: &[Module], data: &Data) -> Result<(), Finding> {
    let failed = |problem: &dyn std::fmt::Display| {
        let (place, message) = located(&problem.to_string());
        error(place, message)
    };
    let program = engine::compile(modules).map_err(|e| match e {
        CompileError::Input {
            path,
            line,
            message,
        } => {
            let line = u32::try_from(line).unwrap_or(u32::MAX);
            let place = Place {
                path,
                line,
                column: 1,
            };
            error(Some(place), message)
        }
        e => failed(&e),
    })?;
    let judgements = engine::compile_judgements(modules).map_err(|e| failed(&e))?;
    for program in [Some(program), judgements].into_iter().flatten() {
        program.to_bytes().map_err(|e| failed(&e))?;
        Evaluator::new(&program, data).map_err(|e| failed(&e))?;
    }
    Ok(())
}

fn defines(tree: &Parsed, rule: &str) -> bool {
    package(tree) == "data.writ" && tree.policy.iter().any(|r| rule_name(r) == [rule])
}

/// What the filter's engine does not have: functions, and `with` outside of tests.
fn lacking(trees: &[&Parsed], severity: Severity) -> Vec<Finding> {
    let functions = Functions::of(trees);
    let mut findings = Vec::new();
    for tree in trees {
        let scope = functions.seen_from(tree);
        for rule in &tree.policy {
            walk::rule(rule, &mut |node| {
                match node {
                walk::Node::Call { name, span } if !scope.knows(&name) => findings.push(Finding {
                    severity,
                    place: Some(Place::of(span)),
                    message: format!(
                        "no function `{name}`: no rule here defines it, and the filter's engine has no such built-in"
                    ),
                }),
                walk::Node::With(with) => findings.push(Finding {
                    severity,
                    place: Some(Place::of(&with.span)),
                    message: "the filter's engine knows `with` in tests only".to_owned(),
                }),
                walk::Node::Call { .. }
                | walk::Node::Assign { .. }
                | walk::Node::Comprehension { .. }
                | walk::Node::Reference(_) => {}
            }
            });
        }
    }
    findings
}

/// Functions that tests call and nobody has.
fn untested(policy: &[&Parsed], tests: &[Module]) -> Vec<Finding> {
    let tests = parsed(tests);
    let all: Vec<&Parsed> = policy
        .iter()
        .copied()
        .chain(tests.iter().map(|t| &**t))
        .collect();
    let functions = Functions::of(&all);
    let mut findings = Vec::new();
    for tree in &tests {
        let scope = functions.seen_from(tree);
        for rule in &tree.policy {
            walk::rule(rule, &mut |node| {
                if let walk::Node::Call { name, span } = node
                    && !scope.knows(&name)
                {
                    findings.push(error(
                        Some(Place::of(span)),
                        format!("no function `{name}`: this test cannot be run"),
                    ));
                }
            });
        }
    }
    findings
}

/// The names of all rules, by which some are called.
struct Functions(BTreeSet<String>);

impl Functions {
    fn of(trees: &[&Parsed]) -> Self {
        let names = trees.iter().flat_map(|tree| {
            let package = package(tree);
            let rules = tree.policy.iter();
            rules.map(move |rule| format!("{package}.{}", rule_name(rule).join(".")))
        });
        Self(names.collect())
    }

    fn seen_from<'a>(&'a self, tree: &Parsed) -> Scope<'a> {
        let imports = tree.imports.iter().filter_map(|import| {
            let path = dotted(&import.refr);
            let alias = match &import.r#as {
                Some(alias) => alias.text().to_owned(),
                None => path.last()?.clone(),
            };
            Some((alias, path.join(".")))
        });
        Scope {
            functions: self,
            package: package(tree),
            imports: imports.collect(),
        }
    }
}

/// What names mean in one module.
struct Scope<'a> {
    functions: &'a Functions,
    package: String,
    imports: BTreeMap<String, String>,
}

impl Scope<'_> {
    fn knows(&self, name: &str) -> bool {
        let imported = || {
            let (first, rest) = name.split_once('.').unwrap_or((name, ""));
            let path = self.imports.get(first)?;
            Some(format!("{path}.{rest}").trim_end_matches('.').to_owned())
        };
        let defined = |full: &str| self.functions.0.contains(full);
        BUILTINS.contains_key(name)
            || EXTENSIONS.iter().any(|(extension, _)| *extension == name)
            || name == "print"
            || defined(name)
            || defined(&format!("{}.{name}", self.package))
            || imported().is_some_and(|full| defined(&full))
    }
}

/// Entry points whose answer can never be a decision.
fn shapes(trees: &[&Parsed]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for tree in trees.iter().filter(|tree| package(tree) == "data.writ") {
        for rule in &tree.policy {
            let name = rule_name(rule);
            if name != ["call"] && name != ["visible"] {
                continue;
            }
            let mut values = Vec::new();
            let mut wrong = |place, what: &str| {
                findings.push(error(
                    Some(Place::of(place)),
                    format!(
                        "`{}` {what}, which is no decision: the filter denies all that it answers so; write `{}` := {{\"allow\": …}}",
                        name.concat(),
                        name.concat()
                    ),
                ));
            };
            match &**rule {
                Rule::Default { value, .. } => values.push(value),
                Rule::Spec { head, bodies, span } => {
                    match head {
                        RuleHead::Compr { assign, .. } => {
                            if assign.is_none() {
                                wrong(span, "answers `true`");
                            }
                        }
                        RuleHead::Set { .. } => wrong(span, "is a set"),
                        RuleHead::Func { .. } => wrong(span, "is a function"),
                    }
                    values.extend(walk::head_value(head));
                    let assigned = bodies.iter().filter_map(|body| body.assign.as_ref());
                    values.extend(
                        assigned
                            .filter(|a| a.op == AssignOp::ColEq)
                            .map(|a| &a.value),
                    );
                }
            }
            for value in values {
                match &**value {
                    Expr::Bool { span, .. }
                    | Expr::Null { span, .. }
                    | Expr::Number { span, .. }
                    | Expr::String { span, .. }
                    | Expr::RawString { span, .. }
                    | Expr::Array { span, .. }
                    | Expr::Set { span, .. } => wrong(span, "answers something else"),
                    Expr::Object { fields, .. } => {
                        for (_, key, _) in fields {
                            if let Expr::String { span, value, .. } = &**key
                                && let Ok(key) = value.as_string()
                                && !matches!(&**key, "allow" | "reason" | "obligations" | "scopes")
                            {
                                wrong(span, &format!("answers with `{key}`"));
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let module = |(path, text): &(&str, &str)| Module {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
        };
        let (tests, modules): (Vec<_>, Vec<_>) = files
            .iter()
            .map(module)
            .partition(|m| m.path.ends_with("_test.rego"));
        let data = Data::from_json("{}").unwrap();
        let findings = check(&modules, &tests, &data);
        findings.iter().map(Finding::to_string).collect()
    }

    const VISIBLE: &str = "visible := {\"allow\": true}\n";

    #[test]
    fn nothing_is_wrong_with_the_library() {
        let data = Data::from_json(library::example_data()).unwrap();
        assert_eq!(check(&library::modules(), &[], &data), []);
    }

    #[test]
    fn every_file_that_does_not_parse_is_named_with_its_place() {
        let found = found(&[
            ("a.rego", "package writ\n\ncall := {"),
            ("b.rego", "package b\nx := := 1"),
        ]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("a.rego:3:"), "{found:?}");
        assert!(found[1].starts_with("b.rego:2:6: "), "{found:?}");
    }

    #[test]
    fn every_function_that_the_filter_lacks_is_named_with_its_place() {
        let policy = format!(
            "package writ\nimport data.lib as l\n{VISIBLE}call := {{\"allow\": true}} if {{\n\tl.own(1)\n\tcount(input.x) > 0\n\thttp.send({{}})\n\tlocal(2)\n\tl.missing(1)\n}}\nlocal(x) if x\n"
        );
        let found = found(&[
            ("p.rego", &policy),
            ("lib.rego", "package lib\nown(x) if x == 1"),
        ]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].starts_with("p.rego:7:2: no function `http.send`"),
            "{found:?}"
        );
        assert!(
            found[1].starts_with("p.rego:9:2: no function `l.missing`"),
            "{found:?}"
        );
    }

    #[test]
    fn with_is_for_tests() {
        let policy = format!(
            "package writ\n{VISIBLE}call := {{\"allow\": true}} if {{\n\tother with input.x as 1\n}}\nother if input.x == 1\n"
        );
        let test = "package writ_test\nimport data.writ\ntest_it if writ.other with input.x as 1\n";
        let found = found(&[("p.rego", &policy), ("p_test.rego", test)]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("p.rego:4:8: the filter"), "{found:?}");
    }

    #[test]
    fn an_answer_that_can_be_no_decision_is_an_error() {
        for (call, place) in [
            ("call if input.x", "p.rego:3:1"),
            ("call := true", "p.rego:3:9"),
            ("call contains 1 if input.x", "p.rego:3:1"),
            ("call(x) := {\"allow\": x}", "p.rego:3:1"),
            ("default call := false", "p.rego:3:17"),
            ("call := {\"allow\": true, \"why\": 1}", "p.rego:3:26"),
        ] {
            let found = found(&[("p.rego", &format!("package writ\n{VISIBLE}{call}\n"))]);
            assert!(
                found
                    .iter()
                    .any(|f| f.starts_with(&format!("{place}: `call`"))),
                "{call}: {found:?}"
            );
        }
    }

    #[test]
    fn a_policy_without_entry_points_decides_nothing() {
        let found = found(&[("p.rego", "package other\nx := 1\n")]);
        assert!(
            found[0].contains("no module defines the rule `call`"),
            "{found:?}"
        );
        assert!(found[1].contains("every list is shown empty"), "{found:?}");
    }

    #[test]
    fn a_policy_that_was_written_for_something_else_is_checked_as_that() {
        let of = |input: &str| {
            format!(
                "# METADATA\n# custom: {{writ: {{input: {input}}}}}\npackage envoy.authz\nallow if input.x\n"
            )
        };
        assert_eq!(found(&[("p.rego", &of("envoy"))]), [""; 0]);
        let wrong = found(&[("p.rego", &of("kong"))]);
        assert!(
            wrong[0].starts_with("p.rego:1:1: no input `kong` is known"),
            "{wrong:?}"
        );
    }

    #[test]
    fn data_may_not_have_the_name_of_a_rule() {
        let modules = [Module {
            path: "p.rego".to_owned(),
            text: format!("package writ\n{VISIBLE}call := {{\"allow\": true}}\n"),
        }];
        let data = Data::from_json("{\"writ\": {\"call\": 1}}").unwrap();
        let found = check(&modules, &[], &data);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].severity, Severity::Error);
    }
}
