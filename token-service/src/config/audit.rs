//! `[audit]`: how the log is kept.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use super::{ConfigError, duration, raw::Source};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAudit {
    checkpoint_interval: Option<String>,
    checkpoint_dir: Option<PathBuf>,
}

/// How the log is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// How often it is signed, while it grows.
    pub checkpoint_interval: Duration,
    /// Where checkpoints are laid, beside the database: best where whoever could change that cannot reach.
    pub checkpoint_dir: Option<PathBuf>,
}

pub(super) fn check(source: &Source) -> Result<Audit, ConfigError> {
    let raw = &source.values.audit;
    let text = raw.checkpoint_interval.as_deref().unwrap_or("5s");
    if let Some(dir) = raw.checkpoint_dir.as_deref().filter(|dir| !dir.is_dir()) {
        let problem = "is not a directory; make it, best where only this service may write and nobody may delete";
        return Err(source.wrong("audit.checkpoint_dir", &dir.display().to_string(), problem));
    }
    Ok(Audit {
        checkpoint_interval: duration::parse(text, &(1..=3600))
            .map_err(|problem| source.wrong("audit.checkpoint_interval", text, problem))?,
        checkpoint_dir: raw.checkpoint_dir.clone(),
    })
}
