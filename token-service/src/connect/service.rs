//! The token service, as a guard sees it: who mints, with which keys, for whom no more; which tokens are spent; and a place
//! for what should not have come here.
//!
//! It is the gateways' listener that is asked: on this machine with a secret, from another one with a client certificate.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use reqwest::{Certificate, Client, Identity, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;
use url::Url;
use writ_core::token::{Accepted, KeySet, KeySetError, Stopped, TokenError, Verifier};
use writ_policy::{event::EventBatch, input::Status, snapshot::Snapshot, stops::Stops};

use crate::http::outbound;

/// How long one request may take.
const REQUEST_TIME: Duration = Duration::from_secs(3);
/// How often it is asked what has changed.
const INTERVAL: Duration = Duration::from_secs(1);
/// How old the latest answer may be: a service that is away for longer could have taken back anything.
const STALE: Duration = Duration::from_secs(60);
/// The largest snapshot that is read, in bytes.
const MAX_SNAPSHOT: usize = 64 << 20;
/// The largest other answer, in bytes.
const MAX_ANSWER: usize = 64 << 10;
/// Tokens whose signatures are remembered.
const REMEMBERED: usize = 4096;
/// What clocks may differ by, in seconds.
pub(super) const SKEW_S: u64 = 5;

/// Who asks.
#[derive(Debug)]
pub(super) struct Access {
    /// The id of a gateway, or of the server itself.
    pub(super) id: String,
    /// The secret, where that is how it proves who it is.
    pub(super) secret: Option<SecretString>,
}

/// Where the listener for gateways is.
#[derive(Clone, Debug)]
pub enum Place {
    /// On this machine, over TCP.
    Loopback(Url),
    /// On this machine.
    Unix(PathBuf),
    /// Elsewhere, over TLS on both sides.
    Tls {
        /// Where.
        url: Url,
        /// The certificate authorities that are believed besides the system's, as PEM.
        authorities: Vec<u8>,
        /// The certificate chain and private key of this side, as PEM.
        identity: Vec<u8>,
    },
}

/// Why the token service is of no help.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The certificates cannot be used.
    #[error("the certificates for the token service cannot be used: {0}")]
    Tls(reqwest::Error),
    /// It does not answer.
    #[error("the token service does not answer: {0}")]
    Away(String),
    /// It does not believe us.
    #[error(
        "the token service does not know `{0}` with this secret or certificate, or it is disabled or not approved yet"
    )]
    Unauthorized(String),
    /// It answers something else.
    #[error("the token service answered {0}")]
    Status(StatusCode),
    /// Its answer cannot be read.
    #[error("the token service's answer cannot be read: {0}")]
    Answer(#[from] serde_json::Error),
    /// Its keys cannot be used.
    #[error("the token service's keys cannot be used: {0}")]
    Keys(#[from] KeySetError),
    /// Registered for the other work.
    #[error(
        "`{0}` is registered as a gateway: register a guard with `writ gateway add ID --kind guard --server SERVER`"
    )]
    NoGuard(String),
    /// Not its gateway.
    #[error(
        "`{id}` does not guard the server `{server}`, or there is no such server; see `writ gateway list` and `writ server list`"
    )]
    NotItsGuard {
        /// Who asks.
        id: String,
        /// About which server.
        server: String,
    },
}

/// What is known of the server and its callers, as of the latest snapshot.
#[derive(Debug)]
pub(super) struct Known {
    /// Who mints.
    pub(super) issuer: String,
    /// The audience of tokens for the server.
    pub(super) audience: String,
    /// The public URL of the server.
    pub(super) resource: String,
    verifier: Mutex<Verifier>,
    agents: BTreeSet<String>,
    disabled: BTreeSet<String>,
    revoked: BTreeSet<String>,
    stops: Stops,
    server_is_approved: bool,
}

/// Where somebody stands whose token is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Good,
    Disabled,
    Revoked,
}

