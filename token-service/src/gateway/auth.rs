//! Gateways, and servers that are their own guards, prove who they are with their secret, or with their certificate (RFC 8705).

use std::sync::Arc;

use axum::http::HeaderMap;
use writ_policy::event::Event;

use crate::{
    http::{PeerCertificate, basic},
    oauth::introspect,
    registry::{Gateway, GatewayProof, Registry, Status},
};

/// The gateway that proves itself, when it is approved in this registry. Where there is TLS only a certificate counts: a
/// secret is for connections that stay on this machine.
#[must_use]
pub fn authenticate(
    registry: &Registry,
    headers: &HeaderMap,
    PeerCertificate(certificate): &PeerCertificate,
) -> Option<Arc<Gateway>> {
    let gateway = match certificate {
        Some(certificate) => {
            let mut of = registry
                .gateways()
                .filter(|gateway| gateway.proof.is_certificate(certificate));
            // A certificate of two gateways says nothing about which of them this is.
            let (only, None) = (of.next()?, of.next()) else {
                return None;
            };
            only
        }
        None => {
            let credentials = basic::credentials(headers)?;
            let gateway = registry.gateway(&credentials.id)?;
            if !gateway.proof.is_secret(credentials.secret()) {
                return None;
            }
            gateway
        }
    };
    (gateway.status == Status::Approved).then(|| Arc::clone(gateway))
}

/// The guard that proves itself: a gateway, or a server that is its own guard and proves who it is with the secret that it
/// introspects with. Such a one asks for itself only, and nothing is minted for it.
#[must_use]
pub fn authenticate_guard(
    registry: &Registry,
    headers: &HeaderMap,
    certificate: &PeerCertificate,
) -> Option<Guard> {
    if let Some(gateway) = authenticate(registry, headers, certificate) {
        return Some(Guard::Gateway(gateway));
    }
    // As with gateways: a secret is for connections that stay on this machine.
    if certificate.0.is_some() {
        return None;
    }
    let server = introspect::authenticate(registry, headers)?;
    Some(Guard::Itself(Arc::new(Gateway {
        id: server.id.clone(),
        proof: GatewayProof::Secret(server.secret.clone()),
        servers: [server.id.to_string()].into(),
        status: server.status,
    })))
}

/// Who guards a server.
#[derive(Clone, Debug)]
pub enum Guard {
    /// A gateway.
    Gateway(Arc<Gateway>),
    /// The server itself, as if it were a gateway for nothing else.
    Itself(Arc<Gateway>),
}

impl Guard {
    /// What it is called on record: no server passes for a gateway.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Gateway(gateway) => gateway.id.to_string(),
            Self::Itself(server) => format!("server:{}", server.id),
        }
    }

    /// Whether it may put `event` on record. A server knows of nothing but what it refused itself.
    #[must_use]
    pub fn may_report(&self, event: &Event) -> bool {
        match (self, event) {
            (Self::Gateway(_), _) => true,
            (Self::Itself(server), Event::Rogue(rogue)) => rogue.server == server.id.as_str(),
            (Self::Itself(_), _) => false,
        }
    }

    /// What it may ask about.
    #[must_use]
    pub fn as_gateway(&self) -> &Arc<Gateway> {
        match self {
            Self::Gateway(gateway) | Self::Itself(gateway) => gateway,
        }
    }
}
