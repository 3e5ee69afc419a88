//! What a gateway is told when its request fails.

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use writ_policy::snapshot::FORMAT;

use crate::store::StoreError;

/// Why a gateway's request failed.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// RFC 7617: no or wrong credentials, or the gateway is switched off.
    #[error(
        "the gateway's id or secret is wrong, or it is disabled; `writ gateway list` shows its status"
    )]
    Unauthorized,
    /// The body is not what the endpoint takes.
    #[error("{0}")]
    Malformed(String),
    /// Some events of a batch, by their places in it, are none that this gateway may report; the others are on record.
    #[error(
        "not on record: {0:?} of the batch (the first is 0), all others are; a gateway reports about calls to its own servers, a guard or a server what it refused itself, and an egress what leaves; `writ gateway list` shows what each is registered for"
    )]
    NotRecorded(Vec<usize>),
    /// The server is not one of this gateway's.
    #[error(
        "this gateway is not registered for that server; `writ gateway list` shows what it is registered for"
    )]
    OtherServer,
    /// RFC 6749 section 5.2: a gateway asks for what only guards do.
    #[error(
        "this is registered as a gateway, which spends no tokens: `writ gateway update ID --kind guard` makes a guard of it"
    )]
    NoGuard,
    /// RFC 9110 section 15.5.7: the filter reads another format.
    #[error(
        "there is no snapshot of format {0}, only of format {FORMAT}: use a filter and a token service of one release"
    )]
    Format(u32),
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The snapshot could not be written down.
    #[error("the snapshot cannot be serialised: {0}")]
    Serialize(#[from] serde_json::Error),
}

impl IntoResponse for GatewayError {
    fn into_response(self) -> Response {
        let (status, error, description) = match &self {
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "invalid_client", self.to_string()),
            Self::Malformed(_) | Self::NotRecorded(_) => {
                (StatusCode::BAD_REQUEST, "invalid_request", self.to_string())
            }
            Self::Format(_) => (
                StatusCode::NOT_ACCEPTABLE,
                "invalid_request",
                self.to_string(),
            ),
            Self::NoGuard => (
                StatusCode::FORBIDDEN,
                "unauthorized_client",
                self.to_string(),
            ),
            Self::OtherServer => (StatusCode::FORBIDDEN, "invalid_target", self.to_string()),
            Self::Store(error) if error.passes() => (
                StatusCode::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                self.to_string(),
            ),
            Self::Store(_) | Self::Serialize(_) => {
                tracing::error!(error = %self, "a gateway's request failed");
                let told = "the service failed; its log says why".to_owned();
                (StatusCode::INTERNAL_SERVER_ERROR, "server_error", told)
            }
        };
        let mut response = (
            status,
            Json(json!({"error": error, "error_description": description})),
        )
            .into_response();
        let headers = response.headers_mut();
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(
                    header::WWW_AUTHENTICATE,
                    axum::http::HeaderValue::from_static("Basic realm=\"writ\""),
                );
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(
                    header::RETRY_AFTER,
                    axum::http::HeaderValue::from_static("1"),
                );
            }
            _ => {}
        }
        response
    }
}
