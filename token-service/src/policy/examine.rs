//! Whether a policy may be put in force: what `writ policy check` and `writ policy test` say of it.

use std::time::{Duration, Instant};

use writ_policy::authoring::{
    check::{self, Finding, Severity},
    testing::{Outcome, Suite, Test},
};

use super::{SourceError, Sources};

/// So long may the tests of a policy take together before it is put in force.
pub const TESTS_TAKE: Duration = Duration::from_secs(60);

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

/// Says what is wrong with a policy and its data.
///
/// # Errors
/// When its data is none.
pub fn check(sources: &Sources) -> Result<Vec<Finding>, SourceError> {
    let mut findings = check::check(&sources.modules, &sources.tests, &sources.document()?);
    findings.extend(sources.misfits().into_iter().map(|message| Finding {
        severity: Severity::Error,
        place: None,
        message,
    }));
    Ok(findings)
}

/// Checks a policy and runs its tests, as many as begin `within` this time; the others are an objection.
///
/// # Errors
/// When its data is none.
pub fn examine(sources: &Sources, within: Duration) -> Result<Examined, SourceError> {
    let findings = check(sources)?;
    let tests = match findings.iter().any(|f| f.severity == Severity::Error) {
        true => Vec::new(),
        false => run(&mut suite(sources, false)?, within, &|_| true),
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

/// Runs those tests whose name is wanted, as far as they begin `within` this time.
pub fn run(suite: &mut Suite, within: Duration, wanted: &dyn Fn(&str) -> bool) -> Vec<Ran> {
    let all = Instant::now();
    let tests: Vec<Test> = suite
        .tests()
        .iter()
        .filter(|test| wanted(&test.name))
        .cloned()
        .collect();
    let run = |test: Test| {
        let begun = Instant::now();
        let outcome = if all.elapsed() < within {
            suite.run(&test)
        } else {
            Outcome::Error(format!(
                "all tests together may take {} s: make them fewer, or quicker",
                within.as_secs()
            ))
        };
        Ran {
            test,
            outcome,
            time: begun.elapsed(),
        }
    };
    tests.into_iter().map(run).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn data_that_a_template_cannot_use_keeps_a_policy_from_being_taken() {
        let files = [
            ("rules.rego", "package writ\n\ncall := {\"allow\": true}\n"),
            ("hours.rego", include_str!("../../../policies/hours.rego")),
            (
                "hours/data.yaml",
                "ledger: {transfer: {zone: UTC, days: [Mon], from: 8, until: 18}}",
            ),
            ("data.json", r#"{"hours": {"wiki": 5}}"#),
        ];
        let files: BTreeMap<String, String> = files.map(|(p, t)| (p.into(), t.into())).into();
        let sources = Sources::of("test".to_owned(), files).unwrap();
        let objections = examine(&sources, TESTS_TAKE).unwrap().objections();
        let [days, wiki] = &objections[..] else {
            panic!("{objections:?}")
        };
        let place =
            "hours/data.yaml: data.hours.ledger.transfer.days.0 must be one of [\"Monday\",";
        assert!(days.starts_with(place), "{days}");
        assert_eq!(
            wiki,
            "data.json: data.hours.wiki must be of type \"object\""
        );
    }

    #[test]
    fn tests_that_are_not_run_in_time_keep_a_policy_from_being_taken() {
        let files = [
            ("rules.rego", "package writ\n\ncall := {\"allow\": true}\n"),
            ("a_test.rego", "package writ_test\n\ntest_yes if true\n"),
        ];
        let files: BTreeMap<String, String> = files.map(|(p, t)| (p.into(), t.into())).into();
        let sources = Sources::of("test".to_owned(), files).unwrap();
        let objections = |within| examine(&sources, within).unwrap().objections();
        assert_eq!(objections(TESTS_TAKE), Vec::<String>::new());
        let late = objections(Duration::ZERO);
        assert!(late[0].contains("writ_test.test_yes"), "{late:?}");
        assert!(late[0].contains("all tests together"), "{late:?}");
    }
}
