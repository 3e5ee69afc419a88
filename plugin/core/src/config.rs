//! The filter's configuration: the JSON in the Envoy YAML, checked once.
//!
//! `Raw…` types are what is written; [`Config`] is what is meant. Whatever is wrong names its field.

mod egress;
mod guard;
mod place;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::message::check_named;
use crate::origin::Origin;
use crate::snapshot::signed::is_thumbprint;
use crate::token::{KeySet, KeySetError};
use crate::{rules, units};

pub use egress::{Egress, Unknown};
pub use guard::{Guard, Signature, SingleUse, UpstreamToken};

/// The headers that carry credentials and therefore never go upstream, beside `authorization`.
pub const CREDENTIAL_HEADERS: [&str; 16] = [
    "proxy-authorization",
    "cookie",
    "dpop",
    "api-key",
    "apikey",
    "x-api-key",
    "x-auth-token",
    "x-access-token",
    "x-id-token",
    "x-goog-api-key",
    "x-amz-security-token",
    "x-functions-key",
    "x-forwarded-access-token",
    "ocp-apim-subscription-key",
    "private-token",
    "x-github-token",
];

/// Why the configuration is not usable. Envoy does not start, and prints this.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON of the right shape.
    #[error("Writ's configuration: field `{field}`: {problem}")]
    Shape {
        /// Dotted path of the field.
        field: String,
        /// What is wrong.
        problem: String,
    },
    /// The right shape with a value that cannot be used.
    #[error("Writ's configuration: field `{field}`: {problem}")]
    Value {
        /// Dotted path of the field.
        field: String,
        /// What is wrong, and what to write.
        problem: String,
    },
}

