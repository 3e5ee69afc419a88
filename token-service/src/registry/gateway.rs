//! A gateway in the registry: a deployment of the filter.

use std::collections::BTreeSet;

use super::{Id, Status};
use crate::{http::certificate::ClientCertificate, secret::SecretHash};

/// An Envoy that may ask for snapshots and tokens, for its own servers only.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Its id: the outer `act.sub` of the tokens it gets.
    pub id: Id,
    /// How it proves who it is.
    pub proof: GatewayProof,
    /// The ids of the servers it may mint for.
    pub servers: BTreeSet<String>,
    /// Where the registration stands.
    pub status: Status,
}

/// How a gateway proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatewayProof {
    /// A secret, which never leaves the machine: on a loopback address or a Unix socket.
    Secret(SecretHash),
    /// A certificate with this name, by an authority that is trusted for gateways (RFC 8705 section 2.1).
    CertificateName(String),
    /// This certificate (RFC 8705 section 2.2).
    Certificate([u8; 32]),
}

impl GatewayProof {
    /// Whether `presented` is the gateway's secret.
    #[must_use]
    pub fn is_secret(&self, presented: &str) -> bool {
        matches!(self, Self::Secret(hash) if hash.verify(presented))
    }

    /// Whether this certificate is the gateway's.
    #[must_use]
    pub fn is_certificate(&self, certificate: &ClientCertificate) -> bool {
        match self {
            Self::Secret(_) => false,
            Self::CertificateName(name) => certificate.names.contains(name),
            Self::Certificate(sha256) => certificate.sha256 == *sha256,
        }
    }
}
