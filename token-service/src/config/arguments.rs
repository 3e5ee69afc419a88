//! `[audit.arguments]`: what is kept of what calls carry, for the installation, a server, a tool.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

use super::{ConfigError, duration, raw::Source};
use crate::{
    audit::{Keep, Redaction},
    keys::Sealing,
    registry::Id,
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawArguments {
    default: Option<String>,
    keep: Option<String>,
    #[serde(default)]
    redact: Vec<String>,
    #[serde(default)]
    servers: BTreeMap<String, RawServer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawServer {
    default: Option<String>,
    #[serde(default)]
    redact: Vec<String>,
    #[serde(default)]
    tools: BTreeMap<String, String>,
}

/// What is kept of what calls carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How long what is kept encrypted is kept.
    pub keep: Duration,
    default: ForServer,
    servers: BTreeMap<String, ForServer>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ForServer {
    default: Keep,
    redaction: Redaction,
    tools: BTreeMap<String, Keep>,
}

impl Rules {
    /// The same of all.
    #[must_use]
    pub fn all(keep: Keep) -> Self {
        Self {
            keep: Duration::from_secs(90 * 86400),
            default: ForServer {
                default: keep,
                ..ForServer::default()
            },
            servers: BTreeMap::new(),
        }
    }

    /// What is kept of a call to a server, of a tool where it is one's, and without what.
    #[must_use]
    pub fn of(&self, server: &str, tool: Option<&str>) -> (Keep, &Redaction) {
        let rules = self.servers.get(server).unwrap_or(&self.default);
        let keep = tool.and_then(|tool| rules.tools.get(tool));
        (*keep.unwrap_or(&rules.default), &rules.redaction)
    }

    /// The servers that have rules of their own.
    pub fn servers(&self) -> impl Iterator<Item = &str> {
        self.servers.keys().map(String::as_str)
    }
}

/// The rules, each checked, with what they take.
pub(super) fn check(source: &Source, sealing: &Sealing) -> Result<Rules, ConfigError> {
    let raw = &source.values.audit.arguments;
    let checking = Checking { source, sealing };
    let mut redaction = Redaction::default();
    checking.redact("audit.arguments", &raw.redact, &mut redaction)?;
    let default = ForServer {
        default: checking.keep(
            "audit.arguments.default",
            raw.default.as_deref(),
            Keep::default(),
            &redaction,
        )?,
        redaction,
        tools: BTreeMap::new(),
    };
    let servers = raw.servers.iter().map(|(id, raw)| {
        let table = format!("audit.arguments.servers.{id}");
        Id::parse(id).map_err(|e| source.wrong("audit.arguments.servers", id, e.to_string()))?;
        Ok((id.clone(), checking.server(&table, raw, &default)?))
    });
    let text = raw.keep.as_deref().unwrap_or("90d");
    Ok(Rules {
        keep: duration::parse(text, &(3600..=3660 * 86400))
            .map_err(|problem| source.wrong("audit.arguments.keep", text, problem))?,
        servers: servers.collect::<Result<_, _>>()?,
        default,
    })
}

struct Checking<'a> {
    source: &'a Source,
    sealing: &'a Sealing,
}

impl Checking<'_> {
    fn server(
        &self,
        table: &str,
        raw: &RawServer,
        all: &ForServer,
    ) -> Result<ForServer, ConfigError> {
        let mut redaction = all.redaction.clone();
        self.redact(table, &raw.redact, &mut redaction)?;
        let default = self.keep(
            &format!("{table}.default"),
            raw.default.as_deref(),
            all.default,
            &redaction,
        )?;
        let tools = raw.tools.iter().map(|(tool, word)| {
            let field = format!("{table}.tools.{tool}");
            Ok((
                tool.clone(),
                self.keep(&field, Some(word), default, &redaction)?,
            ))
        });
        Ok(ForServer {
            default,
            tools: tools.collect::<Result<_, ConfigError>>()?,
            redaction,
        })
    }

    fn redact(
        &self,
        table: &str,
        texts: &[String],
        redaction: &mut Redaction,
    ) -> Result<(), ConfigError> {
        for (at, text) in texts.iter().enumerate() {
            let wrong = |problem: String| {
                self.source
                    .wrong(&format!("{table}.redact[{at}]"), text, problem)
            };
            redaction.add(text).map_err(|e| wrong(e.to_string()))?;
        }
        Ok(())
    }

    fn keep(
        &self,
        field: &str,
        word: Option<&str>,
        otherwise: Keep,
        redaction: &Redaction,
    ) -> Result<Keep, ConfigError> {
        let Some(word) = word else {
            return Ok(otherwise);
        };
        let wrong = |problem| Err(self.source.wrong(field, word, problem));
        match Keep::named(word) {
            None => wrong("must be none, digest, redacted or full"),
            Some(Keep::Redacted) if redaction.is_empty() => wrong(
                "says to redact, and `redact` names nothing: name members there, or write full",
            ),
            Some(Keep::Redacted | Keep::Full) if self.sealing.is_none() => wrong(
                "is kept encrypted: set `keys.encryption_key_file` or `keys.encryption_key_env` (`writ keys generate-encryption-key`)",
            ),
            Some(keep) => Ok(keep),
        }
    }
}
