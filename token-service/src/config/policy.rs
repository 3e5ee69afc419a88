//! `[policy]`: where the policy comes from while none was published, and what is kept of what it is asked.

use std::{path::PathBuf, time::Duration};

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;
use writ_policy::{
    Value,
    kept::{Carried, KeptInput, MOST_KEPT},
};

use super::{
    ConfigError, duration,
    raw::Source,
    remote::{self, Secret, TokenAt},
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPolicy {
    pub(super) dir: Option<String>,
    bundle: Option<RawBundle>,
    #[serde(default)]
    inputs: RawInputs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawInputs {
    keep: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBundle {
    url: String,
    poll_interval: Option<String>,
    token_file: Option<PathBuf>,
    token_env: Option<String>,
}

/// A server of OPA bundles, whose bundle is published whenever it changes.
#[derive(Clone, Debug)]
pub struct BundleServer {
    /// Where the bundle is.
    pub url: Url,
    /// How often it is asked for.
    pub poll_interval: Duration,
    /// The bearer token that it is asked for with.
    pub token: Option<SecretString>,
}

/// What is kept of what policies are asked, to be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// How long; zero keeps nothing.
    pub keep: Duration,
}

impl Inputs {
    /// As much of an input as is kept here: what the message carries is not.
    #[must_use]
    pub fn of(&self, input: &Value) -> Option<KeptInput> {
        (!self.keep.is_zero()).then(|| KeptInput::of(input, Carried::LeftOut, MOST_KEPT))
    }

    /// As much as is kept of what a gateway reports to have asked about a call to `server`.
    #[must_use]
    pub fn of_report(&self, reported: &KeptInput, server: &str) -> Option<KeptInput> {
        let kept = || reported.reported(server, Carried::LeftOut);
        (!self.keep.is_zero()).then(kept).flatten()
    }
}

/// What is kept of inputs. Personal data: not for longer than it takes to look at a change.
pub(super) fn inputs(source: &Source) -> Result<Inputs, ConfigError> {
    let raw = &source.values.policy.inputs;
    let text = raw.keep.as_deref().unwrap_or("7d");
    Ok(Inputs {
        keep: duration::parse(text, &(0..=366 * 86400))
            .map_err(|problem| source.wrong("policy.inputs.keep", text, problem))?,
    })
}

/// The directory, where one is named.
pub(super) fn dir(source: &Source) -> Result<Option<PathBuf>, ConfigError> {
    let named = source.values.policy.dir.as_deref();
    let dir = named.filter(|d| !d.is_empty()).map(PathBuf::from);
    if let Some(dir) = dir.as_deref().filter(|dir| !dir.is_dir()) {
        let problem = "is not a directory; name one with .rego files, or leave the field out";
        return Err(source.wrong("policy.dir", &dir.display().to_string(), problem));
    }
    Ok(dir)
}

/// The bundle server, where one is named.
pub(super) fn bundle(source: &Source) -> Result<Option<BundleServer>, ConfigError> {
    let Some(raw) = &source.values.policy.bundle else {
        return Ok(None);
    };
    const TABLE: &str = "policy.bundle";
    let url = remote::url(source, TABLE, &raw.url, Secret::Token)?;
    let text = raw.poll_interval.as_deref().unwrap_or("30s");
    Ok(Some(BundleServer {
        url,
        poll_interval: duration::parse(text, &(1..=86400))
            .map_err(|problem| source.wrong("policy.bundle.poll_interval", text, problem))?,
        token: remote::token(
            source,
            TokenAt {
                table: TABLE,
                file: raw.token_file.as_ref(),
                variable: raw.token_env.as_ref(),
            },
        )?,
    }))
}
