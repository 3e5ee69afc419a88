//! `[keys]`: how signing keys follow each other, and what they are encrypted with where they are kept.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use super::{ConfigError, Tokens, duration, raw::Source};
use crate::keys::{EncryptionKey, JWKS_MAX_AGE, MARGIN, Schedule, Sealing};

const HOUR_S: u64 = 3600;
const DAY_S: u64 = 24 * HOUR_S;

/// The checked section.
#[derive(Clone, Debug)]
pub struct Keys {
    /// How keys follow each other.
    pub schedule: Schedule,
    /// What they are encrypted with.
    pub sealing: Sealing,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawKeys {
    rotate_every: Option<String>,
    announce_ahead: Option<String>,
    overlap: Option<String>,
    encryption_key_file: Option<PathBuf>,
    encryption_key_env: Option<String>,
}

pub(super) fn check(source: &Source, tokens: &Tokens) -> Result<Keys, ConfigError> {
    Ok(Keys {
        schedule: schedule(source, tokens)?,
        sealing: sealing(source)?,
    })
}

fn schedule(source: &Source, tokens: &Tokens) -> Result<Schedule, ConfigError> {
    let raw = &source.values.keys;
    let field = |name: &str, given: &Option<String>, default: Duration, least: u64, most: u64| {
        let Some(text) = given else {
            return Ok(default);
        };
        duration::parse(text, &(least..=most))
            .map_err(|problem| source.wrong(&format!("keys.{name}"), text, problem))
    };
    let shortest = tokens.longest_life().saturating_add(MARGIN);
    let schedule = Schedule {
        rotate_every: field(
            "rotate_every",
            &raw.rotate_every,
            Duration::from_secs(90 * DAY_S),
            HOUR_S,
            3650 * DAY_S,
        )?,
        // As long as verifiers may keep the published set, at the least.
        announce_ahead: field(
            "announce_ahead",
            &raw.announce_ahead,
            Duration::from_secs(DAY_S),
            JWKS_MAX_AGE.as_secs(),
            90 * DAY_S,
        )?,
        overlap: field(
            "overlap",
            &raw.overlap,
            shortest,
            shortest.as_secs(),
            90 * DAY_S,
        )?,
    };
    if schedule.announce_ahead >= schedule.rotate_every {
        let given = raw.rotate_every.as_deref().unwrap_or("90d");
        let problem = "must be longer than `keys.announce_ahead`: a key signs before the next one is announced";
        return Err(source.wrong("keys.rotate_every", given, problem));
    }
    Ok(schedule)
}

fn sealing(source: &Source) -> Result<Sealing, ConfigError> {
    let raw = &source.values.keys;
    match (&raw.encryption_key_file, &raw.encryption_key_env) {
        (None, None) => Ok(None),
        (Some(_), Some(variable)) => Err(source.wrong(
            "keys.encryption_key_env",
            variable,
            "goes without `keys.encryption_key_file`: there is one key",
        )),
        (Some(path), None) => {
            let field = "keys.encryption_key_file";
            let shown = path.display().to_string();
            let text = EncryptionKey::read(path)
                .map_err(|e| source.wrong(field, &shown, e.to_string()))?;
            EncryptionKey::parse(&text, format!("{field} = {shown:?}"))
                .map(Some)
                .map_err(|e| source.wrong(field, &shown, e.to_string()))
        }
        (None, Some(variable)) => {
            let field = "keys.encryption_key_env";
            let text = source
                .variable(variable)
                .ok_or_else(|| source.wrong(field, variable, "is not set in the environment"))?;
            EncryptionKey::parse(text, format!("{field} = {variable:?}"))
                .map(Some)
                .map_err(|e| source.wrong(field, variable, e.to_string()))
        }
    }
}
