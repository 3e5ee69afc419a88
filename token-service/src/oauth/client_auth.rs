//! Client authentication at the token endpoint (RFC 6749 section 2.3, RFC 7523 section 2.2), all of it but what an
//! attested workload brings ([`workload`]).
//!
//! A client uses the one method it is registered with, and one method a request. A [`Client`] is the proof that it
//! did; an assertion is used up before there is one.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use jiff::Timestamp;
use url::Url;
use writ_core::token::dpop::Proof;
use writ_policy::input::AgentAuthn;

use super::{
    OAuthError, assertion,
    assertion::AssertionError,
    client::find_client,
    dpop::{self, Confirmation},
    jws::keys_of,
    params::Params,
    remote_keys::KeyPlace,
    workload::{self, AttestationError},
};
use crate::{
    app::App,
    audit::TryKind,
    http::{Peer, basic},
    registry::{Agent, AuthMethod, Grant, Registry, Status, Workload},
    store::oauth::Assertion,
};

/// An agent that has proved who it is, and is approved.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Arc<Agent>,
    key: Option<Confirmation>,
}

impl Client {
    /// Its registration.
    #[must_use]
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Its `client_id`.
    #[must_use]
    pub fn id(&self) -> &str {
        self.agent.id.as_str()
    }

    /// Whether a request's `client_id` names it: by its id, or as its own SPIFFE ID
    /// (draft-ietf-oauth-spiffe-client-auth section 3.1).
    fn is(&self, named: &str) -> bool {
        let spiffe = matches!(&self.agent.workload, Some(Workload::Spiffe { id }) if id == named);
        self.id() == named || spiffe
    }

    /// How well it proved who it is.
    #[must_use]
    pub fn authn(&self) -> AgentAuthn {
        self.agent.auth.authn()
    }

    /// The same client, holding the key of this DPoP proof, which is used up with it.
    ///
    /// # Errors
    /// [`OAuthError::InvalidDpopProof`] when the proof was used before, or there is none though the client is registered to
    /// use DPoP only (RFC 9449 section 5.2); when the store fails.
    pub async fn holding(self, app: &App, proof: Option<Proof>) -> Result<Self, OAuthError> {
        let Some(proof) = proof else {
            return match self.agent.metadata.dpop_bound_access_tokens {
                false => Ok(self),
                true => Err(OAuthError::InvalidDpopProof(
                    "this client is registered to use DPoP only: send a proof in the DPoP header"
                        .into(),
                )),
            };
        };
        dpop::use_up(app, &proof).await?;
        let key = Confirmation {
            jkt: proof.thumbprint,
        };
        Ok(Self {
            key: Some(key),
            ..self
        })
    }

    /// The key that its tokens are bound to, where it has proved one.
    #[must_use]
    pub fn key(&self) -> Option<&Confirmation> {
        self.key.as_ref()
    }

    /// Refuses a grant that the client is not registered for.
    ///
    /// # Errors
    /// [`OAuthError::UnauthorizedClient`].
    pub fn must_have(&self, grant: Grant) -> Result<(), OAuthError> {
        if self.agent.grants.contains(&grant) {
            return Ok(());
        }
        let told = format!(
            "this client is not registered for the grant {}",
            grant.as_str()
        );
        Err(OAuthError::UnauthorizedClient(told.into()))
    }
}

/// What a request brings to prove who its client is.
enum Presented<'a> {
    Nothing(&'a str),
    Secret(basic::Credentials),
    SecretInBody(&'a str, &'a str),
    Assertion(&'a str),
    Svid(&'a str),
}

/// Where a secret travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SentIn {
    /// `client_secret_basic`.
    Header,
    /// `client_secret_post`.
    Body,
}

/// Authenticates the client of a request. Failures are counted by address.
///
/// # Errors
/// [`OAuthError::InvalidClient`] when the client did not prove who it is or is not approved;
/// [`OAuthError::InvalidRequest`] when it is not clear how it tries to.
pub async fn authenticate(
    app: &App,
    registry: &Registry,
    headers: &HeaderMap,
    params: &Params,
    peer: Peer,
) -> Result<Client, OAuthError> {
    let now = app.clock.now();
    let presented = presented(headers, params)?;
    let authenticated = match &presented {
        Presented::Nothing(id) => public(app, id).await,
        Presented::Secret(credentials) => secret(
            registry,
            &credentials.id,
            credentials.secret(),
            SentIn::Header,
        ),
        Presented::SecretInBody(id, text) => secret(registry, id, text, SentIn::Body),
        Presented::Assertion(text) => match workload::claimed_cluster(app, text) {
            Some(cluster) => attested(
                registry,
                workload::kubernetes(app, cluster, text, now).await,
            ),
            None => key(app, text, now).await,
        },
        Presented::Svid(text) => attested(registry, workload::spiffe(app, text, now).await),
    };
    let named = params.get("client_id");
    let client = authenticated.and_then(|client| match named {
        Some(id) if !client.is(id) => {
            Err(refused("client_id is not the client that authenticated"))
        }
        _ => Ok(client),
    });
    // Who proves nothing is counted by address alone: anybody could use a public client's share up.
    if let Ok(client) = &client
        && client.agent().auth != AuthMethod::None
    {
        app.limits.client(client.id()).await?;
    }
    if matches!(client, Err(OAuthError::InvalidClient(_))) {
        app.tries.note(TryKind::InvalidClient, &peer.text(), now);
    }
    client
}

/// Finds out which method a request uses (RFC 6749 section 2.3: not more than one).
fn presented<'a>(headers: &HeaderMap, params: &'a Params) -> Result<Presented<'a>, OAuthError> {
    let invalid = |told: &'static str| OAuthError::InvalidRequest(told.into());
    let assertion = match (
        params.get("client_assertion_type"),
        params.get("client_assertion"),
    ) {
        (Some(assertion::TYPE), Some(text)) => Some(Presented::Assertion(text)),
        (Some(workload::SPIFFE), Some(text)) => Some(Presented::Svid(text)),
        (None, None) => None,
        _ => {
            return Err(invalid(
                "client_assertion needs a client_assertion_type: jwt-bearer (RFC 7523), or jwt-spiffe for a JWT-SVID",
            ));
        }
    };
    let in_body = params.get("client_secret");
    match (headers.contains_key(header::AUTHORIZATION), in_body, assertion) {
        (true, None, None) => basic::credentials(headers)
            .map(Presented::Secret)
            .ok_or_else(|| refused("the Authorization header is not one well-formed HTTP Basic credential")),
        (false, Some(secret), None) => Ok(Presented::SecretInBody(params.require("client_id")?, secret)),
        (false, None, Some(assertion)) => Ok(assertion),
        (false, None, None) => params
            .get("client_id")
            .map(Presented::Nothing)
            .ok_or_else(|| refused("the client did not authenticate: send Basic, an assertion, or, as a public client, client_id")),
        _ => Err(invalid("use one way to authenticate: Basic, client_secret or an assertion")),
    }
}

