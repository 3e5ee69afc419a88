//! Gateways prove who they are with their secret.

use std::sync::Arc;

use axum::http::HeaderMap;

use crate::{
    http::basic,
    registry::{Gateway, Registry, Status},
};

/// The gateway whose Basic credentials these are, when it is approved in this registry.
#[must_use]
pub fn authenticate(registry: &Registry, headers: &HeaderMap) -> Option<Arc<Gateway>> {
    let credentials = basic::credentials(headers)?;
    let gateway = registry.gateway(&credentials.id)?;
    let proven = gateway.secret.verify(credentials.secret()) && gateway.status == Status::Approved;
    proven.then(|| Arc::clone(gateway))
}
