//! The authorization code grant (OAuth 2.1 section 4.1.3): a code, once, by the client it was given to.
//!
//! A code that comes a second time means that somebody else has it too: the grant it began is ended.

use super::{
    issue,
    on_behalf::{OnBehalf, active_user, bound_to, family_ends, same_resource},
};
use crate::{
    app::App,
    audit::{Kind, Record, Verdict},
    http::Peer,
    oauth::{
        OAuthError, client_auth::Client, params::Params, pkce::Challenge, token::TokenResponse,
        wanted::Wanted,
    },
    registry::Grant,
    secret::SecretHash,
    store::{
        WriteTx,
        grants::{self, Family},
        oauth::{self, CodeGrant, Redeemed},
    },
};
use serde_json::json;

/// Redeems a code.
///
/// # Errors
/// RFC 6749 section 5.2 and RFC 8707 section 2.
pub async fn redeem(
    app: &App,
    client: &Client,
    params: &Params,
    peer: Peer,
) -> Result<TokenResponse, OAuthError> {
    client.must_have(Grant::AuthorizationCode)?;
    let code = SecretHash::of(params.require("code")?);
    let verifier = params.require("code_verifier")?;
    let now = app.clock.now();

    // Under an open write transaction nobody can change the registry: what is read now holds until the commit.
    let mut tx = app.store.write().await?;
    let registry = app.current_registry().await?;
    issue::still_approved(&registry, client)?;
    let grant_id = crate::secret::new_id();
    let grant = match oauth::redeem_code(tx.conn(), &code, &grant_id, now).await? {
        Redeemed::Granted(grant) => grant,
        Redeemed::Again { grant, grant_id } if grant.client_id == client.id() => {
            end(app, tx, grant, &grant_id, peer).await?;
            return Err(refused("the code was used before; what it gave is revoked"));
        }
        Redeemed::Expired => return Err(refused("the code has expired; start again")),
        Redeemed::Again { .. } | Redeemed::Unknown => return Err(refused("there is no such code")),
    };
    check_binding(&grant, client, params, verifier)?;
    let user = active_user(&mut tx, &grant.user).await?;
    same_resource(params.get("resource"), grant.resource.as_deref())?;
    let wanted = Wanted::granted(&registry, grant.resource.as_deref(), &grant.scope)?;
    let family = Family {
        id: grant_id,
        client_id: grant.client_id,
        user: grant.user,
        resource: grant.resource,
        scope: grant.scope,
        auth_time: grant.auth_time,
        session_id: grant.session_id,
        key: bound_to(client),
        expires_at: family_ends(app, client, now),
    };
    grants::begin(tx.conn(), &family, now).await?;
    let issued = OnBehalf {
        client,
        user,
        family: &family,
        wanted: &wanted,
        grant: Grant::AuthorizationCode,
        nonce: grant.nonce,
        peer,
    };
    issued.issue(app, tx).await
}

/// Whoever presents the code must be whom it was given to. The transaction is dropped on an error, so that a stolen
/// code cannot be spoiled for its owner.
fn check_binding(
    grant: &CodeGrant,
    client: &Client,
    params: &Params,
    verifier: &str,
) -> Result<(), OAuthError> {
    if grant.client_id != client.id() {
        return Err(refused("there is no such code"));
    }
    // OAuth 2.1 section 10.2: no longer needed beside PKCE, but what is sent must be right.
    if params
        .get("redirect_uri")
        .is_some_and(|uri| uri != grant.redirect_uri)
    {
        return Err(refused(
            "redirect_uri is not the one of the authorization request",
        ));
    }
    let answered = Challenge::parse(&grant.code_challenge).is_some_and(|c| c.answers(verifier));
    if !answered {
        return Err(refused(
            "code_verifier does not match the code_challenge of the authorization request",
        ));
    }
    Ok(())
}

async fn end(
    app: &App,
    mut tx: WriteTx,
    grant: CodeGrant,
    grant_id: &str,
    peer: Peer,
) -> Result<(), OAuthError> {
    let now = app.clock.now();
    grants::end(tx.conn(), grant_id, now).await?;
    let mut record = Record::new(Kind::TokenIssued, now);
    record.subject = Some(grant.user);
    record.agent = Some(grant.client_id);
    record.decision = Some(Verdict::Deny);
    record.reason =
        Some("an authorization code was used again; what it gave is revoked".to_owned());
    record.source_ip = Some(peer.text());
    record.detail = Some(json!({ "grant_id": grant_id }));
    tx.audit(&record).await?;
    tx.commit().await?;
    Ok(())
}

fn refused(told: &'static str) -> OAuthError {
    OAuthError::InvalidGrant(told.into())
}