impl ConfigError {
    fn value(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Value {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

/// A checked configuration.
#[derive(Debug)]
pub struct Config {
    /// Where decisions come from.
    pub mode: Mode,
    /// The largest request body, in bytes.
    pub max_body: usize,
    /// The largest answer that holds a list, in bytes.
    pub max_list: usize,
    /// The largest other answer, or event of a stream, that is held to be looked at, in bytes.
    pub max_result: usize,
    /// Tolerance between clocks, in seconds.
    pub skew_s: u64,
    /// Request headers that policies see, in lower case.
    pub policy_headers: Vec<String>,
    /// The origins of web pages, beside a server's own, whose requests are accepted.
    pub(crate) allowed_origins: Vec<Origin>,
    /// The hosts, beside a server's own, that requests may be sent to.
    pub(crate) allowed_hosts: Hosts,
}

/// The hosts, beside a server's own, that requests to it may be sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// Whichever the proxy routes.
    Any,
    /// These: names with their ports, or with the scheme's default port where none is named.
    These(Vec<String>),
}

/// Where decisions come from.
#[derive(Debug)]
pub enum Mode {
    /// From a token service, which also mints.
    Gateway(TokenService),
    /// From this configuration alone.
    Static(Box<Static>),
    /// From whoever minted the token: it is only held against what it came with.
    Guard(Box<Guard>),
    /// From the registry: MCP traffic that leaves is looked for, and all else passes.
    Egress(Egress),
}

impl Mode {
    /// The token service, where there is one.
    #[must_use]
    pub fn service(&self) -> Option<&TokenService> {
        match self {
            Self::Gateway(service) => Some(service),
            Self::Guard(guard) => Some(&guard.service),
            Self::Egress(egress) => Some(&egress.service),
            Self::Static(_) => None,
        }
    }
}

/// How to reach the token service.
#[derive(Debug)]
pub struct TokenService {
    /// The Envoy cluster.
    pub cluster: String,
    /// `authorization` of every request to it.
    pub credential: String,
    /// How long one call may take.
    pub timeout: Duration,
    /// Who this is to the token service.
    pub gateway_id: String,
    /// The thumbprint (RFC 7638) of the key that signs its snapshots.
    pub snapshot_key: String,
}

/// Everything a filter without a token service decides from.
#[derive(Debug)]
pub struct Static {
    /// Servers by id.
    pub servers: BTreeMap<String, StaticServer>,
    /// Trusted issuers with their keys and accepted `typ` values.
    pub issuers: Vec<(String, KeySet, Vec<String>)>,
    /// Rego source.
    pub rego: String,
    /// Rego's `data`, as JSON.
    pub data: String,
    /// Whether the caller's token goes upstream.
    pub caller_token: CallerToken,
}

/// What becomes of the caller's token in static mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallerToken {
    /// Taken off.
    Strip,
    /// Forwarded as it came: the server must be one that the token may be shown to.
    Keep,
}

/// A server of static mode.
#[derive(Debug)]
pub struct StaticServer {
    /// `host` to match, `*` for any.
    pub host: String,
    /// Path to match, exactly.
    pub path: String,
    /// The resource identifier (RFC 8707).
    pub resource: String,
    /// Named in the protected-resource metadata (RFC 9728).
    pub authorization_servers: Vec<String>,
    /// Named in the metadata and in challenges.
    pub scopes: Vec<String>,
    /// Methods beyond those of MCP that messages to and from it may name.
    pub methods: Vec<String>,
}

#[derive(Deserialize)]
struct RawKind {
    mode: RawMode,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawMode {
    Gateway,
    Static,
    Guard,
    Egress,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGateway {
    #[serde(rename = "mode")]
    _mode: RawMode,
    token_service: RawTokenService,
    #[serde(default)]
    limits: RawLimits,
    #[serde(default = "default_skew", deserialize_with = "units::duration")]
    clock_skew: Duration,
    #[serde(default)]
    policy_headers: Vec<String>,
    #[serde(default)]
    allowed_origins: Vec<String>,
    #[serde(default)]
    allowed_hosts: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTokenService {
    cluster: String,
    gateway_id: String,
    secret_env: Option<String>,
    #[serde(default = "default_timeout", deserialize_with = "units::duration")]
    timeout: Duration,
    snapshot_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStatic {
    #[serde(rename = "mode")]
    _mode: RawMode,
    servers: BTreeMap<String, RawServer>,
    issuers: BTreeMap<String, RawIssuer>,
    policy: RawPolicy,
    caller_token: CallerToken,
    #[serde(default)]
    limits: RawLimits,
    #[serde(default = "default_skew", deserialize_with = "units::duration")]
    clock_skew: Duration,
    #[serde(default)]
    policy_headers: Vec<String>,
    #[serde(default)]
    allowed_origins: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawServer {
    #[serde(default = "any_host")]
    host: String,
    path: String,
    resource: String,
    #[serde(default)]
    authorization_servers: Vec<String>,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    methods: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIssuer {
    jwks: serde_json::Value,
    #[serde(default = "access_token_types")]
    token_types: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    #[serde(deserialize_with = "text_or_lines")]
    rego: String,
    #[serde(default)]
    data: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLimits {
    #[serde(deserialize_with = "units::size")]
    body: usize,
    #[serde(deserialize_with = "units::size")]
    list: usize,
    #[serde(deserialize_with = "units::size")]
    result: usize,
}

impl Default for RawLimits {
    fn default() -> Self {
        Self {
            body: 1 << 20,
            list: 1 << 20,
            result: 1 << 20,
        }
    }
}

fn default_skew() -> Duration {
    Duration::from_secs(5)
}

fn default_timeout() -> Duration {
    Duration::from_secs(1)
}

/// A text, or the list of its lines: JSON has no other way to write several lines legibly.
fn text_or_lines<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "expected Rego as a string or as a list of lines"
    )]
    enum TextOrLines {
        Text(String),
        Lines(Vec<String>),
    }
    Ok(match TextOrLines::deserialize(deserializer)? {
        TextOrLines::Text(text) => text,
        TextOrLines::Lines(lines) => lines.join("\n"),
    })
}

fn any_host() -> String {
    "*".to_owned()
}

fn access_token_types() -> Vec<String> {
    vec!["at+jwt".to_owned()]
}

impl Config {
    /// Checks `json`; `env` reads the VM's environment variables (`vm_config.environment_variables`).
    pub fn read(json: &[u8], env: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        match shape::<RawKind>(json)?.mode {
            RawMode::Gateway => shape::<RawGateway>(json)?.check(env),
            RawMode::Static => shape::<RawStatic>(json)?.check(),
            RawMode::Guard => shape::<guard::RawGuard>(json)?.check(env),
            RawMode::Egress => shape::<egress::RawEgress>(json)?.check(env),
        }
    }
}

fn shape<T: for<'de> Deserialize<'de>>(json: &[u8]) -> Result<T, ConfigError> {
    serde_json::from_slice(json).map_err(|error| ConfigError::Shape {
        field: place::field(json, &error),
        problem: error.to_string(),
    })
}

impl RawTokenService {
    fn check(self, env: impl Fn(&str) -> Option<String>) -> Result<TokenService, ConfigError> {
        if self.cluster.is_empty() {
            return Err(ConfigError::value(
                "token_service.cluster",
                "name the Envoy cluster of the token service",
            ));
        }
        if self.gateway_id.is_empty() {
            return Err(ConfigError::value(
                "token_service.gateway_id",
                "name this gateway, as in `writ gateway add`",
            ));
        }
        // Without a secret, Envoy proves who it is with a client certificate of the cluster.
        let secret = match &self.secret_env {
            None => String::new(),
            Some(name) => env(name)
                .filter(|secret| !secret.is_empty())
                .ok_or_else(|| {
                    ConfigError::value(
                        "token_service.secret_env",
                        format!(
                            "the environment variable {name} is not set; set it for Envoy and list it in \
                             vm_config.environment_variables.host_env_keys"
                        ),
                    )
                })?,
        };
        if !(Duration::from_millis(10)..=Duration::from_mins(1)).contains(&self.timeout) {
            return Err(ConfigError::value(
                "token_service.timeout",
                "must be from 10ms to 1m",
            ));
        }
        let of_secret = secret.rsplit_once('.').map(|(_, key)| key.to_owned());
        let snapshot_key = self.snapshot_key.or(of_secret);
        let snapshot_key = snapshot_key.filter(|key| is_thumbprint(key)).ok_or_else(|| {
            ConfigError::value(
                "token_service.snapshot_key",
                "the secret does not end with the key that snapshots are signed with: put here what `writ snapshot key` prints",
            )
        })?;
        Ok(TokenService {
            cluster: self.cluster,
            credential: basic(&self.gateway_id, &secret),
            timeout: self.timeout,
            gateway_id: self.gateway_id,
            snapshot_key,
        })
    }
}

impl RawGateway {
    fn check(self, env: impl Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        let common = Common {
            limits: self.limits,
            clock_skew: self.clock_skew,
            policy_headers: self.policy_headers,
            allowed_origins: self.allowed_origins,
            allowed_hosts: hosts(self.allowed_hosts)?,
        };
        common.check(Mode::Gateway(self.token_service.check(env)?))
    }
}

/// RFC 7617 credentials, both parts form-encoded as RFC 6749 section 2.3.1 has it.
fn basic(id: &str, secret: &str) -> String {
    use base64::Engine as _;
    let form = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", form(id), form(secret));
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(pair)
    )
}

impl RawStatic {
    fn check(self) -> Result<Config, ConfigError> {
        if self.servers.is_empty() {
            return Err(ConfigError::value(
                "servers",
                "name at least one MCP server",
            ));
        }
        if self.issuers.is_empty() {
            return Err(ConfigError::value(
                "issuers",
                "name at least one issuer whose tokens are accepted",
            ));
        }
        let mut issuers = Vec::new();
        for (name, issuer) in self.issuers {
            let keys = KeySet::from_jwks(&issuer.jwks).map_err(|error: KeySetError| {
                ConfigError::value(format!("issuers.{name}.jwks"), error.to_string())
            })?;
            issuers.push((name, keys, issuer.token_types));
        }
        let mut servers = BTreeMap::new();
        for (id, server) in self.servers {
            if rules::absolute(&server.resource).is_none() {
                return Err(ConfigError::value(
                    format!("servers.{id}.resource"),
                    "must be an absolute URL without a fragment (RFC 8707)",
                ));
            }
            if !server.path.starts_with('/') {
                return Err(ConfigError::value(
                    format!("servers.{id}.path"),
                    "must start with `/`",
                ));
            }
            for method in &server.methods {
                check_named(method).map_err(|error| {
                    ConfigError::value(format!("servers.{id}.methods"), error.to_string())
                })?;
            }
            servers.insert(
                id,
                StaticServer {
                    host: server.host.to_ascii_lowercase(),
                    path: server.path,
                    resource: server.resource,
                    authorization_servers: server.authorization_servers,
                    scopes: server.scopes,
                    methods: server.methods,
                },
            );
        }
        let common = Common {
            limits: self.limits,
            clock_skew: self.clock_skew,
            policy_headers: self.policy_headers,
            allowed_origins: self.allowed_origins,
            // The table of servers looks at the host.
            allowed_hosts: Hosts::Any,
        };
        common.check(Mode::Static(Box::new(Static {
            servers,
            issuers,
            rego: self.policy.rego,
            data: serde_json::Value::Object(self.policy.data).to_string(),
            caller_token: self.caller_token,
        })))
    }
}

/// What all modes have.
struct Common {
    limits: RawLimits,
    clock_skew: Duration,
    policy_headers: Vec<String>,
    allowed_origins: Vec<String>,
    allowed_hosts: Hosts,
}

/// `*` is any host; it has to be said.
fn hosts(named: Vec<String>) -> Result<Hosts, ConfigError> {
    if named.iter().any(|host| host == "*") {
        return Ok(Hosts::Any);
    }
    for host in &named {
        let authority = host.parse::<http::uri::Authority>();
        if authority.is_err() || host.contains('@') {
            return Err(ConfigError::value(
                "allowed_hosts",
                format!(
                    "`{host}` is no host: write a name, with a port where it is not the usual one, or `*` for any"
                ),
            ));
        }
    }
    Ok(Hosts::These(named))
}

fn origins(named: &[String]) -> Result<Vec<Origin>, ConfigError> {
    named
        .iter()
        .map(|text| {
            Origin::parse(text).ok_or_else(|| {
                ConfigError::value(
                    "allowed_origins",
                    format!("`{text}` is no origin: write scheme and host, as in `https://app.example.com`"),
                )
            })
        })
        .collect()
}

impl Common {
    fn check(self, mode: Mode) -> Result<Config, ConfigError> {
        for (field, size) in [
            ("limits.body", self.limits.body),
            ("limits.list", self.limits.list),
            ("limits.result", self.limits.result),
        ] {
            if !(1 << 10..=16 << 20).contains(&size) {
                return Err(ConfigError::value(field, "must be from 1KiB to 16MiB"));
            }
        }
        if self.clock_skew > Duration::from_mins(1) {
            return Err(ConfigError::value("clock_skew", "must be at most 1m"));
        }
        let policy_headers: Vec<_> = self
            .policy_headers
            .iter()
            .map(|name| name.to_ascii_lowercase())
            .collect();
        if let Some(name) = policy_headers
            .iter()
            .find(|name| *name == "authorization" || CREDENTIAL_HEADERS.contains(&name.as_str()))
        {
            return Err(ConfigError::value(
                "policy_headers",
                format!("`{name}` carries a credential; policies see the token's claims instead"),
            ));
        }
        Ok(Config {
            mode,
            max_body: self.limits.body,
            max_list: self.limits.list,
            max_result: self.limits.result,
            skew_s: self.clock_skew.as_secs(),
            policy_headers,
            allowed_origins: origins(&self.allowed_origins)?,
            allowed_hosts: self.allowed_hosts,
        })
    }
}

#[cfg(test)]
mod tests;
