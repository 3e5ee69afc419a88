//! The userinfo endpoint (OpenID Connect Core section 5.3): what the user lets the client know, as of now.

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::Serialize;

use super::{IdentityScope, PersonClaims};
use crate::{
    app::{App, SharedApp},
    clock::unix,
    oauth::{NO_STORE, OAuthError, dpop, metadata::Endpoints, params::Params},
    registry::Status,
    store::users::{self, User},
};

/// The answer.
#[derive(Debug, Serialize)]
struct UserInfo {
    sub: String,
    #[serde(flatten)]
    person: PersonClaims,
}

/// Why nothing is told (RFC 6750 section 3.1).
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// No token at all.
    #[error("send the access token as Authorization: Bearer")]
    NoToken,
    /// The token is no good, or no longer.
    #[error("the access token is not valid here: {0}")]
    InvalidToken(&'static str),
    /// A token that was not issued for this.
    #[error("the access token does not have the scope openid")]
    InsufficientScope,
    /// The store failed.
    #[error(transparent)]
    Other(#[from] OAuthError),
}

/// `GET /oauth/userinfo`.
#[utoipa::path(
    get,
    path = "/oauth/userinfo",
    operation_id = "userinfo",
    summary = "Who the user is (OpenID Connect Core section 5.3)",
    security(("bearer" = [])),
    responses((status = 200, description = "What the user lets the client know", body = crate::openapi::schemas::UserInfo), crate::openapi::schemas::Refused)
)]
pub async fn serve(State(app): State<SharedApp>, method: Method, headers: HeaderMap) -> Response {
    told(info(&app, &method, &headers, &Bytes::new()).await)
}

/// `POST /oauth/userinfo`: the token may be in the form.
#[utoipa::path(
    post,
    path = "/oauth/userinfo",
    operation_id = "userinfo_by_form",
    summary = "Who the user is (OpenID Connect Core section 5.3)",
    request_body(content = Option<crate::openapi::schemas::UserInfoRequest>, content_type = "application/x-www-form-urlencoded"),
    security((), ("bearer" = [])),
    responses((status = 200, description = "What the user lets the client know", body = crate::openapi::schemas::UserInfo), crate::openapi::schemas::Refused)
)]
pub async fn serve_form(
    State(app): State<SharedApp>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    told(info(&app, &method, &headers, &body).await)
}

fn told(info: Result<UserInfo, Refusal>) -> Response {
    match info {
        Ok(info) => (NO_STORE, Json(info)).into_response(),
        Err(refusal) => refusal.answer(),
    }
}

async fn info(
    app: &App,
    method: &Method,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<UserInfo, Refusal> {
    let in_body = Params::form(headers, body).ok();
    let in_body = in_body.as_ref().and_then(|form| form.get("access_token"));
    let token = bearer(headers).or(in_body).ok_or(Refusal::NoToken)?;
    // Before the token is checked: with it, the keys are those of now.
    let registry = app.current_registry().await.map_err(OAuthError::from)?;
    let accepted = app
        .verify(token, unix(app.clock.now()))
        .await
        .map_err(|_| Refusal::InvalidToken("it is none of this issuer, or has expired"))?;
    let claims = &accepted.claims;
    if claims.minted {
        return Err(Refusal::InvalidToken("it was minted for an upstream"));
    }
    let granted: Vec<IdentityScope> = claims
        .scopes
        .iter()
        .filter_map(|word| IdentityScope::of(word))
        .collect();
    if !granted.contains(&IdentityScope::OpenId) {
        return Err(Refusal::InsufficientScope);
    }
    let agent = registry.agent(&claims.client_id);
    if !agent.is_some_and(|agent| agent.status == Status::Approved)
        || registry.has_revoked(claims)
        || claims.stopped(registry.stops(), None).is_some()
    {
        return Err(Refusal::InvalidToken("it has been revoked"));
    }
    if let Some(key) = &claims.bound_to {
        let url = Endpoints::of(&app.config.issuer).url("/oauth/userinfo");
        let proof = headers
            .get(dpop::PROOF)
            .and_then(|proof| proof.to_str().ok());
        dpop::at_exchange(app, key, proof, (method.as_str(), &url, token))
            .await
            .map_err(|_| Refusal::InvalidToken("it is bound to a key: send a DPoP proof of it"))?;
    }
    let mut conn = app.store.read().await.map_err(OAuthError::from)?;
    let user = users::find(&mut conn, &claims.subject)
        .await
        .map_err(OAuthError::from)?
        .filter(User::is_active)
        .ok_or(Refusal::InvalidToken("the user is disabled"))?;
    Ok(UserInfo {
        person: PersonClaims::of(&user, &granted),
        sub: user.name,
    })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(only), None) = (all.next(), all.next()) else {
        return None;
    };
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    let known = ["bearer", "dpop"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known));
    known.then(|| token.trim())
}

impl Refusal {
    fn answer(self) -> Response {
        let (status, code) = match &self {
            Self::NoToken => (StatusCode::UNAUTHORIZED, None),
            Self::InvalidToken(_) => (StatusCode::UNAUTHORIZED, Some("invalid_token")),
            Self::InsufficientScope => (StatusCode::FORBIDDEN, Some("insufficient_scope")),
            Self::Other(error) => return error.clone().into_response(),
        };
        let challenge = match code {
            // RFC 6750 section 3.1: who did not try to authenticate is told no error.
            None => "Bearer realm=\"writ\"".to_owned(),
            Some(code) => {
                format!("Bearer realm=\"writ\", error=\"{code}\", error_description=\"{self}\"")
            }
        };
        let challenge = HeaderValue::try_from(challenge)
            .unwrap_or(HeaderValue::from_static("Bearer realm=\"writ\""));
        let body = serde_json::json!({
            "error": code.unwrap_or("invalid_request"), "error_description": self.to_string(),
        });
        let headers = [(header::WWW_AUTHENTICATE, challenge)];
        (status, NO_STORE, headers, Json(body)).into_response()
    }
}
