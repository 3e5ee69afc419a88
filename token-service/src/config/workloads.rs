//! `[workloads]`: whose word is taken for who a workload is. Nobody's, unless it is named here.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::{ConfigError, is_loopback_host, raw::Source};
use crate::{
    oauth::{remote_keys::KeyPlace, workload},
    registry::is_trust_domain,
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWorkloads {
    #[serde(default)]
    spiffe: Vec<RawTrustDomain>,
    #[serde(default)]
    kubernetes: Vec<RawCluster>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTrustDomain {
    trust_domain: String,
    bundle_file: Option<PathBuf>,
    bundle_url: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCluster {
    issuer: String,
    jwks_file: Option<PathBuf>,
    jwks_url: Option<String>,
}

/// Whose word is taken for who a workload is.
#[derive(Clone, Debug, Default)]
pub struct Workloads {
    /// SPIFFE trust domains, each with its trust bundle.
    pub spiffe: Vec<TrustDomain>,
    /// Kubernetes clusters, by the issuer of their service-account tokens.
    pub kubernetes: Vec<Cluster>,
}

/// A SPIFFE trust domain.
#[derive(Clone, Debug)]
pub struct TrustDomain {
    /// Its name.
    pub name: String,
    /// Its trust bundle.
    pub bundle: KeyPlace,
}

/// A Kubernetes cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// `iss` of its service-account tokens.
    pub issuer: String,
    /// What they are signed with.
    pub keys: KeyPlace,
}

impl Workloads {
    pub(super) fn check(source: &Source) -> Result<Self, ConfigError> {
        let raw = &source.values.workloads;
        let mut checked = Self::default();
        for (at, domain) in raw.spiffe.iter().enumerate() {
            let field = Field {
                source,
                table: format!("workloads.spiffe[{at}]"),
            };
            let name = &domain.trust_domain;
            if !is_trust_domain(name) {
                let problem =
                    "must be the name of a trust domain, such as example.org, without spiffe://";
                return Err(field.wrong("trust_domain", name, problem));
            }
            if checked.spiffe.iter().any(|one| one.name == *name) {
                return Err(field.wrong("trust_domain", name, "is there twice"));
            }
            let bundle = match (&domain.bundle_file, &domain.bundle_url) {
                (Some(path), None) => field.file("bundle_file", path, workload::is_svid_key)?,
                (None, Some(url)) => KeyPlace::Configured(field.url("bundle_url", url)?),
                _ => {
                    let problem = "needs its trust bundle: either bundle_file or bundle_url";
                    return Err(field.wrong("trust_domain", name, problem));
                }
            };
            checked.spiffe.push(TrustDomain {
                name: name.clone(),
                bundle,
            });
        }
        for (at, cluster) in raw.kubernetes.iter().enumerate() {
            let field = Field {
                source,
                table: format!("workloads.kubernetes[{at}]"),
            };
            let issuer = &cluster.issuer;
            field.url("issuer", issuer)?;
            if checked.kubernetes.iter().any(|one| one.issuer == *issuer) {
                return Err(field.wrong("issuer", issuer, "is there twice"));
            }
            checked.kubernetes.push(Cluster {
                issuer: issuer.clone(),
                keys: field.issuer_keys(
                    issuer,
                    cluster.jwks_file.as_ref(),
                    cluster.jwks_url.as_deref(),
                )?,
            });
        }
        Ok(checked)
    }
}

/// The fields of one entry, for its errors.
struct Field<'a> {
    source: &'a Source,
    table: String,
}

impl Field<'_> {
    fn wrong(&self, field: &str, value: &str, problem: impl Into<String>) -> ConfigError {
        self.source
            .wrong(&format!("{}.{field}", self.table), value, problem)
    }

    /// https, or http on this machine.
    fn url(&self, field: &str, given: &str) -> Result<Url, ConfigError> {
        let url = Url::parse(given)
            .map_err(|e| self.wrong(field, given, format!("is not a URL ({e})")))?;
        match url.scheme() {
            "https" => Ok(url),
            "http" if is_loopback_host(&url) => Ok(url),
            _ => Err(self.wrong(field, given, "must be https: keys decide who is who")),
        }
    }

    /// A file with at least one key that is of use. What is in it later is read then.
    fn file(
        &self,
        field: &str,
        path: &PathBuf,
        of_use: fn(&Value) -> bool,
    ) -> Result<KeyPlace, ConfigError> {
        let wrong = |problem: String| self.wrong(field, &path.display().to_string(), problem);
        let text = std::fs::read(path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
        let jwks: Value =
            serde_json::from_slice(&text).map_err(|e| wrong(format!("is not JSON: {e}")))?;
        let keys = jwks.get("keys").and_then(Value::as_array);
        if keys.is_some_and(|keys| keys.iter().any(of_use)) {
            return Ok(KeyPlace::File(path.clone()));
        }
        let problem = "is no JWK set with a public key for EdDSA, ES256 or RS256";
        Err(wrong(problem.to_owned()))
    }

    fn issuer_keys(
        &self,
        issuer: &str,
        file: Option<&PathBuf>,
        url: Option<&str>,
    ) -> Result<KeyPlace, ConfigError> {
        match (file, url) {
            (Some(path), None) => self.file("jwks_file", path, crate::oauth::is_public_key),
            (None, Some(url)) => Ok(KeyPlace::Configured(self.url("jwks_url", url)?)),
            (None, None) => Ok(KeyPlace::Discovered(issuer.to_owned())),
            (Some(_), Some(url)) => Err(self.wrong(
                "jwks_url",
                url,
                "cannot go with jwks_file: name one of them",
            )),
        }
    }
}
