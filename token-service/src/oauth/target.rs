//! What a token is for: one registered server (RFC 8707), and the scope of it that was granted.

use std::sync::Arc;

use super::{OAuthError, scope::Scope};
use crate::registry::{Registry, Server, Status};

/// An approved server, and what of it is granted.
#[derive(Clone, Debug)]
pub struct Target {
    /// The server.
    pub server: Arc<Server>,
    /// Never more than the server has.
    pub scope: Scope,
}

impl Target {
    /// The approved server of a resource identifier, which is compared exactly, and the scope of it that is asked for.
    ///
    /// # Errors
    /// [`OAuthError::InvalidTarget`] and [`OAuthError::InvalidScope`].
    pub fn of(
        registry: &Registry,
        resource: Option<&str>,
        scope: Option<&str>,
    ) -> Result<Self, OAuthError> {
        let invalid = |told: &'static str| OAuthError::InvalidTarget(told.into());
        let resource = resource.ok_or_else(|| {
            invalid("resource is missing: name the server that the token is for (RFC 8707)")
        })?;
        let server = registry
            .server_by_resource(resource)
            .filter(|server| server.status == Status::Approved)
            .ok_or_else(|| {
                invalid(
                    "resource is not the identifier of a server that is registered here and in use",
                )
            })?;
        let scope = Scope::grant(scope, server)
            .map_err(|e| OAuthError::InvalidScope(e.to_string().into()))?;
        Ok(Self {
            server: Arc::clone(server),
            scope,
        })
    }
}
