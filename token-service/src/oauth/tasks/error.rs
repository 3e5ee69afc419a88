//! What goes wrong with tasks, and what the agent is told.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{oauth::NO_STORE, store::StoreError};

/// Why there is no answer about a task.
#[derive(Debug, thiserror::Error)]
pub(super) enum TaskError {
    /// RFC 6750 section 3: no token.
    #[error("send `Authorization: Bearer` with the token that you call the server with")]
    NoToken,
    /// RFC 6750 section 3.1: a token that is no good.
    #[error("the token is not accepted: {0}")]
    BadToken(String),
    /// RFC 6750 section 3.1: the body is not what a task is opened with.
    #[error("{0}")]
    Malformed(String),
    /// Policy said no.
    #[error("{0}")]
    Refused(String),
    /// None of this agent's for this subject.
    #[error("this agent has no task of that id for this user")]
    NotFound,
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl IntoResponse for TaskError {
    fn into_response(self) -> Response {
        let (status, error) = match &self {
            Self::NoToken | Self::BadToken(_) => (StatusCode::UNAUTHORIZED, "invalid_token"),
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
            Self::Refused(_) => (StatusCode::FORBIDDEN, "access_denied"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::Store(error) if error.passes() => {
                (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable")
            }
            Self::Store(_) => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
        };
        let told = match &self {
            Self::Store(fault) if status == StatusCode::INTERNAL_SERVER_ERROR => {
                tracing::error!(error = %fault, "a request about a task failed");
                "the service failed; its log says why".to_owned()
            }
            other => other.to_string(),
        };
        let body = json!({"error": error, "error_description": told});
        let mut response = (status, NO_STORE, Json(body)).into_response();
        let extra = match self {
            // RFC 6750 section 3.1: no error where no token was sent.
            Self::NoToken => Some((header::WWW_AUTHENTICATE, "Bearer")),
            Self::BadToken(_) => Some((header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")),
            Self::Store(error) if error.passes() => Some((header::RETRY_AFTER, "1")),
            _ => None,
        };
        if let Some((name, value)) = extra {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
