//! What the engine's bytecode would answer otherwise than Rego does, and cannot be written in another way: not compiled.

use std::collections::BTreeSet;

use regorus::Engine;
use regorus::unstable::{Expr, Module as Parsed, Rule, RuleHead, Span};

use crate::engine::CompileError;
use crate::walk::{self, Node};

/// Refuses the first of it in the modules that `engine` has parsed.
pub(crate) fn anything(engine: &mut Engine) -> Result<(), CompileError> {
    let modules = engine.get_modules();
    let rules: BTreeSet<_> = modules.iter().flat_map(|module| prefixes(module)).collect();
    let packages: BTreeSet<_> = modules.iter().flat_map(|module| above(module)).collect();
    for module in modules.iter() {
        for rule in &module.policy {
            if let Rule::Default { span, args, .. } = &**rule
                && !args.is_empty()
            {
                return Err(refusal(
                    span,
                    "the filter's engine does not know the default of a function: write `else := …` after its last definition",
                ));
            }
            let mut found = None;
            walk::rule(rule, &mut |node| {
                if let Node::Reference(expr) = node
                    && found.is_none()
                    && (rules.contains(&within(module, expr))
                        || path(module, expr)
                            .is_some_and(|path| rules.contains(&path) || packages.contains(&path)))
                {
                    found = Some(expr.span());
                }
            });
            if let Some(span) = found {
                return Err(refusal(
                    span,
                    "this looks at several rules at once, which the filter's engine cannot: make them one rule that is an object, or \
                     name the one that is meant",
                ));
            }
        }
    }
    Ok(())
}

/// The paths that rules such as `limits.amount := 5` are below of, within their package.
fn prefixes(module: &Parsed) -> Vec<Vec<String>> {
    let package = parts(&module.package.refr);
    let mut all = Vec::new();
    for rule in &module.policy {
        let refr = match &**rule {
            Rule::Default { refr, .. } => refr,
            Rule::Spec { head, .. } => match head {
                RuleHead::Compr { refr, .. }
                | RuleHead::Set { refr, .. }
                | RuleHead::Func { refr, .. } => refr,
            },
        };
        let named = parts(refr);
        for length in 1..named.len() {
            let whole = package.iter().chain(named.iter().take(length));
            all.push(whole.cloned().collect());
        }
    }
    all
}

/// The paths above the rules of a module: its package's, and those that lead there.
fn above(module: &Parsed) -> impl Iterator<Item = Vec<String>> {
    let package = parts(&module.package.refr);
    (0..=package.len()).map(move |length| package.iter().take(length).cloned().collect())
}

/// Where `expr` looks below `data`, as far as that is written there, if its first name is that of a rule of this package.
fn within(module: &Parsed, expr: &Expr) -> Vec<String> {
    let package = parts(&module.package.refr);
    package.into_iter().chain(parts(expr)).collect()
}

/// Where `expr` looks below `data`, as far as that is written there, if it begins with `data` or an import of it.
fn path(module: &Parsed, expr: &Expr) -> Option<Vec<String>> {
    let mut named = parts(expr).into_iter();
    let first = named.next()?;
    let root = if first == "data" {
        vec![first]
    } else {
        module.imports.iter().find_map(|import| {
            let path = parts(&import.refr);
            let name = import.r#as.as_ref().map(|name| name.text());
            let is_it = name.or(path.last().map(String::as_str)) == Some(&first);
            is_it.then_some(path)
        })?
    };
    let (data, below) = root.split_first()?;
    (data == "data").then(|| below.iter().cloned().chain(named).collect())
}

/// `a.b["c"]` in parts, until one is not written there.
fn parts(mut expr: &Expr) -> Vec<String> {
    let mut named = Vec::new();
    loop {
        match expr {
            Expr::RefDot { refr, field, .. } => {
                named.push(Some(field.0.text().to_owned()));
                expr = refr;
            }
            Expr::RefBrack { refr, index, .. } => {
                named.push(match &**index {
                    Expr::String { span, .. } | Expr::RawString { span, .. } => {
                        Some(span.text().to_owned())
                    }
                    _ => None,
                });
                expr = refr;
            }
            Expr::Var { span, .. } => {
                named.push(Some(span.text().to_owned()));
                break;
            }
            _ => return Vec::new(),
        }
    }
    named.into_iter().rev().map_while(|part| part).collect()
}

fn refusal(span: &Span, message: &str) -> CompileError {
    CompileError::Module {
        path: span.source.get_path().clone(),
        message: span.message("error", message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: &str = "package limits\n\nmost.amount := 5\n\nmost.calls := 2\n\nmost.per[day] := 1 if some day in [1]\n\nleast.per[day] := 1 if some day in [1]\n";

    fn refused(text: &str) -> Option<String> {
        let mut engine = Engine::new();
        for (path, text) in [("limits.rego", LIMITS), ("p.rego", text)] {
            engine.add_policy(path.to_owned(), text.to_owned()).unwrap();
        }
        let error = anything(&mut engine).err()?;
        Some(error.to_string())
    }

    #[test]
    fn several_rules_at_once_are_refused_wherever_they_are_looked_at() {
        for text in [
            "package p\n\na := data.limits.most",
            "package p\n\na := data.limits",
            "package p\n\na := data.limits[input.x]",
            "package p\n\na := data[input.x].most",
            "package p\n\na := data",
            "package p\n\nimport data.limits\n\na := count(limits)",
            "package p\n\na := data[\"limits\"].most",
            "package p\n\na if not data.limits.most",
            "package p\n\na := data.limits.most[input.x]",
            "package p\n\na contains k if some k in data.limits.most",
            "package p\n\nimport data.limits\n\na := limits.most",
            "package p\n\nimport data.limits.most\n\na := count(most)",
            "package p\n\nimport data.limits.most as m\n\na := [x | x := m[_]]",
            "package limits\n\na := most",
            "package limits\n\na := least",
            "package limits\n\na if every k, v in most { v }",
        ] {
            let told = refused(text).unwrap_or_else(|| panic!("{text}"));
            assert!(
                told.contains("--> p.rego:") && told.contains("several rules"),
                "{told}"
            );
        }
        for text in [
            "package p\n\na := data.limits.most.amount",
            "package p\n\nimport data.limits\n\na := limits.most.calls",
            "package p\n\na := data.other[input.x]",
            "package p\n\na := limits if limits := data.other",
            "package p\n\na := f(input)[input.x]\n\nf(x) := x",
            "package p\n\na := input.limits.most",
            "package p\n\nimport input.limits\n\na := limits.most",
            "package limits\n\na := most.amount",
            "package limits\n\na := [most.per, least.per]",
        ] {
            assert_eq!(refused(text), None, "{text}");
        }
    }

    #[test]
    fn the_default_of_a_function_is_refused_and_that_of_a_rule_is_not() {
        let told = refused("package p\n\ndefault f(_) := true\n").unwrap();
        assert!(
            told.contains("--> p.rego:3:1") && told.contains("`else := …`"),
            "{told}"
        );
        assert_eq!(refused("package p\n\ndefault a := true\n"), None);
    }
}
