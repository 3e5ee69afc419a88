//! What goes back to the client's redirect URI: a code or an error, always with `state` and `iss` (RFC 9207), so that
//! a client of several issuers cannot be made to mix them up.

use crate::{
    oauth::{OAuthError, redirect::RedirectTarget},
    secret::SecretHash,
};

/// Where a response goes and what it echoes.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    redirect: RedirectTarget,
    state: Option<String>,
    /// The pushed request that is used up by the answer.
    pushed: Option<SecretHash>,
}

/// An error for the client (RFC 6749 section 4.1.2.1).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AuthorizationError {
    /// The user said no.
    #[error("the user did not allow it")]
    AccessDenied,
    /// RFC 6749 section 4.1.2.1.
    #[error("response_type must be code")]
    UnsupportedResponseType,
    /// OpenID Connect Core section 3.1.2.6.
    #[error("request objects are not supported; send plain parameters")]
    RequestNotSupported,
    /// OpenID Connect Core section 3.1.2.6.
    #[error("request_uri is not supported; send plain parameters")]
    RequestUriNotSupported,
    /// OpenID Connect Core section 3.1.2.6: no page may be shown, and nobody is signed in, or not lately enough.
    #[error("the user has to sign in; ask again without prompt=none")]
    LoginRequired,
    /// OpenID Connect Core section 3.1.2.6: no page may be shown, and the user has to be asked.
    #[error("the user has to be asked; ask again without prompt=none")]
    ConsentRequired,
    /// Errors that the token endpoint has too.
    #[error("{0}")]
    Invalid(OAuthError),
}

impl AuthorizationError {
    /// The same for a client that is answered directly (RFC 9126 section 2.3).
    pub(super) fn direct(self) -> OAuthError {
        match self {
            Self::Invalid(error) => error,
            other => OAuthError::InvalidRequest(other.to_string().into()),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::AccessDenied => "access_denied",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::RequestNotSupported => "request_not_supported",
            Self::RequestUriNotSupported => "request_uri_not_supported",
            Self::LoginRequired => "login_required",
            Self::ConsentRequired => "consent_required",
            Self::Invalid(error) => error.code(),
        }
    }
}

impl Reply {
    pub(super) fn new(
        redirect: RedirectTarget,
        state: Option<String>,
        pushed: Option<SecretHash>,
    ) -> Self {
        Self {
            redirect,
            state,
            pushed,
        }
    }

    /// The pushed request that this answers.
    pub(super) fn pushed(&self) -> Option<&SecretHash> {
        self.pushed.as_ref()
    }

    pub(super) fn redirect(&self) -> &RedirectTarget {
        &self.redirect
    }

    /// The redirect URI with a code.
    pub(super) fn code(&self, issuer: &str, code: &str) -> String {
        self.with(issuer, &[("code", code)])
    }

    /// The redirect URI with an error.
    pub(super) fn error(&self, issuer: &str, error: &AuthorizationError) -> String {
        self.with(
            issuer,
            &[
                ("error", error.code()),
                ("error_description", &error.to_string()),
            ],
        )
    }

    fn with(&self, issuer: &str, parameters: &[(&str, &str)]) -> String {
        let mut parameters = parameters.to_vec();
        parameters.extend(self.state.as_deref().map(|state| ("state", state)));
        parameters.push(("iss", issuer));
        self.redirect.with(&parameters)
    }
}
