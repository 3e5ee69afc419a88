//! A provider says that it has signed somebody out (OpenID Connect Back-Channel Logout 1.0).
//!
//! Whatever was granted on the strength of their sign-in ends with it, in one transaction with its record: sessions here,
//! codes, tokens, and sign-ins that are on their way.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{
    Provider, ProviderError,
    logout_token::{self, LogoutToken, LogoutTokenError, MAX_AGE_S},
};
use crate::{
    app::{App, SharedApp},
    audit::{Kind, Record},
    http::Peer,
    oauth::{NO_STORE, params::Params},
    store::{
        StoreError, departures,
        identities::{self, Identity},
        sign_ins::{self, LogoutToken as Used},
    },
};

/// How often a key that is not known makes us ask the provider for its keys: anybody can name one.
const ASK_AGAIN: SignedDuration = SignedDuration::from_secs(10);

/// Why nobody is signed out.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("there is no such provider")]
    UnknownProvider,
    #[error("the body must be a form with one logout_token")]
    Form,
    #[error("{0}")]
    Token(#[from] LogoutTokenError),
    #[error("the token was used before")]
    Replayed,
    #[error("the provider's keys cannot be had: {0}")]
    Provider(#[from] ProviderError),
    #[error("the service failed; send the token again")]
    Store(#[from] StoreError),
}

/// `POST /oauth/backchannel-logout/{provider}`.
#[utoipa::path(
    post,
    path = "/oauth/backchannel-logout/{provider}",
    operation_id = "backchannel_logout",
    summary = "A provider signs somebody out (OpenID Connect Back-Channel Logout)",
    params(("provider" = String, Path, description = "The provider")),
    request_body(content = crate::openapi::schemas::LogoutRequest, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "They are out"), (status = 404, description = "There is none", body = crate::openapi::schemas::Problem), crate::openapi::schemas::Refused)
)]
pub async fn serve(
    State(app): State<SharedApp>,
    Path(id): Path<String>,
    peer: Peer,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match sign_out(&app, &id, peer, &headers, &body).await {
        Ok(()) => (StatusCode::OK, NO_STORE).into_response(),
        Err(refused) => {
            let (status, code) = match refused {
                Refused::UnknownProvider => (StatusCode::NOT_FOUND, "invalid_request"),
                Refused::Provider(_) | Refused::Store(_) => {
                    tracing::error!(provider = id, error = %refused, "a back-channel logout failed");
                    (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable")
                }
                _ => (StatusCode::BAD_REQUEST, "invalid_request"),
            };
            // Section 2.8.
            let body = json!({ "error": code, "error_description": refused.to_string() });
            (status, NO_STORE, Json(body)).into_response()
        }
    }
}

async fn sign_out(
    app: &App,
    id: &str,
    peer: Peer,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<(), Refused> {
    let provider = app
        .federation
        .provider(id)
        .ok_or(Refused::UnknownProvider)?;
    let form = Params::form(headers, body).map_err(|_| Refused::Form)?;
    let token = form.get("logout_token").ok_or(Refused::Form)?;
    let now = app.clock.now();
    let token = verified(app, provider, token, now).await?;
    let issuer = provider.config().issuer.as_str();

    let mut tx = app.store.write().await?;
    let kept = SignedDuration::from_secs(2 * MAX_AGE_S);
    let until = now.checked_add(kept).unwrap_or(now);
    let used = sign_ins::use_logout_token(
        tx.conn(),
        issuer,
        &token.jti,
        token.sid.as_deref(),
        now,
        until,
    );
    if used.await? == Used::Replayed {
        return Err(Refused::Replayed);
    }
    for user in departures::users_of(
        tx.conn(),
        issuer,
        token.subject.as_deref(),
        token.sid.as_deref(),
    )
    .await?
    {
        departures::end_everything(tx.conn(), &user, now).await?;
        tx.audit(&record(provider, &user, &token, peer, now))
            .await?;
    }
    if let Some(subject) = &token.subject {
        identities::end_sign_ins(tx.conn(), Identity { issuer, subject }, now).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Checks the token, with the keys fetched again if it is of one that is not known.
async fn verified(
    app: &App,
    provider: &Provider,
    token: &str,
    now: Timestamp,
) -> Result<LogoutToken, Refused> {
    let check = |metadata: &super::provider::Metadata| {
        logout_token::verify(token, metadata.jwks().keys(), provider.config(), now)
    };
    let metadata = provider.metadata(&app.outbound, now).await?;
    match check(&metadata) {
        Err(LogoutTokenError::UnknownKey) => {
            match provider.rotated(&app.outbound, ASK_AGAIN, now).await? {
                Some(metadata) => Ok(check(&metadata)?),
                None => Err(LogoutTokenError::UnknownKey.into()),
            }
        }
        done => Ok(done?),
    }
}

fn record(
    provider: &Provider,
    user: &str,
    token: &LogoutToken,
    peer: Peer,
    now: Timestamp,
) -> Record {
    let mut record = Record::new(Kind::SignOut, now);
    record.subject = Some(user.to_owned());
    record.reason = Some("the identity provider has signed them out".to_owned());
    record.source_ip = Some(peer.text());
    record.detail = Some(json!({ "provider": provider.config().id, "logout_token": token.jti }));
    record
}
