//! The JWT bearer grant (RFC 7523 section 2.1), with an assertion of the enterprise's identity provider ([`IdJag`]).
//!
//! The client proves itself, the provider says for whom and for what; the user is the one of this provider's sign-ins, and
//! whoever or whatever is switched off here stays so. There is no refresh token: the provider is asked again.

use super::issue;
use crate::{
    app::App,
    federation::{self, Failure},
    http::Peer,
    oauth::{
        OAuthError,
        caller_token::{CallerClaims, Subject},
        client_auth::Client,
        id_jag::{IdJag, IdJagError},
        params::Params,
        scope::Scope,
        target::Target,
        token::TokenResponse,
    },
    registry::{AuthMethod, Grant},
    store::oauth::{Assertion, use_assertion},
};

/// Issues a token for a user whose provider says that this client may act for them.
///
/// # Errors
/// RFC 6749 section 5.2, RFC 7523 section 3.1 and RFC 8707 section 2.
pub async fn issue(
    app: &App,
    client: &Client,
    params: &Params,
    peer: Peer,
) -> Result<TokenResponse, OAuthError> {
    client.must_have(Grant::JwtBearer)?;
    if client.agent().auth == AuthMethod::None {
        // Or the provider could give its people's access to anybody.
        let told = "a public client cannot use an assertion; register it with a secret or a key";
        return Err(OAuthError::UnauthorizedClient(told.into()));
    }
    let now = app.clock.now();
    let assertion = params.require("assertion")?;
    let granted = IdJag::verify(app, assertion, client.id(), client.key(), now)
        .await
        .map_err(|e| match e {
            IdJagError::Keys(_) => OAuthError::TemporarilyUnavailable(
                "the keys of the identity provider cannot be had at the moment; try again".into(),
            ),
            other => OAuthError::InvalidGrant(other.to_string().into()),
        })?;
    if params
        .get("resource")
        .is_some_and(|resource| resource != granted.resource)
    {
        let told = "resource is not the one of the assertion";
        return Err(OAuthError::InvalidTarget(told.into()));
    }

    // Under an open write transaction nobody can change the registry: what is read now holds until the commit.
    let mut tx = app.store.write().await?;
    let registry = app.current_registry().await?;
    issue::still_approved(&registry, client)?;
    if let Assertion::Replayed =
        use_assertion(tx.conn(), &granted.digest, now, granted.expires_at).await?
    {
        let told = "the assertion was used before; ask the identity provider for another";
        return Err(OAuthError::InvalidGrant(told.into()));
    }
    let user = federation::user_of(tx.conn(), &granted, now)
        .await
        .map_err(|e| match e {
            Failure::Store(e) => e.into(),
            other => OAuthError::InvalidGrant(other.to_string().into()),
        })?;
    let target = Target::of(&registry, Some(&granted.resource), None)?;
    let asked = params.get("scope").unwrap_or(&granted.scope);
    let scope = Scope::common(&target.server, &granted.scope, asked);
    let mut claims = CallerClaims::new(
        app,
        Subject::User(user),
        (client.id(), client.authn()),
        &target.server.resource,
        &scope,
        now,
    );
    claims.cnf = client.key().cloned();
    let server = Some(&*target.server);
    issue::commit(app, tx, &claims, server, Grant::JwtBearer, peer).await
}
