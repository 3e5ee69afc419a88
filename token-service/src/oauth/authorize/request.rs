//! An authorization request, checked (OAuth 2.1 section 4.1.1).
//!
//! Until client and redirect URI are certain, nothing is sent anywhere: the user gets a page. From then on the client is
//! told what is wrong with the rest.

use std::sync::Arc;

use super::{
    prompt::Prompt,
    response::{AuthorizationError, Reply},
};
use crate::{
    app::App,
    oauth::{
        OAuthError, client::find_client, par, params::Params, pkce::Challenge,
        redirect::RedirectTarget, wanted::Wanted,
    },
    registry::{Agent, Grant, Registry, Status},
    secret::SecretHash,
    store::{StoreError, pushed},
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
    /// Which pages may or must be shown.
    pub(super) prompt: Prompt,
    pub(super) reply: Reply,
}

/// How a request came.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// In the browser's query.
    Browser,
    /// From the client, which is told about errors directly.
    Client,
    /// From the client before; the browser brought this reference.
    Pushed(SecretHash),
}

impl Source {
    fn reference(self) -> Option<SecretHash> {
        match self {
            Self::Pushed(reference) => Some(reference),
            Self::Browser | Self::Client => None,
        }
    }
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
    /// Checks a query string: a request, or the reference to one that was pushed.
    pub(super) async fn check(app: &App, query: &str) -> Result<Self, Refused> {
        let parse = |text: &str| {
            Params::parse(text.as_bytes()).map_err(|e| Refused::Page(sentence(&e.to_string())))
        };
        let params = parse(query)?;
        let reference = params
            .get("request_uri")
            .and_then(|uri| uri.strip_prefix(par::URN));
        let Some(reference) = reference.map(SecretHash::of) else {
            return Self::read(app, &params, Source::Browser).await;
        };
        let client_id = params.get("client_id").unwrap_or_default();
        let mut conn = app.store.read().await?;
        let pushed = pushed::find(&mut conn, &reference, client_id, app.clock.now()).await?;
        drop(conn);
        let pushed = pushed.ok_or_else(|| {
            Refused::Page(
                "The request has run out, has been answered already, or is another application's."
                    .to_owned(),
            )
        })?;
        // Whatever else the browser brings does not count (RFC 9126 section 4, RFC 9101 section 6.3).
        Self::read(app, &parse(&pushed)?, Source::Pushed(reference)).await
    }

    /// Checks the parameters of a request.
    pub(super) async fn read(app: &App, params: &Params, source: Source) -> Result<Self, Refused> {
        let page = |told: &str| Refused::Page(told.to_owned());
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

        let by_browser = matches!(source, Source::Browser);
        let reply = Reply::new(redirect, state, source.reference());
        if by_browser && agent.metadata.require_pushed_authorization_requests {
            let told =
                "this client is registered to push its requests (RFC 9126): send a request_uri";
            let error = AuthorizationError::Invalid(OAuthError::InvalidRequest(told.into()));
            return Err(Refused::Redirect(Box::new(reply), error));
        }
        let registry = app.current_registry().await?;
        match Self::rest(&registry, agent, params) {
            Ok((wanted, challenge, prompt)) => Ok(Self {
                prompt,
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
    ) -> Result<(Wanted, Challenge, Prompt), AuthorizationError> {
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
        let prompt = Prompt::read(params).map_err(invalid)?;
        Ok((wanted, challenge, prompt))
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
