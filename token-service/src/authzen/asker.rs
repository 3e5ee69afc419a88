//! Who asks, and what is their business: nobody asks without proving who they are.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::HeaderMap,
    middleware::Next,
    response::Response,
};

use super::answer::AuthZenError;
use crate::{
    app::SharedApp,
    audit::TryKind,
    gateway::{self, authenticate_any},
    http::{Peer, PeerCertificate, basic},
    oauth::{client_auth, introspect},
    registry::{Agent, Gateway, Registry, Server},
};

/// Who has proved who they are.
#[derive(Clone, Debug)]
pub(super) enum Asker {
    /// A gateway or guard, or a server at the gateways' listener: about its own servers.
    Gateway(gateway::Asker),
    /// A server: about itself.
    Server(Arc<Server>),
    /// An agent: about itself, where it acts for nobody else.
    Agent(Arc<Agent>),
}

impl Asker {
    /// What it is called on record.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Gateway(asker) => asker.name(),
            Self::Server(server) => format!("server:{}", server.id),
            Self::Agent(agent) => format!("agent:{}", agent.id),
        }
    }

    /// Whether it may ask about calls to this server.
    pub(super) fn is_for(&self, server: &str) -> bool {
        match self {
            Self::Gateway(asker) => asker.as_gateway().is_for(server),
            Self::Server(own) => own.id.as_str() == server,
            Self::Agent(_) => true,
        }
    }

    /// The only server that it may ask about, where that is one.
    pub(super) fn only_server(&self) -> Option<&str> {
        let of = |gateway: &'_ Gateway| gateway.servers.len() == 1;
        match self {
            Self::Gateway(asker) if of(asker.as_gateway()) => {
                asker.as_gateway().servers.first().map(String::as_str)
            }
            Self::Server(own) => Some(own.id.as_str()),
            Self::Gateway(_) | Self::Agent(_) => None,
        }
    }

    /// The agent that asks.
    pub(super) fn agent(&self) -> Option<&str> {
        match self {
            Self::Agent(agent) => Some(agent.id.as_str()),
            Self::Gateway(_) | Self::Server(_) => None,
        }
    }
}

/// Lets through who proves themselves at the public listener: a server or an agent, with its secret.
pub(super) async fn on_public(
    State(app): State<SharedApp>,
    peer: Peer,
    mut request: Request,
    next: Next,
) -> Result<Response, AuthZenError> {
    let registry = app.current_registry().await?;
    let headers = request.headers();
    let Some(asker) = by_secret(&registry, headers) else {
        let kind = match basic::credentials(headers) {
            Some(given) if registry.agent(&given.id).is_some() => TryKind::InvalidClient,
            _ => TryKind::InvalidServer,
        };
        app.tries.note(kind, &peer.text(), app.clock.now());
        app.limits.address(peer).await?;
        return Err(AuthZenError::Unauthorized);
    };
    if let Some(id) = asker.agent() {
        app.limits.client(id).await?;
    }
    request.extensions_mut().insert(asker);
    Ok(next.run(request).await)
}

fn by_secret(registry: &Registry, headers: &HeaderMap) -> Option<Asker> {
    if let Some(server) = introspect::authenticate(registry, headers) {
        return Some(Asker::Server(server));
    }
    client_auth::by_basic(registry, headers).map(Asker::Agent)
}

/// Lets through who proves themselves at the gateways' listener.
pub(super) async fn at_gateways(
    State(app): State<SharedApp>,
    peer: Peer,
    certificate: PeerCertificate,
    mut request: Request,
    next: Next,
) -> Result<Response, AuthZenError> {
    let registry = app.current_registry().await?;
    let Some(asker) = authenticate_any(&registry, request.headers(), &certificate) else {
        app.tries
            .note(TryKind::InvalidGateway, &peer.text(), app.clock.now());
        return Err(AuthZenError::Unauthorized);
    };
    request.extensions_mut().insert(Asker::Gateway(asker));
    Ok(next.run(request).await)
}
