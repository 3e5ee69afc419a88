//! What can go wrong at registration, and the one place where it becomes an answer (RFC 7591 section 3.2.2).

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::client_metadata::MetadataError;
use crate::{
    oauth::{NO_STORE, OAuthError},
    store::StoreError,
};

/// An error of the registration endpoints.
#[derive(Debug, thiserror::Error)]
pub(super) enum RegistrationError {
    /// RFC 6750 section 3: no token where one is needed.
    #[error("this needs an initial access token: ask an administrator for one")]
    NoToken,
    /// RFC 6750 section 3.1: a token that is wrong, used up, expired, revoked or replaced by another one.
    #[error(
        "the token is not good here: it is wrong, used up, expired or was replaced by a newer one"
    )]
    InvalidToken,
    /// RFC 7591 section 3.2.2.
    #[error("{0}")]
    InvalidRedirectUri(String),
    /// RFC 7591 section 3.2.2.
    #[error("{0}")]
    InvalidMetadata(String),
    /// RFC 7591 section 3.2.2.
    #[error("software statements are not accepted here; say the same in plain metadata")]
    SoftwareStatement,
    /// RFC 7592 section 2.2 and RFC 6749 section 4.1.2.1: the policy, or whoever switched it off, said no.
    #[error("{0}")]
    AccessDenied(String),
    /// What every endpoint has.
    #[error(transparent)]
    Other(OAuthError),
}

impl RegistrationError {
    fn code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NoToken | Self::InvalidToken => (StatusCode::UNAUTHORIZED, "invalid_token"),
            Self::InvalidRedirectUri(_) => (StatusCode::BAD_REQUEST, "invalid_redirect_uri"),
            Self::InvalidMetadata(_) => (StatusCode::BAD_REQUEST, "invalid_client_metadata"),
            Self::SoftwareStatement => (StatusCode::BAD_REQUEST, "unapproved_software_statement"),
            Self::AccessDenied(_) => (StatusCode::FORBIDDEN, "access_denied"),
            Self::Other(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.code()),
        }
    }
}

impl From<OAuthError> for RegistrationError {
    fn from(error: OAuthError) -> Self {
        Self::Other(error)
    }
}

impl From<StoreError> for RegistrationError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(told) => Self::InvalidMetadata(told.to_owned()),
            other => Self::Other(other.into()),
        }
    }
}

impl From<MetadataError> for RegistrationError {
    fn from(error: MetadataError) -> Self {
        match error {
            MetadataError::RedirectUri(told) => Self::InvalidRedirectUri(told),
            MetadataError::SoftwareStatement => Self::SoftwareStatement,
            MetadataError::Field { .. } => Self::InvalidMetadata(error.to_string()),
        }
    }
}

impl IntoResponse for RegistrationError {
    fn into_response(self) -> Response {
        if let Self::Other(error) = self {
            return error.into_response();
        }
        let (status, code) = self.code();
        let body = json!({ "error": code, "error_description": self.to_string() });
        let mut response = (status, NO_STORE, Json(body)).into_response();
        let challenge = match self {
            Self::NoToken => Some("Bearer realm=\"writ\""),
            Self::InvalidToken => Some("Bearer realm=\"writ\", error=\"invalid_token\""),
            _ => None,
        };
        if let Some(challenge) = challenge {
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(challenge),
            );
        }
        response
    }
}
