//! How deep a policy goes: the engine follows rules and brackets on the stack, of which a filter has little, and neither it
//! nor its compiler looks whether there is an end to them.

use regorus::rvm::instructions::Instruction;
use regorus::rvm::program::Program;

/// The most rules and functions that may lead from one to the next.
pub(crate) const MAX_RULES: usize = 32;

/// The most brackets and braces that may be open at once.
pub(crate) const MAX_BRACKETS: usize = 64;

/// What is known of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    No,
    Open,
    /// How many rules lead on from here, itself counted.
    Depth(usize),
}

/// What is wrong with the rules of a program, if they lead in a circle or too far.
pub(crate) fn rules(program: &Program) -> Result<(), String> {
    let calls = calls(program);
    let mut seen = vec![Seen::No; calls.len()];
    for start in 0..calls.len() {
        // Not by recursion, which is what this is about.
        let mut open = vec![start];
        while let Some(&rule) = open.last() {
            let name = || program.rule_infos.get(rule).map_or("", |info| &info.name);
            let called = calls.get(rule).map(Vec::as_slice).unwrap_or_default();
            let state = |called: &usize| seen.get(*called).copied().unwrap_or(Seen::Depth(0));
            if let Seen::Depth(_) = state(&rule) {
                open.pop();
                continue;
            }
            let next = called.iter().find(|called| state(called) == Seen::No);
            let circle = called.iter().any(|called| {
                state(called) == Seen::Open && (*called == rule || open.contains(called))
            });
            if circle {
                return Err(format!(
                    "the rule {} is recursive: Rego has no recursion, so say it without",
                    name()
                ));
            }
            let deepest = called.iter().map(|called| match state(called) {
                Seen::Depth(depth) => depth,
                Seen::No | Seen::Open => 0,
            });
            let depth = deepest.max().unwrap_or(0) + 1;
            if depth > MAX_RULES {
                return Err(format!(
                    "more than {MAX_RULES} rules lead from one to the next below {}: say it with fewer",
                    name()
                ));
            }
            let (state, next) = match next {
                Some(next) => (Seen::Open, Some(*next)),
                None => (Seen::Depth(depth), None),
            };
            if let Some(seen) = seen.get_mut(rule) {
                *seen = state;
            }
            open.extend(next);
        }
    }
    Ok(())
}

/// The rules that each rule calls: those that are called between where it begins and where the next one does.
fn calls(program: &Program) -> Vec<Vec<usize>> {
    let mut begins: Vec<(usize, Option<usize>)> = Vec::new();
    for (rule, info) in program.rule_infos.iter().enumerate() {
        let bodies = info.definitions.iter().flatten();
        let destructured = info.destructuring_blocks.iter().flatten();
        let all = bodies.chain(destructured);
        begins.extend(all.filter_map(|at| Some((usize::try_from(*at).ok()?, Some(rule)))));
    }
    begins.extend(program.entry_points.values().map(|at| (*at, None)));
    begins.sort_unstable();
    let mut calls = vec![Vec::new(); program.rule_infos.len()];
    let (mut begins, mut current) = (begins.into_iter().peekable(), None);
    for (at, instruction) in program.instructions.iter().enumerate() {
        while let Some((_, rule)) = begins.next_if(|(begin, _)| *begin <= at) {
            current = rule;
        }
        let called = match instruction {
            Instruction::CallRule { rule_index, .. } => Some(usize::from(*rule_index)),
            Instruction::FunctionCall { params_index } => program
                .instruction_data
                .get_function_call_params(*params_index)
                .map(|params| usize::from(params.func_rule_index)),
            _ => None,
        };
        if let (Some(called), Some(calls)) = (called, current.and_then(|rule| calls.get_mut(rule)))
        {
            calls.push(called);
        }
    }
    calls
}

/// What is wrong with the brackets of a module, if too many are open at once: the line, from 1.
pub(crate) fn brackets(module: &str) -> Result<(), usize> {
    let mut depth = 0_usize;
    for (index, line) in module.lines().enumerate() {
        // Raw strings may go over lines; what is taken for brackets in them is few.
        let mut characters = line.chars();
        while let Some(character) = characters.next() {
            match character {
                '#' => break,
                '"' => {
                    while let Some(quoted) = characters.next() {
                        match quoted {
                            '\\' => drop(characters.next()),
                            '"' => break,
                            _ => {}
                        }
                    }
                }
                '`' => drop(characters.by_ref().find(|c| *c == '`')),
                '[' | '{' | '(' => depth += 1,
                ']' | '}' | ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > MAX_BRACKETS {
                return Err(index + 1);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_are_counted_outside_of_texts() {
        assert_eq!(
            brackets(&format!("x := {}{}", "[".repeat(64), "]".repeat(64))),
            Ok(())
        );
        assert_eq!(brackets(&format!("\nx := {}", "[{(".repeat(30))), Err(2));
        for text in ["\"", "`"] {
            assert_eq!(
                brackets(&format!("x := {text}{}{text}", "[".repeat(99))),
                Ok(())
            );
        }
        assert_eq!(brackets(&format!("# {}", "[".repeat(99))), Ok(()));
        assert_eq!(brackets(&format!(r#"x := "\"{}""#, "[".repeat(99))), Ok(()));
        assert_eq!(brackets(&format!(r#"x := "\\"{}"#, "[".repeat(99))), Err(1));
    }
}
