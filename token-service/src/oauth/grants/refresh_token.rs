//! The refresh token grant (OAuth 2.1 section 4.3): goes on with what a user granted, for less or as much, never more.
//!
//! Each token is good once and replaced by the next. One that is used twice ends the family, without a grace period: a
//! client that lost an answer signs in again, and a thief is shut out.

use serde_json::json;

use super::{
    issue,
    on_behalf::{OnBehalf, active_user, same_resource},
};
use crate::{
    app::App,
    audit::{Kind, Record, Verdict},
    http::Peer,
    oauth::{
        OAuthError, client_auth::Client, params::Params, token::TokenResponse, wanted::Wanted,
    },
    registry::Grant,
    secret::SecretHash,
    store::{
        WriteTx,
        grants::{self, Family, Presented},
    },
};

/// Exchanges a refresh token for new tokens.
///
/// # Errors
/// RFC 6749 section 5.2 and RFC 8707 section 2.
pub async fn refresh(
    app: &App,
    client: &Client,
    params: &Params,
    peer: Peer,
) -> Result<TokenResponse, OAuthError> {
    client.must_have(Grant::RefreshToken)?;
    let token = SecretHash::of(params.require("refresh_token")?);
    let now = app.clock.now();

    // Under an open write transaction nobody can change the registry: what is read now holds until the commit.
    let mut tx = app.store.write().await?;
    let registry = app.current_registry().await?;
    issue::still_approved(&registry, client)?;
    let family = match grants::present(tx.conn(), &token, now).await? {
        Presented::Current(family) if family.client_id == client.id() => family,
        Presented::Used(family) if family.client_id == client.id() => {
            end(app, tx, family, peer).await?;
            return Err(refused(
                "the refresh token was used before; everything that was granted with it is revoked, sign in again",
            ));
        }
        Presented::Ended(family) if family.client_id == client.id() => {
            return Err(refused(
                "the grant has ended or run out; the user has to sign in again",
            ));
        }
        // Another client's is as good as none: it must not be able to end what it got hold of.
        _ => return Err(refused("there is no such refresh token")),
    };
    if family.key.is_some() && family.key.as_deref() != client.key().map(|key| key.jkt.as_str()) {
        return Err(OAuthError::InvalidDpopProof(
            "the refresh token is bound to a key: send a DPoP proof of that key".into(),
        ));
    }
    let user = active_user(&mut tx, &family.user).await?;
    same_resource(params.get("resource"), family.resource.as_deref())?;
    let wanted = Wanted::granted(&registry, family.resource.as_deref(), &family.scope)?
        .narrowed(params.get("scope"))?;
    grants::use_up(tx.conn(), &token, now).await?;
    let issued = OnBehalf {
        client,
        user,
        family: &family,
        wanted: &wanted,
        grant: Grant::RefreshToken,
        // OpenID Connect Core section 12.2: there is none to repeat.
        nonce: None,
        peer,
    };
    issued.issue(app, tx).await
}

async fn end(app: &App, mut tx: WriteTx, family: Family, peer: Peer) -> Result<(), OAuthError> {
    let now = app.clock.now();
    grants::end(tx.conn(), &family.id, now).await?;
    let mut record = Record::new(Kind::TokenIssued, now);
    record.subject = Some(family.user);
    record.agent = Some(family.client_id);
    record.decision = Some(Verdict::Deny);
    record.reason = Some("a refresh token was used again; the whole grant is revoked".to_owned());
    record.source_ip = Some(peer.text());
    record.detail = Some(json!({ "grant_id": family.id }));
    tx.audit(&record).await?;
    tx.commit().await?;
    Ok(())
}

fn refused(told: &'static str) -> OAuthError {
    OAuthError::InvalidGrant(told.into())
}
