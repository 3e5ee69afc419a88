//! Decisions as they go back (section 5.5), and what goes back in place of one (section 10.1.3).

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};
use writ_policy::decision::Obligations;

use crate::{oauth::NO_STORE, rates::TooMany, store::StoreError};

/// A decision (section 5.5).
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    decision: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Value>,
}

/// Section 7.2.
#[derive(Debug, Serialize)]
pub(super) struct Many {
    pub(super) evaluations: Vec<Answer>,
}

/// A denial, with why.
#[derive(Clone, Debug)]
pub(super) struct Denial {
    /// The way of saying no, as it is on record.
    pub(super) cause: Value,
    /// For whoever is refused.
    pub(super) reason: String,
    /// What a token would need.
    pub(super) scopes: Vec<String>,
}

impl Denial {
    pub(super) fn new(cause: &'static str, reason: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            reason: reason.into(),
            scopes: Vec::new(),
        }
    }
}

impl Answer {
    /// Yes, with the policy's reason and what it wants of a token that is made for the call.
    pub(super) fn allow(reason: Option<&str>, obligations: &Obligations) -> Self {
        let mut context = serde_json::Map::new();
        if let Some(reason) = reason {
            context.insert("reason_admin".to_owned(), json!({"200": reason}));
        }
        if *obligations != Obligations::default() {
            context.insert("obligations".to_owned(), json!(obligations));
        }
        Self {
            decision: true,
            context: (!context.is_empty()).then(|| context.into()),
        }
    }

    /// No. `record` is the id of what is on record of it.
    pub(super) fn deny(denial: &Denial, policy: &str, record: &str) -> Self {
        let cause = denial.cause.as_str().unwrap_or_default();
        let mut context = json!({
            "reason_user": {"403": denial.reason},
            "reason_admin": {"403": format!("cause: {cause}; policy: {policy}; audit record: {record}")},
        });
        if !denial.scopes.is_empty()
            && let Some(context) = context.as_object_mut()
        {
            context.insert("scope".to_owned(), denial.scopes.join(" ").into());
        }
        Self {
            decision: false,
            context: Some(context),
        }
    }

    pub(super) fn allows(&self) -> bool {
        self.decision
    }
}

/// Why there is no decision. None is a denial.
#[derive(Debug, thiserror::Error)]
pub(super) enum AuthZenError {
    /// The request is none.
    #[error("{0}")]
    BadRequest(String),
    /// Whoever asks has not proved who they are.
    #[error(
        "authenticate with HTTP Basic, as a server or an agent with its secret, or at the gateways' listener as a gateway: \
         the id or the secret is wrong, or it is disabled"
    )]
    Unauthorized,
    /// RFC 6585 section 4.
    #[error("too many requests; try again in {0} seconds")]
    TooMany(u64),
    /// Nothing can be decided, or put on record, at the moment.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<TooMany> for AuthZenError {
    fn from(wait: TooMany) -> Self {
        Self::TooMany(wait.retry_after_s)
    }
}

impl IntoResponse for AuthZenError {
    fn into_response(self) -> Response {
        let basic = HeaderValue::from_static("Basic realm=\"writ\", charset=\"UTF-8\"");
        let told = self.to_string();
        let (status, told, extra) = match self {
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, told, None),
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                told,
                Some((header::WWW_AUTHENTICATE, basic)),
            ),
            Self::TooMany(seconds) => (
                StatusCode::TOO_MANY_REQUESTS,
                told,
                Some((header::RETRY_AFTER, HeaderValue::from(seconds))),
            ),
            Self::Store(error) if error.passes() => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the service is busy; try again in a moment".to_owned(),
                Some((header::RETRY_AFTER, HeaderValue::from_static("1"))),
            ),
            Self::Store(fault) => {
                tracing::error!(error = %fault, "an access evaluation failed");
                let told = "the service failed; its log says why".to_owned();
                (StatusCode::INTERNAL_SERVER_ERROR, told, None)
            }
        };
        // A string, as the standard has it.
        let mut response = (status, NO_STORE, Json(told)).into_response();
        if let Some((name, value)) = extra {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
