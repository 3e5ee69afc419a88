//! A gateway in the registry: a deployment of the filter, in one of its modes.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Id, Status};
use crate::{http::certificate::ClientCertificate, secret::SecretHash};

/// An Envoy (or a connector) that may ask for snapshots, for its own servers only, and mint or spend tokens for them.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Its id: the outer `act.sub` of the tokens it gets.
    pub id: Id,
    /// What it does.
    pub kind: GatewayKind,
    /// How it proves who it is.
    pub proof: GatewayProof,
    /// The ids of the servers it is for.
    pub servers: BTreeSet<String>,
    /// Where the registration stands.
    pub status: Status,
}

impl Gateway {
    /// Whether the server of this id is one of its own.
    #[must_use]
    pub fn is_for(&self, server: &str) -> bool {
        self.servers.contains(server)
    }
}

/// What a registration is for. None does another's work: who steals a guard's credential mints nothing, and a gateway
/// cannot spend a token before the call that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayKind {
    /// Stands before agents: decides about their calls and mints tokens for them.
    Gateway,
    /// Stands before a server: spends the tokens that reach it, and reports what should not have.
    Guard,
    /// Stands where agents' traffic leaves: reports MCP that goes past gateways, and knows of servers where they are.
    Egress,
}

impl GatewayKind {
    /// As in the registry.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Guard => "guard",
            Self::Egress => "egress",
        }
    }
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
