//! Client credentials (OAuth 2.1 section 4.2): an agent without a user gets a token that speaks for itself.
//!
//! What it may do with it is what its registration and policy say; the token has no groups and no standing permission.

use super::issue;
use crate::{
    app::App,
    http::Peer,
    oauth::{
        OAuthError,
        caller_token::{CallerClaims, Subject},
        client_auth::Client,
        params::Params,
        target::Target,
        token::TokenResponse,
    },
    registry::{AuthMethod, Grant},
};

/// Issues a token to an authenticated client.
///
/// # Errors
/// RFC 6749 section 5.2 and RFC 8707 section 2.
pub async fn issue(
    app: &App,
    client: &Client,
    params: &Params,
    peer: Peer,
) -> Result<TokenResponse, OAuthError> {
    client.must_have(Grant::ClientCredentials)?;
    if client.agent().auth == AuthMethod::None {
        // OAuth 2.1 section 4.2: confidential clients only, or anybody could be this agent.
        let told =
            "a public client cannot use client_credentials; register it with a secret or a key";
        return Err(OAuthError::UnauthorizedClient(told.into()));
    }

    // Under an open write transaction nobody can change the registry: what is read now holds until the commit.
    let tx = app.store.write().await?;
    let registry = app.current_registry().await?;
    issue::still_approved(&registry, client)?;
    let target = Target::of(&registry, params.get("resource"), params.get("scope"))?;
    let mut claims = CallerClaims::new(
        app,
        Subject::Agent,
        (client.id(), client.authn()),
        &target.server.resource,
        &target.scope,
        app.clock.now(),
    );
    claims.cnf = client.key().cloned();
    issue::commit(
        app,
        tx,
        &claims,
        Some(&target.server),
        Grant::ClientCredentials,
        peer,
    )
    .await
}
