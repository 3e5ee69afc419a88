//! `writ policy check`

use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use clap::Args;
use serde_json::json;
use writ_policy::authoring::check::{Finding, Severity};

use super::{CliError, Output, counted, shown};
use crate::policy::{self, Sources};

#[derive(Debug, Args)]
pub(in crate::cli) struct Check {
    /// A directory with the policy, or an OPA bundle (.tar.gz).
    policy: PathBuf,
}

impl Check {
    pub(super) fn run(self, output: &mut Output) -> Result<(), CliError> {
        let sources = Sources::read(&self.policy)?;
        let found = policy::check(&sources)?;
        let errors = found
            .iter()
            .filter(|f| f.severity == Severity::Error)
            .count();
        let warnings = found.len().saturating_sub(errors);
        if output.is_json() {
            found.iter().try_for_each(|one| output.json(one))?;
            output.json(&json!({
                "revision": sources.revision(),
                "files": sources.files.len(),
                "errors": errors,
                "warnings": warnings,
            }))?;
        } else {
            found
                .iter()
                .try_for_each(|one| output.line(&self.line(&sources, one)))?;
            if errors == 0 {
                let files = counted(sources.files.len(), "file");
                output.line(&format!("ok: revision {}, {files}", sources.revision()))?;
            }
        }
        match errors {
            0 => Ok(()),
            _ => Err(CliError::Policy(format!(
                "{}; this policy would not be taken",
                counted(errors, "error")
            ))),
        }
    }

    fn line(&self, sources: &Sources, one: &Finding) -> String {
        let (colour, word) = match one.severity {
            Severity::Error => (AnsiColor::Red, "error"),
            Severity::Warning => (AnsiColor::Yellow, "warning"),
        };
        let style = Style::new().fg_color(Some(colour.into()));
        let place = one.place.as_ref().map_or(String::new(), |place| {
            let path = shown(sources, &self.policy, &place.path);
            format!("{path}:{}:{}: ", place.line, place.column)
        });
        format!("{place}{style}{word}{style:#}: {}", one.message)
    }
}
