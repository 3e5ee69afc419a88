//! The configuration: one TOML file, overridden by the environment, checked once.
//!
//! [`raw`] is the file as written; [`Config`] is what the service works with, and cannot be wrong. Without a
//! file everything has a default that listens on loopback only.

pub mod arguments;
pub mod audit;
mod check;
pub(crate) mod duration;
pub mod federation;
mod gateway;
pub mod keys;
mod policy;
mod rate_limits;
mod raw;
mod registration;
pub mod remote;
pub mod sinks;
pub(crate) mod store;
pub mod telemetry;
mod workloads;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

pub use audit::Audit;
pub use check::is_loopback_host;
pub use gateway::{GatewayListen, TlsFiles};
pub use policy::{BundleServer, Inputs};
pub use registration::{Domains, Registration};
pub use workloads::{Cluster, TrustDomain, Workloads};

use crate::{
    http::{limits::Rates, network::Network},
    keys::Algorithm,
    store::Place,
};

/// The checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The issuer identifier (RFC 8414 section 2), compared exactly; without a slash at its end.
    pub issuer: String,
    /// Where what belongs to this machine is kept, and the database unless `store` says otherwise.
    pub data_dir: PathBuf,
    /// How long a service that is told to end goes on answering while it says that it is not ready.
    pub drain: Duration,
    /// Where the database is, where that is not the data directory. See [`Config::place`].
    pub store: Option<Place>,
    /// Where agents, browsers and servers come in.
    pub public: SocketAddr,
    /// Where gateways come in.
    pub gateway: GatewayListen,
    /// How long gateways may go on deciding without an answer.
    pub snapshot_ttl: Duration,
    /// Where the policy is read from; the embedded library when absent.
    pub policy_dir: Option<PathBuf>,
    /// Where bundles to publish come from.
    pub policy_bundle: Option<BundleServer>,
    /// What is kept of what policies are asked.
    pub policy_inputs: Inputs,
    /// How tokens are made.
    pub tokens: Tokens,
    /// Reverse proxies before the public listener, whose word on where a request came from counts.
    pub trusted_proxies: Vec<Network>,
    /// How often anybody may ask.
    pub rate_limits: Rates,
    /// Where the service itself may make requests to.
    pub outbound: Outbound,
    /// Whose word is taken for who a workload is.
    pub workloads: Workloads,
    /// How signing keys follow each other and are kept.
    pub keys: keys::Keys,
    /// Where people sign in.
    pub federation: federation::Federation,
    /// How the log is kept.
    pub audit: Audit,
    /// Where traces and metrics are sent to, if anywhere.
    pub telemetry: Option<telemetry::Telemetry>,
    /// Who may register a client without an administrator.
    pub registration: Registration,
    issuer_follows_listener: bool,
}

/// How tokens are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// What signs them.
    pub signing_alg: Algorithm,
    /// Life of the tokens that agents bring to the gateway.
    pub caller_ttl: Duration,
    /// Life of a single-use token, unless the policy shortens it.
    pub minted_ttl: Duration,
    /// Life of a discovery token.
    pub discovery_ttl: Duration,
    /// Life of a grant with refresh tokens: after it, the user is asked again.
    pub refresh_ttl: Duration,
    /// Life of a refresh token that is not used.
    pub refresh_idle_ttl: Duration,
}

impl Tokens {
    /// The life of the longest-lived token that a signing key signs.
    #[must_use]
    pub fn longest_life(&self) -> Duration {
        self.caller_ttl.max(self.minted_ttl).max(self.discovery_ttl)
    }
}

/// Where the service itself may make requests to.
#[derive(Clone, Debug, Default)]
pub struct Outbound {
    /// Networks that documents named by strangers (client metadata, keys) may be fetched from, beside public addresses.
    pub allowed: Vec<Network>,
    /// Certificate authorities to trust beside the system's, in PEM.
    pub authorities: Vec<u8>,
}

/// A value as an error shows it, where there is one to show.
fn shown(value: &str) -> String {
    match value {
        "" => String::new(),
        value => format!(" = {value:?}"),
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or not readable.
    #[error("cannot read the configuration {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, or a field that does not exist or has the wrong type.
    #[error("{path}: {problem}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// What is wrong, with line and field.
        problem: String,
    },
    /// A value that cannot be meant.
    #[error("{origin}: {field}{}: {problem}", shown(value))]
    Value {
        /// The file, or the environment variable.
        origin: String,
        /// Which field.
        field: String,
        /// What was given; empty where that is not shown, or there is nothing.
        value: String,
        /// What is wrong with it and what would be right.
        problem: String,
    },
    /// An environment variable that looks like an override but is none.
    #[error("the environment variable {name} overrides nothing; the overrides are {known}")]
    UnknownVariable {
        /// Its name.
        name: String,
        /// Those that exist.
        known: String,
    },
}

impl Config {
    /// Reads the file, if one is given, and the environment.
    ///
    /// # Errors
    /// Each names the field and the file or variable it came from.
    pub fn load(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut raw = raw::Source::read(path)?;
        raw.override_from(environment)?;
        check::check(&raw)
    }

    /// Where the public listener really listens, once it does: with a port of 0 and no issuer set, the issuer
    /// follows it.
    #[must_use]
    pub fn bound_to(mut self, public: SocketAddr) -> Self {
        self.public = public;
        if self.issuer_follows_listener {
            self.issuer = format!("http://{public}");
        }
        self
    }

    /// Where the signing keys were kept before the database had them.
    #[must_use]
    pub fn keys_dir(&self) -> PathBuf {
        self.data_dir.join("keys")
    }
}

#[cfg(test)]
mod tests;