impl Known {
    fn read(body: &[u8], id: &str, server: &str) -> Result<Self, ServiceError> {
        let snapshot: Snapshot = serde_json::from_slice(body)?;
        let entry = snapshot.servers.get(server);
        let entry = entry.ok_or_else(|| ServiceError::NotItsGuard {
            id: id.to_owned(),
            server: server.to_owned(),
        })?;
        // Gateways get it, and spend nothing.
        if entry.seal_key.is_some() {
            return Err(ServiceError::NoGuard(id.to_owned()));
        }
        let mut verifier = Verifier::new(SKEW_S, REMEMBERED);
        let keys = KeySet::from_jwks(&snapshot.jwks)?;
        verifier.trust(&snapshot.issuer, keys, &["at+jwt"]);
        let approved = |status: Status| status == Status::Approved;
        Ok(Self {
            audience: entry.upstream_audience.clone(),
            resource: entry.resource.clone(),
            server_is_approved: approved(entry.status),
            issuer: snapshot.issuer,
            verifier: Mutex::new(verifier),
            agents: snapshot
                .agents
                .into_iter()
                .filter(|(_, agent)| approved(agent.status))
                .map(|(id, _)| id)
                .collect(),
            disabled: snapshot.disabled_subjects,
            revoked: snapshot.revoked,
            stops: snapshot.stops,
        })
    }

    /// Checks a token's form, issuer, signature and time.
    pub(super) fn verify(&self, token: &str, now: u64) -> Result<Arc<Accepted>, TokenError> {
        let mut verifier = self.verifier.lock().unwrap_or_else(PoisonError::into_inner);
        verifier.verify(token, now)
    }

    /// Where whoever has this token stands now, at this server.
    pub(super) fn standing(&self, accepted: &Accepted, server: &str) -> Standing {
        let claims = &accepted.claims;
        let stopped = claims.stopped(&self.stops, Some(server));
        if stopped == Some(Stopped::Revoked) || claims.origins().any(|id| self.revoked.contains(id))
        {
            return Standing::Revoked;
        }
        let good = self.server_is_approved
            && stopped.is_none()
            && self.agents.contains(&claims.client_id)
            && !self.disabled.contains(&claims.subject);
        if good {
            Standing::Good
        } else {
            Standing::Disabled
        }
    }
}

/// Whether a token was spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spending {
    /// Yes, and nobody else is told so.
    Now,
    /// It was before, or is not good.
    Never,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Service {
    client: Client,
    base: String,
    access: Access,
    server: String,
    latest: watch::Sender<Option<(Arc<Known>, Instant)>>,
}

impl Service {
    /// Gets ready to ask about `server`.
    ///
    /// # Errors
    /// When the certificates cannot be used.
    pub(super) fn new(place: Place, access: Access, server: &str) -> Result<Self, ServiceError> {
        // An error says that it is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(REQUEST_TIME)
            .no_proxy()
            .user_agent(concat!("writ-connect/", env!("CARGO_PKG_VERSION")));
        let (client, base) = match &place {
            Place::Loopback(url) => (client, url.as_str()),
            Place::Unix(path) => (client.unix_socket(path.as_path()), "http://localhost/"),
            Place::Tls {
                url,
                authorities,
                identity,
            } => {
                let tls = ServiceError::Tls;
                let authorities = Certificate::from_pem_bundle(authorities).map_err(tls)?;
                let identity = Identity::from_pem(identity).map_err(tls)?;
                let client = client.https_only(true).tls_certs_merge(authorities);
                (client.identity(identity), url.as_str())
            }
        };
        Ok(Self {
            base: base.trim_end_matches('/').to_owned(),
            client: client.build().map_err(ServiceError::Tls)?,
            access,
            server: server.to_owned(),
            latest: watch::Sender::new(None),
        })
    }

    /// The server that it is about.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// What is known now; none when the service has been away for too long.
    pub(super) fn known(&self) -> Option<Arc<Known>> {
        let latest = self.latest.borrow();
        let (known, at) = latest.as_ref()?;
        (at.elapsed() < STALE).then(|| Arc::clone(known))
    }