async fn public(app: &App, id: &str) -> Result<Client, OAuthError> {
    let agent = find_client(app, id).await?;
    let agent = agent
        .filter(|agent| agent.auth == AuthMethod::None)
        .ok_or_else(|| {
            refused("there is no public client of this id; a confidential client must authenticate")
        })?;
    approved(&agent)
}

/// A client with a secret is never one that is named by a document.
fn secret(
    registry: &Registry,
    id: &str,
    secret: &str,
    sent_in: SentIn,
) -> Result<Client, OAuthError> {
    let agent = registry
        .agent(id)
        .filter(|agent| agent.secret.as_ref().is_some_and(|s| s.verify(secret)))
        .ok_or_else(|| refused("the client's id or secret is wrong"))?;
    match (sent_in, agent.metadata.secret_in_body) {
        (SentIn::Header, false) | (SentIn::Body, true) => approved(agent),
        (SentIn::Body, false) => Err(refused(
            "this client is registered for HTTP Basic (client_secret_basic): its secret does not belong in the body",
        )),
        (SentIn::Header, true) => Err(refused(
            "this client is registered for client_secret_post: send client_id and client_secret in the body",
        )),
    }
}

/// The approved agent whose HTTP Basic credentials (`client_secret_basic`) these are.
pub(crate) fn by_basic(registry: &Registry, headers: &HeaderMap) -> Option<Arc<Agent>> {
    let credentials = basic::credentials(headers)?;
    let client = secret(
        registry,
        &credentials.id,
        credentials.secret(),
        SentIn::Header,
    );
    client.ok().map(|client| client.agent)
}

async fn key(app: &App, text: &str, now: Timestamp) -> Result<Client, OAuthError> {
    let unknown = || refused("the client assertion is of no client that is registered with keys");
    let id = assertion::claimed_client(text)
        .ok_or_else(|| refused(AssertionError::NotAJwt.to_string()))?;
    let agent = &find_client(app, &id).await?.ok_or_else(unknown)?;
    let told = |e: AssertionError| refused(e.to_string());
    let claimed = assertion::read(text, &id, &app.config.issuer, now).map_err(told)?;
    let verified = match (&agent.jwks, &agent.jwks_uri) {
        (Some(jwks), _) => claimed.verify(keys_of(jwks), now),
        (None, Some(uri)) => {
            let place = KeyPlace::Client(Url::parse(uri).map_err(|_| unknown())?);
            let keys = app.remote_keys.at(&place, claimed.kid(), now).await;
            let keys = keys.map_err(|_| {
                refused("the keys at the client's jwks_uri could not be read; the service's log says why")
            })?;
            claimed.verify(&keys, now)
        }
        (None, None) => return Err(unknown()),
    }
    .map_err(told)?;
    let client = approved(agent)?;
    let mut tx = app.store.write().await?;
    let used =
        crate::store::oauth::use_assertion(tx.conn(), &verified.digest, now, verified.expires_at)
            .await?;
    tx.commit().await?;
    match used {
        Assertion::Fresh => Ok(client),
        Assertion::Replayed => Err(refused(AssertionError::Replayed.to_string())),
    }
}

/// The agent that is an attested workload.
fn attested(
    registry: &Registry,
    workload: Result<Workload, AttestationError>,
) -> Result<Client, OAuthError> {
    let workload = workload.map_err(|e| match e {
        AttestationError::Keys(_) => OAuthError::TemporarilyUnavailable(
            "the keys of the workload's platform cannot be had at the moment; try again".into(),
        ),
        other => refused(other.to_string()),
    })?;
    registry
        .agent_by_workload(&workload)
        .ok_or_else(|| {
            refused("no agent is registered for this workload; `writ agent add --auth workload` registers one")
        })
        .and_then(approved)
}

fn approved(agent: &Arc<Agent>) -> Result<Client, OAuthError> {
    match agent.status {
        Status::Approved => Ok(Client {
            agent: Arc::clone(agent),
            key: None,
        }),
        Status::Pending => Err(refused("this client still waits for approval")),
        Status::Disabled => Err(refused("this client is disabled")),
    }
}

fn refused(told: impl Into<super::Description>) -> OAuthError {
    OAuthError::InvalidClient(told.into())
}
