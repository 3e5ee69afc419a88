//! What can go wrong at the token endpoint, and the one place where it becomes an answer (RFC 6749 section 5.2).

use std::borrow::Cow;

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{rates::TooMany, store::StoreError};

/// A sentence for the developer of the client: what happened and what to do. Never holds a secret.
pub type Description = Cow<'static, str>;

/// An error of the token endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OAuthError {
    /// RFC 6749 section 5.2: a parameter is missing, repeated, malformed or too long.
    #[error("{0}")]
    InvalidRequest(Description),
    /// RFC 6749 section 5.2: the client or gateway did not prove who it is.
    #[error("{0}")]
    InvalidClient(Description),
    /// RFC 6749 section 5.2: the code, or the subject token, is no good.
    #[error("{0}")]
    InvalidGrant(Description),
    /// RFC 6749 section 5.2: this client may not use this grant.
    #[error("{0}")]
    UnauthorizedClient(Description),
    /// RFC 6749 section 5.2: no such grant here.
    #[error("{0}")]
    UnsupportedGrantType(Description),
    /// RFC 6749 section 5.2: more scope than the server has or the user granted.
    #[error("{0}")]
    InvalidScope(Description),
    /// RFC 8707 section 2: the resource is missing, unknown or switched off.
    #[error("{0}")]
    InvalidTarget(Description),
    /// RFC 9396 section 5: what is asked for is not what the message says.
    #[error("{0}")]
    InvalidAuthorizationDetails(Description),
    /// RFC 9449 section 5: the DPoP proof is no good.
    #[error("{0}")]
    InvalidDpopProof(Description),
    /// RFC 9449 section 8: the DPoP proof needs the nonce that comes with this answer.
    #[error(
        "make a DPoP proof with the nonce in the DPoP-Nonce header, and send the request again"
    )]
    UseDpopNonce,
    /// RFC 6749 section 4.1.2.1: policy said no; the sentence is the policy's reason.
    #[error("{0}")]
    AccessDenied(Description),
    /// RFC 6750 section 3.1: policy would say yes to a token with more scope.
    #[error("{reason}")]
    InsufficientScope {
        /// The policy's reason.
        reason: Description,
        /// All that the request needs, joined by spaces.
        scope: String,
    },
    /// RFC 6749 section 4.1.2.1: try again in a moment.
    #[error("{0}")]
    TemporarilyUnavailable(Description),
    /// RFC 6585 section 4: asked too often; in the words of RFC 6749 section 4.1.2.1, since OAuth has none of its own.
    #[error("too many requests; try again in {retry_after_s} seconds")]
    TooManyRequests {
        /// When to try again.
        retry_after_s: u64,
    },
    /// RFC 6749 section 4.1.2.1: our fault; what happened is in the log, not in the answer.
    #[error("the service failed; its log says why")]
    ServerError,
}

/// Seconds a client should wait after [`OAuthError::TemporarilyUnavailable`].
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

impl OAuthError {
    /// The registered error code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "invalid_request",
            Self::InvalidClient(_) => "invalid_client",
            Self::InvalidGrant(_) => "invalid_grant",
            Self::UnauthorizedClient(_) => "unauthorized_client",
            Self::UnsupportedGrantType(_) => "unsupported_grant_type",
            Self::InvalidScope(_) => "invalid_scope",
            Self::InvalidTarget(_) => "invalid_target",
            Self::InvalidAuthorizationDetails(_) => "invalid_authorization_details",
            Self::InvalidDpopProof(_) => "invalid_dpop_proof",
            Self::UseDpopNonce => "use_dpop_nonce",
            Self::AccessDenied(_) => "access_denied",
            Self::InsufficientScope { .. } => "insufficient_scope",
            Self::TemporarilyUnavailable(_) | Self::TooManyRequests { .. } => {
                "temporarily_unavailable"
            }
            Self::ServerError => "server_error",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::InvalidClient(_) => StatusCode::UNAUTHORIZED,
            Self::AccessDenied(_) | Self::InsufficientScope { .. } => StatusCode::FORBIDDEN,
            Self::TemporarilyUnavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooManyRequests { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::ServerError => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// Logs a fault of ours and hides it from the client.
    pub fn internal(fault: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = fault, "an OAuth request failed");
        Self::ServerError
    }
}

impl From<StoreError> for OAuthError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unwritable(_) => Self::TemporarilyUnavailable(error.to_string().into()),
            error if error.passes() => {
                Self::TemporarilyUnavailable("the service is busy; try again in a moment".into())
            }
            other => Self::internal(&other),
        }
    }
}

impl From<TooMany> for OAuthError {
    fn from(wait: TooMany) -> Self {
        Self::TooManyRequests {
            retry_after_s: wait.retry_after_s,
        }
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let mut body = json!({ "error": self.code(), "error_description": self.to_string() });
        if let (Self::InsufficientScope { scope, .. }, Some(body)) = (&self, body.as_object_mut()) {
            body.insert("scope".to_owned(), scope.as_str().into());
        }
        let mut response = (self.status(), NO_STORE, Json(body)).into_response();
        let extra = match self {
            // RFC 6749 section 5.2: name the scheme that this endpoint takes.
            Self::InvalidClient(_) => Some((
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"writ\", charset=\"UTF-8\""),
            )),
            Self::TemporarilyUnavailable(_) => Some((header::RETRY_AFTER, RETRY_AFTER_S)),
            Self::TooManyRequests { retry_after_s } => {
                Some((header::RETRY_AFTER, HeaderValue::from(retry_after_s)))
            }
            _ => None,
        };
        if let Some((name, value)) = extra {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// RFC 6749 section 5.1: answers with tokens, and about tokens, are never kept.
pub const NO_STORE: [(HeaderName, HeaderValue); 2] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::PRAGMA, HeaderValue::from_static("no-cache")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_fails_to_authenticate_is_told_the_scheme() {
        let response = OAuthError::InvalidClient("no".into()).into_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let challenge = &response.headers()[header::WWW_AUTHENTICATE];
        assert!(challenge.to_str().unwrap().starts_with("Basic "));
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    }

    #[test]
    fn only_what_is_worth_another_try_says_when() {
        let busy = OAuthError::TemporarilyUnavailable("busy".into()).into_response();
        assert_eq!(busy.headers()[header::RETRY_AFTER], "1");
        let wrong = OAuthError::InvalidGrant("no".into()).into_response();
        assert_eq!(wrong.status(), StatusCode::BAD_REQUEST);
        assert!(!wrong.headers().contains_key(header::RETRY_AFTER));
    }
}
