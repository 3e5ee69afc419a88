//! Running the `test_` rules of a policy, as `opa test` does.
//!
//! They run on the interpreter: `with`, which tests are made of, is nothing that the filter's engine has.

use std::collections::{BTreeMap, BTreeSet};

use regorus::{Engine, Value};
use serde::Serialize;

use super::{Place, interpreter, located, package, parsed, rule_name};
use crate::bounds;
use crate::engine::{CompileError, Data, Module};

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", content = "problem", rename_all = "lowercase")]
pub enum Outcome {
    /// The rule is true.
    Pass,
    /// It is undefined, or false.
    Fail,
    /// It could not be run.
    Error(String),
    /// It begins with `todo_`.
    Skipped,
}

/// One test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// `data.` package and rule.
    pub name: String,
    /// Where it is defined first.
    pub place: Place,
    skipped: bool,
}

/// A policy with its tests, to be run one by one.
pub struct Suite {
    engine: Engine,
    tests: Vec<Test>,
    files: BTreeSet<String>,
}

impl std::fmt::Debug for Suite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Suite")
            .field("tests", &self.tests)
            .finish_non_exhaustive()
    }
}

/// Which lines of a file the tests ran through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// The file.
    pub path: String,
    /// Lines that were run.
    pub covered: BTreeSet<u32>,
    /// Lines that were not.
    pub not_covered: BTreeSet<u32>,
}

impl Suite {
    /// Finds the tests in `modules` and `tests`, in the order of files and lines.
    ///
    /// # Errors
    /// When a module does not parse, or policy and data collide.
    pub fn new(
        modules: &[Module],
        tests: &[Module],
        data: &Data,
        coverage: bool,
    ) -> Result<Self, CompileError> {
        let all: Vec<Module> = modules.iter().chain(tests).cloned().collect();
        // Tests of the time say what it is: `with time.now_ns as …`.
        let mut engine = interpreter::engine(&all, data, None)?;
        engine.set_enable_coverage(coverage);
        Ok(Self {
            engine,
            tests: find(&all),
            files: modules.iter().map(|m| m.path.clone()).collect(),
        })
    }

    /// The tests.
    #[must_use]
    pub fn tests(&self) -> &[Test] {
        &self.tests
    }

    /// Runs one of them.
    pub fn run(&mut self, test: &Test) -> Outcome {
        if test.skipped {
            return Outcome::Skipped;
        }
        bounds::begin();
        let answer = self.engine.eval_rule(test.name.clone());
        if bounds::are_exceeded() {
            return Outcome::Error(bounds::told());
        }
        match answer {
            Ok(Value::Bool(true)) => Outcome::Pass,
            // What else is not undefined or false is true to OPA.
            Ok(Value::Undefined | Value::Bool(false)) => Outcome::Fail,
            Ok(_) => Outcome::Pass,
            Err(error) => {
                let (place, problem) = located(&error.to_string());
                Outcome::Error(match place {
                    Some(place) => format!("{place}: {problem}"),
                    None => problem,
                })
            }
        }
    }

    /// What was run through so far of the policy's own files, tests excepted.
    #[must_use]
    pub fn coverage(&self) -> Vec<Coverage> {
        let report = self.engine.get_coverage_report().unwrap_or_default();
        report
            .files
            .into_iter()
            .filter(|file| self.files.contains(&file.path))
            .map(|file| Coverage {
                path: file.path,
                covered: file.covered,
                not_covered: file.not_covered,
            })
            .collect()
    }
}

fn find(modules: &[Module]) -> Vec<Test> {
    let mut found: BTreeMap<String, Test> = BTreeMap::new();
    for tree in parsed(modules) {
        let package = package(&tree);
        for rule in &tree.policy {
            let names = rule_name(rule);
            let (true, Some(name)) = (names.len() == 1, names.first()) else {
                continue;
            };
            let skipped = name.starts_with("todo_test_");
            if skipped || name.starts_with("test_") {
                let name = format!("{package}.{name}");
                found.entry(name.clone()).or_insert_with(|| Test {
                    name,
                    place: Place::of(rule.span()),
                    skipped,
                });
            }
        }
    }
    let mut tests: Vec<Test> = found.into_values().collect();
    tests.sort_by(|a, b| a.place.cmp(&b.place));
    tests
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str, text: &str) -> Module {
        Module {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn tests_end_as_they_do_in_opa() {
        let policy = "package p\nallow if input.x == 1\ngrade := 2 if {\n\tinput.x == 5\n}\n";
        let tests = "package p_test\nimport data.p\n\ntest_true if p.allow with input.x as 1\n\ntest_undefined if p.allow with input.x as 2\ntest_false := false\ntest_value := 3\ntest_data if data.seen == 7\ntodo_test_later if false\ntest_error := 1 if true\ntest_error := 2 if true\nhelper if true\n";
        let data = Data::from_json("{\"seen\": 7}").unwrap();
        let mut suite = Suite::new(
            &[module("p.rego", policy)],
            &[module("p_test.rego", tests)],
            &data,
            true,
        )
        .unwrap();
        let all = suite.tests().to_vec();
        let ends: Vec<_> = all
            .iter()
            .map(|t| (t.name.as_str(), t.place.line, suite.run(t)))
            .collect();
        let [.., (error, 11, Outcome::Error(problem))] = &ends[..] else {
            panic!("{ends:?}");
        };
        assert_eq!(*error, "data.p_test.test_error");
        assert!(problem.starts_with("p_test.rego:1"), "{problem}");
        assert_eq!(
            ends[..ends.len() - 1],
            [
                ("data.p_test.test_true", 4, Outcome::Pass),
                ("data.p_test.test_undefined", 6, Outcome::Fail),
                ("data.p_test.test_false", 7, Outcome::Fail),
                ("data.p_test.test_value", 8, Outcome::Pass),
                ("data.p_test.test_data", 9, Outcome::Pass),
                ("data.p_test.todo_test_later", 10, Outcome::Skipped),
            ]
        );
        let [coverage] = &suite.coverage()[..] else {
            panic!("the tests are no part of it");
        };
        assert_eq!(coverage.covered, [2, 4].into());
        assert_eq!(coverage.not_covered, [3].into());
    }
}
