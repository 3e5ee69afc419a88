//! Client authentication at the token endpoint (RFC 6749 section 2.3, RFC 7523 section 2.2), all of it.
//!
//! A client uses the one method it is registered with, and one method a request. A [`Client`] is the proof that it
//! did; an assertion is used up before there is one.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use jiff::Timestamp;
use writ_policy::input::AgentAuthn;

use super::{OAuthError, assertion, assertion::AssertionError, params::Params};
use crate::{
    app::App,
    audit::TryKind,
    http::{Peer, basic},
    registry::{Agent, AuthMethod, Grant, Registry, Status},
    store::oauth::Assertion,
};

/// An agent that has proved who it is, and is approved.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Arc<Agent>,
}

impl Client {
    /// Its registration.
    #[must_use]
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Its `client_id`.
    #[must_use]
    pub fn id(&self) -> &str {
        self.agent.id.as_str()
    }

    /// How well it proved who it is.
    #[must_use]
    pub fn authn(&self) -> AgentAuthn {
        match self.agent.auth {
            AuthMethod::None => AgentAuthn::None,
            AuthMethod::Secret => AgentAuthn::Secret,
            AuthMethod::Key => AgentAuthn::Key,
            AuthMethod::Workload => AgentAuthn::Workload,
        }
    }

    /// Refuses a grant that the client is not registered for.
    ///
    /// # Errors
    /// [`OAuthError::UnauthorizedClient`].
    pub fn must_have(&self, grant: Grant) -> Result<(), OAuthError> {
        if self.agent.grants.contains(&grant) {
            return Ok(());
        }
        let told = format!(
            "this client is not registered for the grant {}",
            grant.as_str()
        );
        Err(OAuthError::UnauthorizedClient(told.into()))
    }
}

/// What a request brings to prove who its client is.
enum Presented<'a> {
    Nothing(&'a str),
    Secret(basic::Credentials),
    Assertion(&'a str),
}

/// Authenticates the client of a request. Failures are counted by address.
///
/// # Errors
/// [`OAuthError::InvalidClient`] when the client did not prove who it is or is not approved;
/// [`OAuthError::InvalidRequest`] when it is not clear how it tries to.
pub async fn authenticate(
    app: &App,
    registry: &Registry,
    headers: &HeaderMap,
    params: &Params,
    peer: Peer,
) -> Result<Client, OAuthError> {
    let now = app.clock.now();
    let presented = presented(headers, params)?;
    let authenticated = match &presented {
        Presented::Nothing(id) => public(registry, id),
        Presented::Secret(credentials) => secret(registry, credentials),
        Presented::Assertion(text) => key(app, registry, text, now).await,
    };
    let named = params.get("client_id");
    let client = authenticated.and_then(|client| match named {
        Some(id) if id != client.id() => {
            Err(refused("client_id is not the client that authenticated"))
        }
        _ => Ok(client),
    });
    if matches!(client, Err(OAuthError::InvalidClient(_))) {
        app.tries.note(TryKind::InvalidClient, &peer.text(), now);
    }
    client
}

/// Finds out which method a request uses (RFC 6749 section 2.3: not more than one).
fn presented<'a>(headers: &HeaderMap, params: &'a Params) -> Result<Presented<'a>, OAuthError> {
    let invalid = |told: &'static str| OAuthError::InvalidRequest(told.into());
    if params.get("client_secret").is_some() {
        return Err(invalid(
            "client_secret does not belong in the body: use HTTP Basic (client_secret_basic)",
        ));
    }
    let assertion = match (
        params.get("client_assertion_type"),
        params.get("client_assertion"),
    ) {
        (Some(assertion::TYPE), Some(text)) => Some(text),
        (None, None) => None,
        _ => {
            return Err(invalid(
                "client_assertion needs the client_assertion_type jwt-bearer of RFC 7523",
            ));
        }
    };
    match (headers.contains_key(header::AUTHORIZATION), assertion) {
        (true, Some(_)) => Err(invalid("use one way to authenticate, not Basic and an assertion at once")),
        (true, None) => basic::credentials(headers)
            .map(Presented::Secret)
            .ok_or_else(|| refused("the Authorization header is not one well-formed HTTP Basic credential")),
        (false, Some(text)) => Ok(Presented::Assertion(text)),
        (false, None) => params
            .get("client_id")
            .map(Presented::Nothing)
            .ok_or_else(|| refused("the client did not authenticate: send Basic, an assertion, or, as a public client, client_id")),
    }
}

fn public(registry: &Registry, id: &str) -> Result<Client, OAuthError> {
    let agent = registry
        .agent(id)
        .filter(|agent| agent.auth == AuthMethod::None)
        .ok_or_else(|| {
            refused("there is no public client of this id; a confidential client must authenticate")
        })?;
    approved(agent)
}

fn secret(registry: &Registry, credentials: &basic::Credentials) -> Result<Client, OAuthError> {
    let agent = registry.agent(&credentials.id);
    agent
        .filter(|agent| {
            agent
                .secret
                .as_ref()
                .is_some_and(|s| s.verify(credentials.secret()))
        })
        .ok_or_else(|| refused("the client's id or secret is wrong"))
        .and_then(approved)
}

async fn key(
    app: &App,
    registry: &Registry,
    text: &str,
    now: Timestamp,
) -> Result<Client, OAuthError> {
    let unknown = || refused("the client assertion is of no client that is registered with keys");
    let id = assertion::claimed_client(text)
        .ok_or_else(|| refused(AssertionError::NotAJwt.to_string()))?;
    let agent = registry.agent(&id).ok_or_else(unknown)?;
    let jwks = agent.jwks.as_ref().ok_or_else(unknown)?;
    let verified = assertion::verify(text, &id, jwks, &app.config.issuer, now)
        .map_err(|e| refused(e.to_string()))?;
    let client = approved(agent)?;
    let mut tx = app.store.write().await?;
    let used =
        crate::store::oauth::use_assertion(tx.conn(), &verified.digest, now, verified.expires_at)
            .await?;
    tx.commit().await?;
    match used {
        Assertion::Fresh => Ok(client),
        Assertion::Replayed => Err(refused(AssertionError::Replayed.to_string())),
    }
}

fn approved(agent: &Arc<Agent>) -> Result<Client, OAuthError> {
    match agent.status {
        Status::Approved => Ok(Client {
            agent: Arc::clone(agent),
        }),
        Status::Pending => Err(refused("this client still waits for approval")),
        Status::Disabled => Err(refused("this client is disabled")),
    }
}

fn refused(told: impl Into<super::Description>) -> OAuthError {
    OAuthError::InvalidClient(told.into())
}