    /// Asks once for what is known.
    ///
    /// # Errors
    /// When there is no answer, or none that is of use.
    pub(super) async fn refresh(&self) -> Result<Arc<Known>, ServiceError> {
        let fetched = self.fetch(None).await?;
        let known = fetched.map(|(known, _)| known);
        known.ok_or(ServiceError::Status(StatusCode::NOT_MODIFIED))
    }

    /// Keeps what is known up to date, for as long as this is polled.
    pub(super) async fn follow(&self) {
        let mut etag = None;
        let mut is_away = false;
        loop {
            match self.fetch(etag.as_deref()).await {
                Ok(fetched) => {
                    if let Some((_, tag)) = fetched {
                        etag = tag;
                    }
                    is_away = false;
                }
                // Whatever was known of another credential or server is not to be used.
                Err(error) => {
                    if matches!(
                        error,
                        ServiceError::Unauthorized(_)
                            | ServiceError::NotItsGuard { .. }
                            | ServiceError::NoGuard(_)
                    ) {
                        self.latest.send_replace(None);
                        etag = None;
                    }
                    if !std::mem::replace(&mut is_away, true) {
                        tracing::warn!("{error}; nothing passes when that lasts");
                    }
                }
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    async fn fetch(
        &self,
        etag: Option<&str>,
    ) -> Result<Option<(Arc<Known>, Option<String>)>, ServiceError> {
        let mut request = self
            .client
            .get(format!("{}/gateway/v1/snapshot", self.base));
        if let Some(etag) = etag {
            request = request.header("if-none-match", etag);
        }
        let response = self.send(request).await?;
        if response.status() == StatusCode::NOT_MODIFIED {
            self.latest.send_if_modified(|latest| {
                if let Some((_, at)) = latest {
                    *at = Instant::now();
                }
                false
            });
            return Ok(None);
        }
        let tag = response.headers().get("etag").and_then(|v| v.to_str().ok());
        let tag = tag.map(str::to_owned);
        let body = outbound::read(response, MAX_SNAPSHOT).await;
        let body = body.map_err(|error| ServiceError::Away(error.to_string()))?;
        let known = Arc::new(Known::read(&body, &self.access.id, &self.server)?);
        self.latest
            .send_replace(Some((Arc::clone(&known), Instant::now())));
        Ok(Some((known, tag)))
    }

    /// Sends a request with our credentials; an answer of success or 304.
    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, ServiceError> {
        let request = match &self.access.secret {
            Some(secret) => {
                let form = |text: &str| {
                    form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>()
                };
                request.basic_auth(form(&self.access.id), Some(form(secret.expose_secret())))
            }
            None => request,
        };
        let response = request.send().await;
        let response = response.map_err(|error| ServiceError::Away(cause(&error)))?;
        match response.status() {
            StatusCode::UNAUTHORIZED => Err(ServiceError::Unauthorized(self.access.id.clone())),
            status if status.is_success() || status == StatusCode::NOT_MODIFIED => Ok(response),
            status => Err(ServiceError::Status(status)),
        }
    }

    /// Spends a token, if it is good and was not before.
    ///
    /// # Errors
    /// When that is not known.
    pub(super) async fn consume(&self, asked: &Value) -> Result<Spending, ServiceError> {
        #[derive(Deserialize)]
        struct Consumed {
            active: bool,
        }
        let response = self.post("consume", asked).await?;
        let body = outbound::read(response, MAX_ANSWER).await;
        let body = body.map_err(|error| ServiceError::Away(error.to_string()))?;
        let consumed: Consumed = serde_json::from_slice(&body)?;
        Ok(if consumed.active {
            Spending::Now
        } else {
            Spending::Never
        })
    }

    /// Puts events on record.
    ///
    /// # Errors
    /// When they may not be.
    pub(super) async fn report(&self, batch: &EventBatch) -> Result<(), ServiceError> {
        self.post("events", batch).await.map(drop)
    }

    async fn post(&self, endpoint: &str, body: &impl Serialize) -> Result<Response, ServiceError> {
        let url = format!("{}/gateway/v1/{endpoint}", self.base);
        self.send(self.client.post(url).json(body)).await
    }
}

/// What is at the bottom of an error: the rest says that a request failed.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
