//! The configuration as written.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    ConfigError, federation::RawFederation, gateway::RawGateway, keys::RawKeys,
    rate_limits::RawRateLimits, workloads::RawWorkloads,
};

/// The TOML file. Every field may be absent.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    pub(super) issuer: Option<String>,
    pub(super) data_dir: Option<String>,
    pub(super) drain: Option<String>,
    #[serde(default)]
    pub(super) store: super::store::RawStore,
    #[serde(default)]
    pub(super) public: RawPublic,
    #[serde(default)]
    pub(super) gateway: RawGateway,
    #[serde(default)]
    pub(super) policy: super::policy::RawPolicy,
    #[serde(default)]
    pub(super) tokens: RawTokens,
    #[serde(default)]
    pub(super) outbound: RawOutbound,
    #[serde(default)]
    pub(super) rate_limits: RawRateLimits,
    #[serde(default)]
    pub(super) workloads: RawWorkloads,
    #[serde(default)]
    pub(super) keys: RawKeys,
    #[serde(default)]
    pub(super) federation: RawFederation,
    #[serde(default)]
    pub(super) audit: super::audit::RawAudit,
    #[serde(default)]
    pub(super) registration: super::registration::RawRegistration,
    #[serde(default)]
    pub(super) telemetry: super::telemetry::RawTelemetry,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPublic {
    pub(super) listen: Option<String>,
    #[serde(default)]
    pub(super) trusted_proxies: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTokens {
    pub(super) signing_alg: Option<String>,
    pub(super) caller_ttl: Option<String>,
    pub(super) minted_ttl: Option<String>,
    pub(super) discovery_ttl: Option<String>,
    pub(super) refresh_ttl: Option<String>,
    pub(super) refresh_idle_ttl: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOutbound {
    #[serde(default)]
    pub(super) allow: Vec<String>,
    pub(super) ca_file: Option<PathBuf>,
}

/// A field's path in the file and its variable in the environment.
const FIELDS: [(&str, &str); 12] = [
    ("issuer", "WRIT_ISSUER"),
    ("data_dir", "WRIT_DATA_DIR"),
    ("store.url", "WRIT_STORE_URL"),
    ("public.listen", "WRIT_PUBLIC__LISTEN"),
    ("gateway.listen", "WRIT_GATEWAY__LISTEN"),
    ("policy.dir", "WRIT_POLICY__DIR"),
    ("tokens.signing_alg", "WRIT_TOKENS__SIGNING_ALG"),
    ("tokens.caller_ttl", "WRIT_TOKENS__CALLER_TTL"),
    ("tokens.minted_ttl", "WRIT_TOKENS__MINTED_TTL"),
    ("tokens.discovery_ttl", "WRIT_TOKENS__DISCOVERY_TTL"),
    ("tokens.refresh_ttl", "WRIT_TOKENS__REFRESH_TTL"),
    ("tokens.refresh_idle_ttl", "WRIT_TOKENS__REFRESH_IDLE_TTL"),
];

/// The raw values and where each came from.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) values: RawConfig,
    file: Option<PathBuf>,
    overridden: BTreeSet<&'static str>,
    environment: Environment,
}

/// Variables that fields may name. Some hold secrets.
#[derive(Default)]
struct Environment(BTreeMap<String, String>);

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Environment({} variables)", self.0.len())
    }
}

impl Source {
    pub(super) fn read(path: Option<&Path>) -> Result<Self, ConfigError> {
        let values = match path {
            None => RawConfig::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
                    path: path.to_owned(),
                    source,
                })?;
                toml::from_str(&text).map_err(|e: toml::de::Error| ConfigError::Parse {
                    path: path.to_owned(),
                    problem: e.to_string().trim_end().to_owned(),
                })?
            }
        };
        Ok(Self {
            values,
            file: path.map(Path::to_owned),
            overridden: BTreeSet::new(),
            environment: Environment::default(),
        })
    }

    pub(super) fn override_from(
        &mut self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), ConfigError> {
        for (name, value) in environment {
            if let Some((field, _)) = FIELDS.iter().find(|(_, variable)| *variable == name) {
                *self.slot(field) = Some(value);
                self.overridden.insert(field);
            } else if name.starts_with("WRIT_") && name.contains("__") {
                let known = FIELDS.map(|(_, variable)| variable).join(", ");
                return Err(ConfigError::UnknownVariable { name, known });
            } else {
                self.environment.0.insert(name, value);
            }
        }
        Ok(())
    }

    /// The value of a variable that a field names.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.0.get(name).map(String::as_str)
    }

    fn slot(&mut self, field: &str) -> &mut Option<String> {
        let v = &mut self.values;
        match field {
            "issuer" => &mut v.issuer,
            "data_dir" => &mut v.data_dir,
            "store.url" => &mut v.store.url,
            "public.listen" => &mut v.public.listen,
            "gateway.listen" => &mut v.gateway.listen,
            "policy.dir" => &mut v.policy.dir,
            "tokens.signing_alg" => &mut v.tokens.signing_alg,
            "tokens.caller_ttl" => &mut v.tokens.caller_ttl,
            "tokens.minted_ttl" => &mut v.tokens.minted_ttl,
            "tokens.refresh_ttl" => &mut v.tokens.refresh_ttl,
            "tokens.refresh_idle_ttl" => &mut v.tokens.refresh_idle_ttl,
            _ => &mut v.tokens.discovery_ttl,
        }
    }

    /// Whether a field's value came from the environment.
    pub(super) fn is_overridden(&self, field: &str) -> bool {
        self.overridden.contains(field)
    }

    /// An error about a field, naming where its value came from.
    pub(super) fn wrong(
        &self,
        field: &str,
        value: &str,
        problem: impl Into<String>,
    ) -> ConfigError {
        let variable = FIELDS
            .iter()
            .find(|(f, _)| *f == field && self.overridden.contains(f));
        let origin = match (variable, &self.file) {
            (Some((_, variable)), _) => format!("environment variable {variable}"),
            (None, Some(file)) => file.display().to_string(),
            (None, None) => "default configuration".to_owned(),
        };
        ConfigError::Value {
            origin,
            field: field.to_owned(),
            value: value.to_owned(),
            problem: problem.into(),
        }
    }
}
