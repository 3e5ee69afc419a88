//! Gateways prove who they are with their secret, or with their certificate (RFC 8705).

use std::sync::Arc;

use axum::http::HeaderMap;

use crate::{
    http::{PeerCertificate, basic},
    registry::{Gateway, Registry, Status},
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
