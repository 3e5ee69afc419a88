//! `[audit]`: how the log is kept, who sees it, and whose log is seen here.

use std::{path::PathBuf, time::Duration};

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::{
    ConfigError,
    arguments::{self, RawArguments, Rules},
    duration,
    raw::Source,
    remote::{self, Secret, TokenAt},
    sinks::{self, RawSink, Sink},
};
use crate::{
    keys::Sealing,
    log::{checkpoint::PublicKey, cosign::Witness},
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAudit {
    checkpoint_interval: Option<String>,
    checkpoint_dir: Option<PathBuf>,
    checkpoint_endpoint: Option<RawEndpoint>,
    archive: Option<RawArchiving>,
    #[serde(default)]
    witnesses: Vec<RawWitness>,
    witness: Option<RawWitnessing>,
    #[serde(default)]
    pub(super) sinks: Vec<RawSink>,
    #[serde(default)]
    pub(super) arguments: RawArguments,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEndpoint {
    url: String,
    token_file: Option<PathBuf>,
    token_env: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawArchiving {
    after: String,
    dir: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWitness {
    url: String,
    key: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWitnessing {
    name: String,
    logs: Vec<String>,
}

/// What checkpoints are sent to.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where each is posted.
    pub url: Url,
    /// The bearer token that it is sent with.
    pub token: Option<SecretString>,
}

/// Which records leave the database, and where to.
#[derive(Clone, Debug)]
pub struct Archiving {
    /// Those that are older, by whole days (UTC).
    pub after: Duration,
    /// The directory that gets an archive a day.
    pub dir: PathBuf,
}

/// How the log is kept, who sees it, and whose log is seen here.
#[derive(Clone, Debug)]
pub struct Audit {
    /// How often it is signed, while it grows.
    pub checkpoint_interval: Duration,
    /// Where checkpoints are laid, beside the database: best where whoever could change that cannot reach.
    pub checkpoint_dir: Option<PathBuf>,
    /// Where they are sent, too.
    pub checkpoint_endpoint: Option<Endpoint>,
    /// What this service archives by itself.
    pub archive: Option<Archiving>,
    /// Who cosigns them.
    pub witnesses: Vec<Witness>,
    /// What this service is called as a witness of others' logs.
    pub witness_name: Option<String>,
    /// Whose.
    pub witness_of: Vec<PublicKey>,
    /// Where it is sent to.
    pub sinks: Vec<Sink>,
    /// What is kept of what calls carry.
    pub arguments: Rules,
}

pub(super) fn check(source: &Source, sealing: &Sealing) -> Result<Audit, ConfigError> {
    let raw = &source.values.audit;
    let text = raw.checkpoint_interval.as_deref().unwrap_or("5s");
    if let Some(dir) = raw.checkpoint_dir.as_deref().filter(|dir| !dir.is_dir()) {
        let problem = "is not a directory; make it, best where only this service may write and nobody may delete";
        return Err(source.wrong("audit.checkpoint_dir", &dir.display().to_string(), problem));
    }
    let endpoint = raw.checkpoint_endpoint.as_ref();
    let checkpoint_endpoint = endpoint
        .map(|raw| self::endpoint(source, raw))
        .transpose()?;
    let archive = raw.archive.as_ref();
    let archive = archive.map(|raw| archiving(source, raw)).transpose()?;
    let witnesses = raw.witnesses.iter().enumerate();
    let witnesses = witnesses.map(|(at, raw)| witness(source, at, raw));
    let (witness_name, logs) = match &raw.witness {
        None => (None, &[][..]),
        Some(raw) if signed_note::is_key_name_valid(&raw.name) => {
            (Some(raw.name.clone()), raw.logs.as_slice())
        }
        Some(raw) => {
            let problem =
                "must be a name without spaces and plus signs, such as witness.example.com";
            return Err(source.wrong("audit.witness.name", &raw.name, problem));
        }
    };
    let logs = logs
        .iter()
        .map(|log| key(source, "audit.witness.logs", log));
    Ok(Audit {
        checkpoint_interval: duration::parse(text, &(1..=3600))
            .map_err(|problem| source.wrong("audit.checkpoint_interval", text, problem))?,
        checkpoint_dir: raw.checkpoint_dir.clone(),
        checkpoint_endpoint,
        archive,
        witnesses: witnesses.collect::<Result<_, _>>()?,
        witness_name,
        witness_of: logs.collect::<Result<_, _>>()?,
        sinks: sinks::check(source)?,
        arguments: arguments::check(source, sealing)?,
    })
}

fn endpoint(source: &Source, raw: &RawEndpoint) -> Result<Endpoint, ConfigError> {
    let table = "audit.checkpoint_endpoint";
    Ok(Endpoint {
        url: remote::url(source, table, &raw.url, Secret::Token)?,
        token: remote::token(
            source,
            TokenAt {
                table,
                file: raw.token_file.as_ref(),
                variable: raw.token_env.as_ref(),
            },
        )?,
    })
}

fn archiving(source: &Source, raw: &RawArchiving) -> Result<Archiving, ConfigError> {
    if !raw.dir.is_dir() {
        let problem =
            "is not a directory; make it, where this service may write and there is room for years";
        return Err(source.wrong("audit.archive.dir", &raw.dir.display().to_string(), problem));
    }
    Ok(Archiving {
        after: duration::parse(&raw.after, &(86_400..=86_400 * 3660))
            .map_err(|problem| source.wrong("audit.archive.after", &raw.after, problem))?,
        dir: raw.dir.clone(),
    })
}

fn witness(source: &Source, at: usize, raw: &RawWitness) -> Result<Witness, ConfigError> {
    let table = format!("audit.witnesses[{at}]");
    Ok(Witness {
        url: remote::url(source, &table, &raw.url, Secret::None)?,
        key: key(source, &format!("{table}.key"), &raw.key)?,
    })
}

fn key(source: &Source, field: &str, text: &str) -> Result<PublicKey, ConfigError> {
    PublicKey::parse(text).map_err(|_| {
        let problem = "must be NAME+ID+KEY, as `writ audit key` prints it";
        source.wrong(field, text, problem)
    })
}
