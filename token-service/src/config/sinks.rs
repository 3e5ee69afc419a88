//! `[[audit.sinks]]`: where the log is sent to.

use std::{collections::BTreeSet, ops::RangeInclusive, path::PathBuf, time::Duration};

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::{
    ConfigError, duration,
    raw::Source,
    remote::{self, TokenAt},
};

/// How many sinks there may be.
const MOST: usize = 16;
/// How many records are sent at a time.
const RECORDS: RangeInclusive<u32> = 1..=5000;
/// How many bytes are sent at a time, before they are compressed.
const BYTES: RangeInclusive<u32> = 10_000..=10_000_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSink {
    name: String,
    r#type: Type,
    format: Option<Format>,
    from: Option<From>,
    batch_records: Option<u32>,
    batch_bytes: Option<u32>,
    timeout: Option<String>,
    url: Option<String>,
    token_file: Option<PathBuf>,
    token_env: Option<String>,
    gzip: Option<bool>,
    index: Option<String>,
}

/// What it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Type {
    Http,
    SplunkHec,
}

/// What a record is written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// An event of the Open Cybersecurity Schema Framework.
    #[default]
    Ocsf,
    /// As `writ audit export --format jsonl` has it, with its place in the log.
    Writ,
}

/// Where a new sink begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum From {
    /// With what comes from now on.
    #[default]
    Now,
    /// At the log's first record.
    Start,
}

/// Where the log is sent to.
#[derive(Clone, Debug)]
pub struct Sink {
    /// What its place in the log is kept under.
    pub name: String,
    /// Where, and how that is spoken to.
    pub to: To,
    /// What a record is written as.
    pub format: Format,
    /// Where it begins when it is new.
    pub from: From,
    /// How many records are sent at a time, at most.
    pub batch_records: u32,
    /// How many bytes those have, at most; a record that has more is sent alone.
    pub batch_bytes: usize,
    /// How long a batch may take.
    pub timeout: Duration,
}

/// What is spoken, and to whom.
#[derive(Clone, Debug)]
pub enum To {
    /// Lines of JSON by POST.
    Http(Endpoint),
    /// Splunk's HTTP Event Collector.
    SplunkHec {
        /// The collector.
        endpoint: Endpoint,
        /// The index; the token's own when absent.
        index: Option<String>,
    },
}

impl To {
    /// The word in the configuration.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::SplunkHec { .. } => "splunk_hec",
        }
    }
}

/// What takes batches over HTTP.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where.
    pub url: Url,
    /// What it knows this service by.
    pub token: Option<SecretString>,
    /// Whether it takes compressed bodies.
    pub gzip: bool,
}

/// A sink as it is written, and where.
struct Written<'a> {
    source: &'a Source,
    table: String,
    raw: &'a RawSink,
}

pub(super) fn check(source: &Source) -> Result<Vec<Sink>, ConfigError> {
    let all = &source.values.audit.sinks;
    if all.len() > MOST {
        let problem = format!("there may be at most {MOST}");
        return Err(source.wrong("audit.sinks", &all.len().to_string(), problem));
    }
    let mut names = BTreeSet::new();
    let sink = |(at, raw): (usize, &RawSink)| {
        let written = Written {
            source,
            table: format!("audit.sinks[{at}]"),
            raw,
        };
        let sink = written.sink()?;
        match names.insert(sink.name.clone()) {
            true => Ok(sink),
            false => Err(written.wrong(
                "name",
                &sink.name,
                "is the name of two sinks; each keeps its place in the log under its own",
            )),
        }
    };
    all.iter().enumerate().map(sink).collect()
}

impl Written<'_> {
    fn sink(&self) -> Result<Sink, ConfigError> {
        let raw = self.raw;
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
        if raw.name.is_empty() || raw.name.len() > 64 || !raw.name.chars().all(fits) {
            let problem = "must have 1 to 64 lower-case letters, digits, '-' or '_'";
            return Err(self.wrong("name", &raw.name, problem));
        }
        let timeout = raw.timeout.as_deref().unwrap_or("10s");
        let records = self.within("batch_records", raw.batch_records, 500, &RECORDS)?;
        let bytes = self.within("batch_bytes", raw.batch_bytes, 1_000_000, &BYTES)?;
        Ok(Sink {
            to: self.to()?,
            name: raw.name.clone(),
            format: raw.format.unwrap_or_default(),
            from: raw.from.unwrap_or_default(),
            batch_records: records,
            batch_bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            timeout: duration::parse(timeout, &(1..=20))
                .map_err(|problem| self.wrong("timeout", timeout, problem))?,
        })
    }

    fn to(&self) -> Result<To, ConfigError> {
        self.only_its_own()?;
        Ok(match self.raw.r#type {
            Type::Http => To::Http(self.endpoint()?),
            Type::SplunkHec => {
                let endpoint = self.endpoint()?;
                if endpoint.token.is_none() {
                    let problem = "is missing; name a file with the collector's token in it";
                    return Err(self.wrong("token_file", "", problem));
                }
                To::SplunkHec {
                    endpoint,
                    index: self.raw.index.clone(),
                }
            }
        })
    }

    /// A field of another type would be without effect.
    fn only_its_own(&self) -> Result<(), ConfigError> {
        let raw = self.raw;
        let kind = raw.r#type;
        let given = [("index", raw.index.is_some(), kind == Type::SplunkHec)];
        match given.iter().find(|(_, given, own)| *given && !own) {
            None => Ok(()),
            Some((field, ..)) => Err(self.wrong(field, "", "is no field of a sink of this type")),
        }
    }

    fn endpoint(&self) -> Result<Endpoint, ConfigError> {
        let raw = self.raw;
        let Some(url) = &raw.url else {
            return Err(self.wrong(
                "url",
                "",
                "is missing; name the URL that batches are sent to",
            ));
        };
        Ok(Endpoint {
            url: remote::url(self.source, &self.table, url)?,
            token: self.token()?,
            gzip: raw.gzip.unwrap_or(true),
        })
    }

    fn token(&self) -> Result<Option<SecretString>, ConfigError> {
        let at = TokenAt {
            table: &self.table,
            file: self.raw.token_file.as_ref(),
            variable: self.raw.token_env.as_ref(),
        };
        remote::token(self.source, at)
    }

    fn within(
        &self,
        field: &str,
        given: Option<u32>,
        unsaid: u32,
        bounds: &RangeInclusive<u32>,
    ) -> Result<u32, ConfigError> {
        let number = given.unwrap_or(unsaid);
        if bounds.contains(&number) {
            return Ok(number);
        }
        let problem = format!("must be {} to {}", bounds.start(), bounds.end());
        Err(self.wrong(field, &number.to_string(), problem))
    }

    fn wrong(&self, field: &str, value: &str, problem: impl Into<String>) -> ConfigError {
        let field = format!("{}.{field}", self.table);
        self.source.wrong(&field, value, problem)
    }
}
