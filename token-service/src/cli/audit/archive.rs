//! `writ audit archive`

use std::path::PathBuf;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{CliError, Output};
use crate::{
    clock::{Clock as _, SystemClock},
    config::Config,
    log,
    store::Store,
};

/// What is younger stays: calls may still end, and their tokens be asked about.
const YOUNGEST: SignedDuration = SignedDuration::from_hours(24);

#[derive(Debug, Args)]
pub(in crate::cli) struct Archive {
    /// The records before this time, at least a day ago: RFC 3339, such as 2026-11-23T18:00:00Z.
    #[arg(long, value_name = "TIME")]
    before: Timestamp,
    /// The directory that the archive is written in.
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
}

impl Archive {
    pub(super) async fn run(
        self,
        config: &Config,
        store: &Store,
        output: &mut Output,
    ) -> Result<(), CliError> {
        let now = SystemClock.now();
        if self.before > now - YOUNGEST {
            let told = "records stay for a day at least: name an earlier time with --before";
            return Err(CliError::Usage(told.to_owned()));
        }
        let sinks = &config.audit.sinks;
        let archived = log::archive::archive(store, &self.output, self.before, sinks, now).await?;
        let Some(archive) = archived else {
            return match output.is_json() {
                true => output.json(&json!({"archived": 0})),
                false => output.line("nothing to archive: no record before that is in a checkpoint, and with all sinks"),
            };
        };
        let (count, file) = (
            archive.size - archive.first,
            self.output.join(&archive.file),
        );
        if output.is_json() {
            return output.json(&json!({
                "archived": count,
                "first": archive.first,
                "size": archive.size,
                "file": file,
                "sha256": archive.sha256,
            }));
        }
        output.line(&format!(
            "{count} records archived, from {} to before {}: {}",
            archive.first,
            archive.size,
            file.display()
        ))
    }
}
