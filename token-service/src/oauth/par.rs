//! Pushed authorization requests (RFC 9126): a client hands its request over directly, and the browser carries only a
//! reference to it, which is good for this client, for a minute, and for one answer.

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use jiff::SignedDuration;
use serde::Serialize;

use super::{NO_STORE, OAuthError, authorize, client_auth, params::Params};
use crate::{
    app::SharedApp,
    http::Peer,
    secret::{self, SecretHash},
    store::pushed,
};

/// What every reference begins with (RFC 9126 section 2.2).
pub const URN: &str = "urn:ietf:params:oauth:request_uri:";
/// How long a client has to send the browser here, in seconds.
const LIFE_S: u32 = 60;
/// What proves who the client is; not part of its request.
const CREDENTIALS: [&str; 3] = ["client_secret", "client_assertion", "client_assertion_type"];

/// A successful answer (RFC 9126 section 2.2).
#[derive(Debug, Serialize)]
struct Pushed {
    request_uri: String,
    expires_in: u32,
}

/// `POST /oauth/par`.
///
/// # Errors
/// RFC 9126 section 2.3: those of the token endpoint and of the authorization endpoint.
#[utoipa::path(
    post,
    path = "/oauth/par",
    operation_id = "par",
    summary = "Push an authorization request (RFC 9126)",
    request_body(content = crate::openapi::schemas::PushedRequest, content_type = "application/x-www-form-urlencoded"),
    security((), ("basic" = [])),
    responses((status = 201, description = "What the browser is to carry", body = crate::openapi::schemas::Pushed), crate::openapi::schemas::Refused)
)]
pub async fn serve(
    State(app): State<SharedApp>,
    peer: Peer,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, OAuthError> {
    let mut params = Params::form(&headers, &body)?;
    let registry = app.current_registry().await?;
    let client = client_auth::authenticate(&app, &registry, &headers, &params, peer).await?;
    if params.get("request_uri").is_some() {
        let told = "request_uri cannot be pushed: push the request itself";
        return Err(OAuthError::InvalidRequest(told.into()));
    }
    for credential in CREDENTIALS {
        params.remove(credential);
    }
    params.set("client_id", client.id());
    authorize::check_pushed(&app, &params).await?;
    let reference = secret::generate();
    let now = app.clock.now();
    let expires = now
        .checked_add(SignedDuration::from_secs(LIFE_S.into()))
        .unwrap_or(now);
    let mut tx = app.store.write().await?;
    let hash = SecretHash::of(&reference);
    pushed::add(
        tx.conn(),
        &hash,
        client.id(),
        &params.to_form(),
        now,
        expires,
    )
    .await?;
    tx.commit().await?;
    let answer = Pushed {
        request_uri: format!("{URN}{}", *reference),
        expires_in: LIFE_S,
    };
    Ok((StatusCode::CREATED, NO_STORE, Json(answer)).into_response())
}
