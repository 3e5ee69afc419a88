//! Revocation (RFC 7009): a client gives back what it was given. An access or a refresh token ends its whole grant, and
//! with it everything that was derived from it; whoever has less to give back than it thinks is told no different.

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use serde_json::json;
use writ_core::token::Claims;

use super::{NO_STORE, OAuthError, client_auth, client_auth::Client, params::Params};
use crate::{
    app::{App, SharedApp},
    audit::{Kind, Record},
    clock::unix,
    http::Peer,
    secret::SecretHash,
    store::{
        WriteTx,
        grants::{self, Presented},
        oauth,
    },
};

/// `POST /oauth/revoke`.
///
/// # Errors
/// RFC 7009 section 2.2.1: only when the client did not prove who it is, or names no token.
#[utoipa::path(
    post,
    path = "/oauth/revoke",
    operation_id = "revoke",
    summary = "Take a token back (RFC 7009)",
    request_body(content = crate::openapi::schemas::RevocationRequest, content_type = "application/x-www-form-urlencoded"),
    security((), ("basic" = [])),
    responses((status = 200, description = "It is good no longer"), crate::openapi::schemas::Refused)
)]
pub async fn serve(
    State(app): State<SharedApp>,
    peer: Peer,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, OAuthError> {
    let params = Params::form(&headers, &body)?;
    let registry = app.current_registry().await?;
    let client = client_auth::authenticate(&app, &registry, &headers, &params, peer).await?;
    // `token_type_hint` is of no use: a token's form says what it is.
    let token = params.require("token")?;
    let now = app.clock.now();
    match app.verify(token, unix(now)).await {
        Ok(accepted) => access_token(&app, &client, &accepted.claims, peer).await?,
        Err(_) => refresh_token(&app, &client, token, peer).await?,
    }
    Ok((StatusCode::OK, NO_STORE).into_response())
}

async fn refresh_token(
    app: &App,
    client: &Client,
    token: &str,
    peer: Peer,
) -> Result<(), OAuthError> {
    let now = app.clock.now();
    let mut tx = app.store.write().await?;
    let family = match grants::present(tx.conn(), &SecretHash::of(token), now).await? {
        Presented::Current(family) | Presented::Used(family) if family.client_id == client.id() => {
            family
        }
        _ => return Ok(()),
    };
    grants::end(tx.conn(), &family.id, now).await?;
    let mut record = record(app, client, &family.user, peer);
    record.detail = Some(json!({ "grant_id": family.id }));
    commit(tx, &record).await
}

async fn access_token(
    app: &App,
    client: &Client,
    claims: &Claims,
    peer: Peer,
) -> Result<(), OAuthError> {
    if claims.client_id != client.id() || claims.minted {
        return Ok(());
    }
    let now = app.clock.now();
    let grant_id = claims.others.get("grant_id").and_then(|id| id.as_str());
    let mut tx = app.store.write().await?;
    match (grant_id, &claims.id) {
        (Some(grant_id), _) => grants::end(tx.conn(), grant_id, now).await?,
        (None, Some(jti)) => {
            oauth::revoke_token(tx.conn(), jti, now, grants::dead_by(now)).await?;
        }
        (None, None) => return Ok(()),
    }
    let mut record = record(app, client, &claims.subject, peer);
    record.token_id.clone_from(&claims.id);
    record.detail = Some(json!({ "grant_id": grant_id }));
    commit(tx, &record).await
}

fn record(app: &App, client: &Client, subject: &str, peer: Peer) -> Record {
    let mut record = Record::new(Kind::Revoked, app.clock.now());
    record.subject = Some(subject.to_owned());
    record.agent = Some(client.id().to_owned());
    record.source_ip = Some(peer.text());
    record
}

async fn commit(mut tx: WriteTx, record: &Record) -> Result<(), OAuthError> {
    tx.audit(record).await?;
    tx.commit().await?;
    Ok(())
}
