//! An authorization request, checked (OAuth 2.1 section 4.1.1).
//!
//! Until client and redirect URI are certain, nothing is sent anywhere: the user gets a page. From then on the client is
//! told what is wrong with the rest.

use std::sync::Arc;

use super::response::{AuthorizationError, Reply};
use crate::{
    app::App,
    oauth::{
        OAuthError, client::find_client, params::Params, pkce::Challenge, redirect::RedirectTarget,
        wanted::Wanted,
    },
    registry::{Agent, Grant, Registry, Status},
    store::StoreError,
};

/// What fits a `state`; it only has to tell one request of a client from another.
const MAX_STATE: usize = 1024;

/// A request that is in order, given a user who grants it.
#[derive(Clone, Debug)]
pub(super) struct AuthorizationRequest {
    pub(super) agent: Arc<Agent>,
    pub(super) wanted: Wanted,
    pub(super) challenge: Challenge,
    /// For the ID token.
    pub(super) nonce: Option<String>,
    pub(super) reply: Reply,
}

/// Why a request goes no further.
#[derive(Debug)]
pub(super) enum Refused {
    /// The user is told: who asks, or where the answer would go, is not certain.
    Page(String),
    /// The client is told.
    Redirect(Box<Reply>, AuthorizationError),
    /// A form that is not ours, not this browser's, or from before it signed in or out.
    Form,
    /// Something failed here.
    Failed(OAuthError),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl AuthorizationRequest {
    /// Checks a query string.
    pub(super) async fn check(app: &App, query: &str) -> Result<Self, Refused> {
        let page = |told: &str| Refused::Page(told.to_owned());
        let params =
            Params::parse(query.as_bytes()).map_err(|e| Refused::Page(sentence(&e.to_string())))?;
        let client_id = params
            .get("client_id")
            .ok_or_else(|| page("The request does not say which application asks."))?;
        let agent = &find_client(app, client_id)
            .await
            .map_err(unknown)?
            .ok_or_else(|| page("The application that asks is not registered here."))?;
        match agent.status {
            Status::Approved => {}
            Status::Pending => {
                return Err(page(
                    "The application that asks waits for an administrator's approval.",
                ));
            }
            Status::Disabled => {
                return Err(page("The application that asks is switched off here."));
            }
        }
        let redirect = params
            .get("redirect_uri")
            .and_then(|uri| RedirectTarget::of(agent, uri))
            .ok_or_else(|| page("The address that the answer should be sent to is not registered for this application."))?;
        let state = params.get("state").map(str::to_owned);
        if state.as_ref().is_some_and(|s| s.len() > MAX_STATE) {
            return Err(page("The request's state is too long."));
        }

        let reply = Reply::new(redirect, state);
        let registry = app.current_registry().await?;
        match Self::rest(&registry, agent, &params) {
            Ok((wanted, challenge)) => Ok(Self {
                agent: Arc::clone(agent),
                wanted,
                challenge,
                nonce: params.get("nonce").map(str::to_owned),
                reply,
            }),
            Err(error) => Err(Refused::Redirect(Box::new(reply), error)),
        }
    }

    /// What the client may be told about.
    fn rest(
        registry: &Registry,
        agent: &Agent,
        params: &Params,
    ) -> Result<(Wanted, Challenge), AuthorizationError> {
        let invalid = |told: &'static str| {
            AuthorizationError::Invalid(OAuthError::InvalidRequest(told.into()))
        };
        if params.get("request").is_some() {
            return Err(AuthorizationError::RequestNotSupported);
        }
        if params.get("request_uri").is_some() {
            return Err(AuthorizationError::RequestUriNotSupported);
        }
        match params.get("response_type") {
            Some("code") => {}
            Some(_) => return Err(AuthorizationError::UnsupportedResponseType),
            None => return Err(invalid("response_type is missing; it must be code")),
        }
        if params
            .get("response_mode")
            .is_some_and(|mode| mode != "query")
        {
            return Err(invalid("response_mode must be query"));
        }
        if !agent.grants.contains(&Grant::AuthorizationCode) {
            let told = "this client is not registered for the grant authorization_code";
            return Err(AuthorizationError::Invalid(OAuthError::UnauthorizedClient(
                told.into(),
            )));
        }
        let challenge = Challenge::from_params(params).map_err(|e| {
            AuthorizationError::Invalid(OAuthError::InvalidRequest(e.to_string().into()))
        })?;
        let wanted = Wanted::of(registry, agent, params.get("resource"), params.get("scope"))
            .map_err(AuthorizationError::Invalid)?;
        if params.get("nonce").is_some_and(|n| n.len() > MAX_STATE) {
            return Err(invalid("nonce is too long"));
        }
        Ok((wanted, challenge))
    }
}

/// Why a client that is named by a document is none.
fn unknown(error: OAuthError) -> Refused {
    match error {
        OAuthError::InvalidClient(told) => Refused::Page(format!(
            "The application that asks is not accepted: {told}."
        )),
        other => Refused::Failed(other),
    }
}

/// A fragment of a sentence as one.
fn sentence(fragment: &str) -> String {
    format!("The request is malformed: {fragment}.")
}
