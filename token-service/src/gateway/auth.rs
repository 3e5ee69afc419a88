//! Gateways, and servers that are their own guards, prove who they are with their secret, or with their certificate (RFC 8705).

use std::sync::Arc;

use axum::http::HeaderMap;
use writ_policy::event::Event;

use crate::{
    http::{PeerCertificate, basic},
    oauth::introspect,
    registry::{Gateway, GatewayKind, GatewayProof, Registry, Status},
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

/// Who proves themselves at the gateways' listener: a gateway or a guard, or a server that is its own guard and proves who it
/// is with the secret that it introspects with. Such a one asks for itself only.
#[must_use]
pub fn authenticate_any(
    registry: &Registry,
    headers: &HeaderMap,
    certificate: &PeerCertificate,
) -> Option<Asker> {
    if let Some(gateway) = authenticate(registry, headers, certificate) {
        return Some(Asker::Registered(gateway));
    }
    // As with gateways: a secret is for connections that stay on this machine.
    if certificate.0.is_some() {
        return None;
    }
    let server = introspect::authenticate(registry, headers)?;
    Some(Asker::Itself(Arc::new(Gateway {
        id: server.id.clone(),
        kind: GatewayKind::Guard,
        proof: GatewayProof::Secret(server.secret.clone()),
        servers: [server.id.to_string()].into(),
        status: server.status,
    })))
}

/// Who asks at the gateways' listener.
#[derive(Clone, Debug)]
pub enum Asker {
    /// A gateway or a guard.
    Registered(Arc<Gateway>),
    /// A server, as if it were a guard for nothing but itself.
    Itself(Arc<Gateway>),
}

impl Asker {
    /// What it is called on record: no server passes for a gateway.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Registered(gateway) => gateway.id.to_string(),
            Self::Itself(server) => format!("server:{}", server.id),
        }
    }

    /// Whether it may put `event` on record: a gateway what became of calls to its own servers, a guard what it refused, an
    /// egress what left.
    #[must_use]
    pub fn may_report(&self, event: &Event) -> bool {
        let of = self.as_gateway();
        match (of.kind, event) {
            (GatewayKind::Gateway, Event::Denied(denied)) => of.is_for(&denied.call.server),
            (GatewayKind::Gateway, Event::DiscoveryUse(used)) => of.is_for(&used.call.server),
            (GatewayKind::Gateway, Event::PinChanged(changed)) => of.is_for(&changed.server),
            (GatewayKind::Gateway, Event::Outcome(_) | Event::Unauthenticated(_)) => true,
            (GatewayKind::Guard, Event::Rogue(rogue)) => of.is_for(&rogue.server),
            (GatewayKind::Egress, Event::ShadowServer(_)) => true,
            (GatewayKind::Gateway, Event::Rogue(_) | Event::ShadowServer(_))
            | (GatewayKind::Guard | GatewayKind::Egress, _) => false,
        }
    }

    /// What it may ask about.
    #[must_use]
    pub fn as_gateway(&self) -> &Arc<Gateway> {
        match self {
            Self::Registered(gateway) | Self::Itself(gateway) => gateway,
        }
    }
}
