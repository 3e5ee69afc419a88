//! `[[audit.sinks]]`: where the log is sent to.

use std::{collections::BTreeSet, net::IpAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use rustls::pki_types::ServerName;
use secrecy::{SecretSlice, SecretString};
use serde::Deserialize;
use url::Url;

use super::{
    ConfigError, duration,
    raw::Source,
    remote::{self, Credential, Secret, TokenAt},
};
use crate::http::trust::Identity;

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
    token_header: Option<String>,
    gzip: Option<bool>,
    index: Option<String>,
    address: Option<String>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    tls: Option<bool>,
    subject: Option<String>,
}

/// What it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Type {
    Http,
    SplunkHec,
    Syslog,
    Otlp,
    Nats,
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
    /// Syslog over TLS.
    Syslog {
        /// The receiver.
        address: Address,
        /// Who this service is, where the receiver wants to know.
        identity: Option<Identity>,
    },
    /// OpenTelemetry logs.
    Otlp(Endpoint),
    /// NATS JetStream.
    Nats(NatsTo),
}

impl To {
    /// The word in the configuration.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::SplunkHec { .. } => "splunk_hec",
            Self::Syslog { .. } => "syslog",
            Self::Otlp(_) => "otlp",
            Self::Nats(_) => "nats",
        }
    }
}

/// What takes batches over HTTP.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where.
    pub url: Url,
    /// What it knows this service by.
    pub credential: Option<Credential>,
    /// Whether it takes compressed bodies.
    pub gzip: bool,
}

/// A host and port.
#[derive(Clone, Debug)]
pub struct Address {
    /// As it is connected to.
    pub text: String,
    /// What its certificate is for.
    pub server: ServerName<'static>,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// A stream of NATS.
#[derive(Clone, Debug)]
pub struct NatsTo {
    /// The server.
    pub address: Address,
    /// Whether TLS is spoken: always, but on loopback.
    pub tls: bool,
    /// What this service is known by.
    pub token: Option<SecretString>,
    /// What is published under; a stream must take it.
    pub subject: String,
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
            Type::Http => To::Http(self.endpoint("Bearer")?),
            Type::Otlp => To::Otlp(self.endpoint("Bearer")?),
            Type::SplunkHec => {
                let endpoint = self.endpoint("Splunk")?;
                if endpoint.credential.is_none() {
                    let problem = "is missing; name a file with the collector's token in it";
                    return Err(self.wrong("token_file", "", problem));
                }
                To::SplunkHec {
                    endpoint,
                    index: self.raw.index.clone(),
                }
            }
            Type::Syslog => To::Syslog {
                address: self.address()?,
                identity: self.identity()?,
            },
            Type::Nats => To::Nats(self.nats()?),
        })
    }

    /// A field of another type would be without effect.
    fn only_its_own(&self) -> Result<(), ConfigError> {
        let raw = self.raw;
        let (http, syslog, nats) = match raw.r#type {
            Type::Http | Type::SplunkHec | Type::Otlp => (true, false, false),
            Type::Syslog => (false, true, false),
            Type::Nats => (false, false, true),
        };
        let splunk = raw.r#type == Type::SplunkHec;
        let given = [
            ("url", raw.url.is_some(), http),
            ("gzip", raw.gzip.is_some(), http),
            ("token_file", raw.token_file.is_some(), http || nats),
            ("token_env", raw.token_env.is_some(), http || nats),
            ("token_header", raw.token_header.is_some(), http && !splunk),
            ("index", raw.index.is_some(), splunk),
            ("address", raw.address.is_some(), syslog || nats),
            ("cert_file", raw.cert_file.is_some(), syslog),
            ("key_file", raw.key_file.is_some(), syslog),
            ("tls", raw.tls.is_some(), nats),
            ("subject", raw.subject.is_some(), nats),
        ];
        match given.iter().find(|(_, given, own)| *given && !own) {
            None => Ok(()),
            Some((field, ..)) => Err(self.wrong(field, "", "is no field of a sink of this type")),
        }
    }

    fn address(&self) -> Result<Address, ConfigError> {
        let given = self.raw.address.as_deref().unwrap_or_default();
        let wrong = || {
            self.wrong(
                "address",
                given,
                "must be HOST:PORT, such as logs.example.com:6514",
            )
        };
        let (host, port) = given.rsplit_once(':').ok_or_else(wrong)?;
        port.parse::<u16>().map_err(|_| wrong())?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let server = ServerName::try_from(bare.to_owned()).map_err(|_| wrong())?;
        Ok(Address {
            text: given.to_owned(),
            server,
        })
    }

    fn identity(&self) -> Result<Option<Identity>, ConfigError> {
        let raw = self.raw;
        let read = |field: &str, path: &PathBuf| {
            std::fs::read(path).map_err(|e| {
                let problem = format!("cannot be read: {e}");
                self.wrong(field, &path.display().to_string(), problem)
            })
        };
        match (&raw.cert_file, &raw.key_file) {
            (None, None) => Ok(None),
            (Some(certificates), Some(key)) => Ok(Some(Identity {
                certificates: read("cert_file", certificates)?,
                key: SecretSlice::from(read("key_file", key)?),
            })),
            (Some(_), None) => Err(self.wrong("key_file", "", "is missing beside cert_file")),
            (None, Some(_)) => Err(self.wrong("cert_file", "", "is missing beside key_file")),
        }
    }

    fn nats(&self) -> Result<NatsTo, ConfigError> {
        let raw = self.raw;
        let address = self.address()?;
        let tls = raw.tls.unwrap_or(true);
        let loopback = match &address.server {
            ServerName::IpAddress(ip) => IpAddr::from(*ip).is_loopback(),
            name => name.to_str() == "localhost",
        };
        if !tls && !loopback {
            let problem = "must be true: only a loopback host may do without";
            return Err(self.wrong("tls", "false", problem));
        }
        let subject = raw.subject.clone().unwrap_or_default();
        let fits = |token: &str| {
            !token.is_empty()
                && token
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
        };
        if !subject.split('.').all(fits) {
            let problem = "must be a subject without wildcards, such as writ.audit";
            return Err(self.wrong("subject", &subject, problem));
        }
        Ok(NatsTo {
            address,
            tls,
            token: remote::token(self.source, self.token_at())?,
            subject,
        })
    }

    fn endpoint(&self, scheme: &str) -> Result<Endpoint, ConfigError> {
        let raw = self.raw;
        let Some(url) = &raw.url else {
            return Err(self.wrong(
                "url",
                "",
                "is missing; name the URL that batches are sent to",
            ));
        };
        Ok(Endpoint {
            url: remote::url(self.source, &self.table, url, Secret::Token)?,
            credential: remote::credential(
                self.source,
                self.token_at(),
                scheme,
                raw.token_header.as_deref(),
            )?,
            gzip: raw.gzip.unwrap_or(true),
        })
    }

    fn token_at(&self) -> TokenAt<'_> {
        TokenAt {
            table: &self.table,
            file: self.raw.token_file.as_ref(),
            variable: self.raw.token_env.as_ref(),
        }
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
