//! `writ policy test`

use std::{path::PathBuf, time::Duration};

use anstyle::{AnsiColor, Style};
use clap::Args;
use regex::Regex;
use serde_json::json;
use writ_policy::authoring::testing::{Coverage, Outcome};

use super::{CliError, Output, counted, shown};
use crate::{
    audit::printable,
    policy::{self, Ran, Sources},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Test {
    /// A directory with the policy, or an OPA bundle (.tar.gz).
    policy: PathBuf,
    /// Only tests whose full name (data.package.test_name) this regular expression finds something in.
    #[arg(long, short, value_name = "REGEX")]
    run: Option<Regex>,
    /// Say which lines no test ran through.
    #[arg(long, short)]
    coverage: bool,
    /// Name the tests that pass, too.
    #[arg(long, short)]
    verbose: bool,
}

/// How many ended how.
#[derive(Default)]
struct Tally {
    pass: usize,
    fail: usize,
    error: usize,
    skipped: usize,
}

impl Test {
    pub(super) fn run(self, output: &mut Output) -> Result<(), CliError> {
        let sources = Sources::read(&self.policy)?;
        let mut suite = policy::suite(&sources, self.coverage)?;
        let ran = policy::run(&mut suite, Duration::MAX, &|name| {
            self.run.as_ref().is_none_or(|wanted| wanted.is_match(name))
        });
        let mut tally = Tally::default();
        for one in &ran {
            match one.outcome {
                Outcome::Pass => tally.pass += 1,
                Outcome::Fail => tally.fail += 1,
                Outcome::Error(_) => tally.error += 1,
                Outcome::Skipped => tally.skipped += 1,
            }
            self.say(&sources, one, output)?;
        }
        self.sum(&tally, ran.len(), output)?;
        if self.coverage {
            self.covered(&sources, &suite.coverage(), output)?;
        }
        match tally.fail + tally.error {
            0 if ran.is_empty() => Err(CliError::Policy(
                "no test was found: write rules whose names begin with `test_` into files that end in `_test.rego`"
                    .to_owned(),
            )),
            0 => Ok(()),
            bad => Err(CliError::Policy(format!("{} did not pass", counted(bad, "test")))),
        }
    }

    fn say(&self, sources: &Sources, ran: &Ran, output: &mut Output) -> Result<(), CliError> {
        let micros = ran.time.as_micros();
        if output.is_json() {
            let mut told = json!({
                "name": ran.test.name,
                "path": ran.test.place.path,
                "line": ran.test.place.line,
                "time_us": u64::try_from(micros).unwrap_or(u64::MAX),
            });
            if let (Some(told), Ok(serde_json::Value::Object(outcome))) =
                (told.as_object_mut(), serde_json::to_value(&ran.outcome))
            {
                told.extend(outcome);
            }
            return output.json(&told);
        }
        let (word, colour) = match &ran.outcome {
            Outcome::Pass | Outcome::Skipped if !self.verbose => return Ok(()),
            Outcome::Pass => ("PASS", AnsiColor::Green),
            Outcome::Skipped => ("SKIPPED", AnsiColor::Yellow),
            Outcome::Fail => ("FAIL", AnsiColor::Red),
            Outcome::Error(_) => ("ERROR", AnsiColor::Red),
        };
        let style = Style::new().fg_color(Some(colour.into()));
        let time = format!("{}.{:03} ms", micros / 1000, micros % 1000);
        let path = shown(sources, &self.policy, &ran.test.place.path);
        output.line(&format!(
            "{path}:{}: {}: {style}{word}{style:#} ({time})",
            ran.test.place.line, ran.test.name
        ))?;
        if let Outcome::Error(problem) = &ran.outcome {
            output.line(&format!("  {}", printable(problem)))?;
        }
        Ok(())
    }

    fn sum(&self, tally: &Tally, all: usize, output: &mut Output) -> Result<(), CliError> {
        let Tally {
            pass,
            fail,
            error,
            skipped,
        } = tally;
        if output.is_json() {
            return output
                .json(&json!({"pass": pass, "fail": fail, "error": error, "skipped": skipped}));
        }
        for (word, count) in [
            ("PASS", pass),
            ("FAIL", fail),
            ("ERROR", error),
            ("SKIPPED", skipped),
        ] {
            if *count > 0 {
                output.line(&format!("{word}: {count}/{all}"))?;
            }
        }
        Ok(())
    }

    fn covered(
        &self,
        sources: &Sources,
        files: &[Coverage],
        output: &mut Output,
    ) -> Result<(), CliError> {
        let (mut covered, mut all) = (0, 0);
        for file in files {
            covered += file.covered.len();
            all += file.covered.len() + file.not_covered.len();
            if output.is_json() {
                output.json(file)?;
            } else if !file.not_covered.is_empty() {
                let path = shown(sources, &self.policy, &file.path);
                output.line(&format!(
                    "{path}: not covered: {}",
                    ranges(&file.not_covered)
                ))?;
            }
        }
        let percent = covered as f64 * 100.0 / (all.max(1)) as f64;
        if output.is_json() {
            return output.json(&json!({"coverage": (percent * 10.0).round() / 10.0}));
        }
        output.line(&format!("coverage: {percent:.1} %"))
    }
}

/// `3, 7-9`
fn ranges(lines: &std::collections::BTreeSet<u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for line in lines {
        match ranges.last_mut() {
            Some((_, last)) if last.saturating_add(1) == *line => *last = *line,
            _ => ranges.push((*line, *line)),
        }
    }
    let shown = ranges.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    shown.collect::<Vec<_>>().join(", ")
}
