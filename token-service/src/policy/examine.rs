//! Whether a policy may be put in force: what `writ policy check` and `writ policy test` say of it.

use std::time::{Duration, Instant};

use writ_policy::authoring::{
    check::{self, Finding, Severity},
    testing::{Outcome, Suite, Test},
};

use super::{SourceError, Sources};

/// A test that was run.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Which one.
    pub test: Test,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub time: Duration,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Examined {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Its tests, as far as they could be run.
    pub tests: Vec<Ran>,
}

impl Examined {
    /// What keeps it from being put in force, a line each.
    #[must_use]
    pub fn objections(&self) -> Vec<String> {
        let errors = self
            .findings
            .iter()
            .filter(|f| f.severity == Severity::Error);
        let failed = self.tests.iter().filter_map(|ran| {
            let told = match &ran.outcome {
                Outcome::Pass | Outcome::Skipped => return None,
                Outcome::Fail => "does not hold".to_owned(),
                Outcome::Error(problem) => format!("cannot be run: {problem}"),
            };
            Some(format!("{}: {} {told}", ran.test.place, ran.test.name))
        });
        errors.map(Finding::to_string).chain(failed).collect()
    }
}

/// Checks a policy and runs its tests.
///
/// # Errors
/// When its data is none.
pub fn examine(sources: &Sources) -> Result<Examined, SourceError> {
    let findings = check::check(&sources.modules, &sources.tests, &sources.document()?);
    let tests = match findings.iter().any(|f| f.severity == Severity::Error) {
        true => Vec::new(),
        false => run(&mut suite(sources, false)?, &|_| true),
    };
    Ok(Examined { findings, tests })
}

/// The tests of a policy.
///
/// # Errors
/// When they cannot be loaded.
pub fn suite(sources: &Sources, coverage: bool) -> Result<Suite, SourceError> {
    let data = sources.document()?;
    Ok(Suite::new(
        &sources.modules,
        &sources.tests,
        &data,
        coverage,
    )?)
}

/// Runs those tests whose name is wanted.
pub fn run(suite: &mut Suite, wanted: &dyn Fn(&str) -> bool) -> Vec<Ran> {
    let tests: Vec<Test> = suite
        .tests()
        .iter()
        .filter(|test| wanted(&test.name))
        .cloned()
        .collect();
    let run = |test: Test| {
        let begun = Instant::now();
        let outcome = suite.run(&test);
        Ran {
            test,
            outcome,
            time: begun.elapsed(),
        }
    };
    tests.into_iter().map(run).collect()
}
