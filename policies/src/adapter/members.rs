//! Rules that give an object its members one by one, `result["allowed"] := …`.
//!
//! The engine's bytecode has no such rules, but it has `result.allowed := …`, which says the same: the first is written as the
//! second, in place, and each member is asked for by itself.

use std::collections::BTreeSet;

use crate::engine::Module;

/// Writes `rule["member"]` as `rule.member` in all modules, and names the members that are given one by one.
pub(super) fn apart(rule: &str, modules: &mut [Module]) -> Vec<String> {
    let mut members = BTreeSet::new();
    for module in modules {
        let lines: Vec<String> = module.text.lines().map(|line| dotted(rule, line)).collect();
        members.extend(lines.iter().filter_map(|line| given(rule, line)));
        module.text = lines.join("\n");
    }
    members.into_iter().collect()
}

/// The line with `rule["member"]` as `rule.member`, what follows it in the column where it was.
fn dotted(rule: &str, line: &str) -> String {
    let open = format!("{rule}[\"");
    let mut written = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once(&open) {
        written.push_str(before);
        let longer = before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        match after.split_once("\"]") {
            Some((name, behind)) if !longer && is_name(name) => {
                written.push_str(rule);
                written.push('.');
                written.push_str(name);
                if behind.starts_with(' ') {
                    written.push_str("   ");
                }
                rest = behind;
            }
            _ => {
                written.push_str(&open);
                rest = after;
            }
        }
    }
    written.push_str(rest);
    written
}

/// The member that a rule which begins on this line gives.
fn given(rule: &str, line: &str) -> Option<String> {
    let head = line.strip_prefix("default ").unwrap_or(line).trim_start();
    let rest = head.strip_prefix(rule)?.strip_prefix('.')?;
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let name = rest.get(..end.unwrap_or(rest.len()))?;
    is_name(name).then(|| name.to_owned())
}

fn is_name(text: &str) -> bool {
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    first && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_in_brackets_are_members_behind_a_dot() {
        for (line, expected) in [
            (r#"result["allowed"] := true"#, "result.allowed    := true"),
            (
                r#"default result["allowed"] := false"#,
                "default result.allowed    := false",
            ),
            (r#"x := result["a"]["b"]"#, r#"x := result.a["b"]"#),
            (
                r#"no_result["allowed"] := 1"#,
                r#"no_result["allowed"] := 1"#,
            ),
            (
                r#"result["not a name"] := 1"#,
                r#"result["not a name"] := 1"#,
            ),
            (r#"result["open"#, r#"result["open"#),
            ("result[k] := 1", "result[k] := 1"),
        ] {
            assert_eq!(dotted("result", line), expected);
        }
    }

    #[test]
    fn members_are_those_that_rules_give() {
        let mut modules = [Module {
            path: String::new(),
            text: "package p\ndefault result[\"allowed\"] := false\nresult.message := \"m\" if result.other\nresults.x := 1\n"
                .to_owned(),
        }];
        assert_eq!(apart("result", &mut modules), ["allowed", "message"]);
    }
}
