//! `POST /oauth/token`: read strictly, authenticate the client, hand over to a grant, answer.

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{
    NO_STORE, OAuthError,
    caller_token::CallerClaims,
    client_auth, dpop,
    grants::{authorization_code, client_credentials, jwt_bearer, refresh_token, token_exchange},
    params::Params,
};
use crate::{
    app::{App, SharedApp},
    http::Peer,
};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A successful answer (RFC 6749 section 5.1).
#[derive(Serialize)]
pub struct TokenResponse {
    access_token: String,
    /// RFC 8693 section 2.2.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_token_type: Option<&'static str>,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
    /// Good once, for the next access token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// Who the user is (OpenID Connect Core section 3.1.3.3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_token: Option<String>,
}

impl TokenResponse {
    /// Signs the claims.
    ///
    /// # Errors
    /// [`OAuthError::ServerError`].
    pub fn sign(app: &App, claims: &CallerClaims) -> Result<Self, OAuthError> {
        Ok(Self {
            access_token: app
                .keys
                .sign(claims)
                .map_err(|e| OAuthError::internal(&e))?,
            issued_token_type: None,
            token_type: token_type(claims),
            expires_in: claims.exp.saturating_sub(claims.iat),
            scope: claims.scope.clone(),
            refresh_token: None,
            id_token: None,
        })
    }

    /// The access token.
    #[must_use]
    pub fn access_token(&self) -> &str {
        &self.access_token
    }

    /// The answer to a token exchange (RFC 8693 section 2.2.1): the token of these claims, and those of its chain.
    #[must_use]
    pub fn exchanged(access_token: String, expires_in: u64, claims: CallerClaims) -> Self {
        Self {
            access_token,
            issued_token_type: Some(token_exchange::ACCESS_TOKEN),
            token_type: token_type(&claims),
            expires_in,
            scope: claims.scope,
            refresh_token: None,
            id_token: None,
        }
    }
}

/// How the token is presented (RFC 6749 section 7.1, RFC 9449 section 5).
fn token_type(claims: &CallerClaims) -> &'static str {
    match claims.cnf {
        Some(_) => "DPoP",
        None => "Bearer",
    }
}

/// `POST /oauth/token`.
#[utoipa::path(
    post,
    path = "/oauth/token",
    operation_id = "token",
    summary = "Tokens (RFC 6749 section 3.2); at the gateways' listener, token exchange (RFC 8693)",
    request_body(content = crate::openapi::schemas::TokenRequest, content_type = "application/x-www-form-urlencoded"),
    security((), ("basic" = [])),
    responses((status = 200, description = "A token", body = crate::openapi::schemas::TokenAnswer), crate::openapi::schemas::Refused)
)]
pub async fn token(
    State(app): State<SharedApp>,
    peer: Peer,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut response = match answer(&app, peer, &headers, &body).await {
        Ok(token) => (NO_STORE, Json(token)).into_response(),
        Err(error) => error.into_response(),
    };
    response
        .headers_mut()
        .extend(dpop::next_nonce(&app, &headers));
    response
}

async fn answer(
    app: &App,
    peer: Peer,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<TokenResponse, OAuthError> {
    let params = Params::form(headers, body)?;
    let registry = app.current_registry().await?;
    if params.require("grant_type")? == token_exchange::GRANT_TYPE {
        // Servers exchange too, and prove who they are in their own way.
        return token_exchange::answer(app, &registry, headers, &params, peer).await;
    }
    let grant: Grant = params.require("grant_type")?.try_into()?;
    // Before anything is used up: a client that has no nonce yet sends everything again.
    let proof = dpop::at_token_endpoint(app, headers)?;
    let client = client_auth::authenticate(app, &registry, headers, &params, peer).await?;
    let client = client.holding(app, proof).await?;
    match grant {
        Grant::AuthorizationCode => authorization_code::redeem(app, &client, &params, peer).await,
        Grant::ClientCredentials => client_credentials::issue(app, &client, &params, peer).await,
        Grant::RefreshToken => refresh_token::refresh(app, &client, &params, peer).await,
        Grant::JwtBearer => jwt_bearer::issue(app, &client, &params, peer).await,
    }
}

/// The grants of this endpoint.
enum Grant {
    AuthorizationCode,
    ClientCredentials,
    RefreshToken,
    JwtBearer,
}

impl TryFrom<&str> for Grant {
    type Error = OAuthError;

    fn try_from(name: &str) -> Result<Self, OAuthError> {
        let refused = |told: &'static str| Err(OAuthError::UnsupportedGrantType(told.into()));
        match name {
            "authorization_code" => Ok(Self::AuthorizationCode),
            "client_credentials" => Ok(Self::ClientCredentials),
            "refresh_token" => Ok(Self::RefreshToken),
            JWT_BEARER => Ok(Self::JwtBearer),
            _ => refused(
                "the grants here are authorization_code, refresh_token, client_credentials, jwt-bearer and token exchange",
            ),
        }
    }
}
