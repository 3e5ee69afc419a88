//! The attested identity that a workload proves instead of a secret or key of its own.

use serde::{Deserialize, Serialize};

/// What the SPIFFE ID standard (section 2.3) lets an id be long.
const MAX_SPIFFE_ID: usize = 2048;
/// What Kubernetes lets a namespace be long (RFC 1123 label).
const MAX_NAMESPACE: usize = 63;
/// What Kubernetes lets a service account's name be long (RFC 1123 subdomain).
const MAX_ACCOUNT: usize = 253;

/// An attested identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Workload {
    /// A SPIFFE ID, proved by a JWT-SVID of its trust domain.
    Spiffe {
        /// `spiffe://trust-domain/path`.
        id: String,
    },
    /// A Kubernetes service account, proved by a token of the cluster's issuer.
    Kubernetes {
        /// The cluster's issuer, as the configuration names it.
        issuer: String,
        /// `system:serviceaccount:NAMESPACE:NAME`.
        subject: String,
    },
}

/// Why a text names no workload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkloadError {
    /// SPIFFE ID standard, section 2.
    #[error(
        "{0:?} is no SPIFFE ID: write spiffe://TRUST-DOMAIN/PATH, the trust domain in lower case, the path without empty or dot segments"
    )]
    Spiffe(String),
    /// Kubernetes: the user name of a service account.
    #[error("{0:?} is no Kubernetes service account: write system:serviceaccount:NAMESPACE:NAME")]
    ServiceAccount(String),
}

impl Workload {
    /// The workload of a SPIFFE ID.
    ///
    /// # Errors
    /// When it is none, or names a whole trust domain.
    pub fn spiffe(id: &str) -> Result<Self, WorkloadError> {
        match trust_domain(id) {
            Some(_) => Ok(Self::Spiffe { id: id.to_owned() }),
            None => Err(WorkloadError::Spiffe(shown(id))),
        }
    }

    /// The workload of a service account of the cluster with this issuer.
    ///
    /// # Errors
    /// When the subject is not that of a service account.
    pub fn kubernetes(issuer: &str, subject: &str) -> Result<Self, WorkloadError> {
        if is_service_account(subject) {
            Ok(Self::Kubernetes {
                issuer: issuer.to_owned(),
                subject: subject.to_owned(),
            })
        } else {
            Err(WorkloadError::ServiceAccount(shown(subject)))
        }
    }
}

/// The trust domain of a workload's SPIFFE ID (SPIFFE ID standard, section 2): compared as text, because the grammar
/// leaves one way to write each.
#[must_use]
pub fn trust_domain(id: &str) -> Option<&str> {
    let (domain, path) = id.strip_prefix("spiffe://")?.split_once('/')?;
    let segments_fit = path.split('/').all(|segment| {
        !matches!(segment, "" | "." | "..")
            && segment
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
    });
    (is_trust_domain(domain) && segments_fit && id.len() <= MAX_SPIFFE_ID).then_some(domain)
}

/// Whether a text is the name of a trust domain (SPIFFE ID standard, section 2.1).
#[must_use]
pub fn is_trust_domain(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b))
}

fn is_service_account(subject: &str) -> bool {
    let fits = |text: &str, most: usize, also: &[u8]| {
        (1..=most).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || also.contains(&b))
    };
    subject
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'))
        .is_some_and(|(namespace, name)| {
            fits(namespace, MAX_NAMESPACE, b"-") && fits(name, MAX_ACCOUNT, b"-.")
        })
}

fn shown(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spiffe_id_has_a_trust_domain_and_a_path() {
        for (id, domain) in [
            ("spiffe://example.org/a", "example.org"),
            ("spiffe://prod_1/ns/Pay-ments/sa/x.y", "prod_1"),
        ] {
            assert_eq!(trust_domain(id), Some(domain), "{id}");
        }
        for bad in [
            "spiffe://example.org",
            "spiffe://example.org/",
            "spiffe:///a",
            "spiffe://Example.org/a",
            "spiffe://example.org:443/a",
            "spiffe://user@example.org/a",
            "spiffe://example.org/a/",
            "spiffe://example.org//a",
            "spiffe://example.org/../a",
            "spiffe://example.org/a?b",
            "spiffe://example.org/a#b",
            "spiffe://example.org/%61",
            "https://example.org/a",
            "SPIFFE://example.org/a",
            &format!("spiffe://example.org/{}", "a".repeat(2048)),
        ] {
            assert_eq!(trust_domain(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_service_account_has_a_namespace_and_a_name() {
        let of = |subject| Workload::kubernetes("https://cluster.test", subject);
        assert!(of("system:serviceaccount:payments:settle.bot").is_ok());
        for bad in [
            "system:serviceaccount:payments",
            "system:serviceaccount:payments:",
            "system:serviceaccount::bot",
            "system:serviceaccount:a:b:c",
            "system:node:worker",
            "alice",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
