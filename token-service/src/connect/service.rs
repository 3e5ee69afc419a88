//! The token service, as a guard sees it: who mints, with which keys, for whom no more; which tokens are spent; and a place
//! for what should not have come here.
//!
//! It is the gateways' listener that is asked: on this machine with a secret, from another one with a client certificate.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::{Certificate, Client, Identity, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Mutex, watch};
use url::Url;
use writ_core::{
    snapshot::{
        Head,
        assembly::{Assembly, Refused, Taken},
        signed::is_thumbprint,
    },
    token::KeySetError,
};
use writ_policy::{
    engine::ENGINE,
    event::EventBatch,
    snapshot::{FORMAT, Part},
};

use super::known::Known;
use crate::{
    clock::{Clock as _, SystemClock, unix},
    http::outbound,
};

/// How long one request may take.
const REQUEST_TIME: Duration = Duration::from_secs(3);
/// How long it is to wait for news, in seconds.
const WAIT_S: u64 = 8;
/// How long to pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);
/// The most parts of a snapshot that are asked for at once.
const MOST_ASKED: usize = 64;
/// How old the latest answer may be: a service that is away for longer could have taken back anything.
const STALE: Duration = Duration::from_secs(60);
/// The largest snapshot that is read, in bytes.
const MAX_SNAPSHOT: usize = 16 << 20;
/// The largest other answer, in bytes.
const MAX_ANSWER: usize = 64 << 10;
/// What clocks may differ by, in seconds.
pub(super) const SKEW_S: u64 = 5;

/// Who asks.
#[derive(Debug)]
pub(super) struct Access {
    /// The id of a gateway, or of the server itself.
    pub(super) id: String,
    /// The secret, where that is how it proves who it is.
    pub(super) secret: Option<SecretString>,
    /// The thumbprint (RFC 7638) of the key that signs what it is told.
    pub(super) snapshot_key: String,
}

impl Access {
    /// Whoever has this id, and trusts the key that the secret ends with, or else this one.
    ///
    /// # Errors
    /// When there is no key.
    pub(super) fn new(
        id: &str,
        secret: Option<SecretString>,
        key: Option<&str>,
    ) -> Result<Self, ServiceError> {
        let text = secret.as_ref().map(|secret| secret.expose_secret());
        let of_secret = text.and_then(|text| Some(text.rsplit_once('.')?.1));
        let key = key.or(of_secret).filter(|key| is_thumbprint(key));
        let snapshot_key = key.ok_or_else(|| ServiceError::NoKey(id.to_owned()))?;
        Ok(Self {
            id: id.to_owned(),
            snapshot_key: snapshot_key.to_owned(),
            secret,
        })
    }

    fn assembly(&self) -> Assembly<Arc<Part>> {
        Assembly::new(&self.id, &self.snapshot_key)
    }
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
    /// Its word for what is new is not to be believed.
    #[error("the token service's snapshot is refused: {0}")]
    Refused(#[from] Refused),
    /// Nobody has said whom to believe.
    #[error(
        "the secret of `{0}` does not end with the key that snapshots are signed with: give --snapshot-key what `writ snapshot key` prints"
    )]
    NoKey(String),
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
    assembly: Mutex<Assembly<Arc<Part>>>,
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
            assembly: Mutex::new(access.assembly()),
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
        let is_good = at.elapsed() < STALE && known.is_good(unix(SystemClock.now()));
        is_good.then(|| Arc::clone(known))
    }

    /// Asks until everything is known.
    ///
    /// # Errors
    /// When there is no answer, or none that is of use.
    pub(super) async fn refresh(&self) -> Result<Arc<Known>, ServiceError> {
        loop {
            if let Some(known) = self.fetch(0).await? {
                return Ok(known);
            }
        }
    }

    /// Keeps what is known up to date, for as long as this is polled.
    pub(super) async fn follow(&self) {
        let mut is_away = false;
        loop {
            match self.fetch(WAIT_S).await {
                Ok(_) => is_away = false,
                // Whatever was known of another credential or server is not to be used.
                Err(error) => {
                    if matches!(
                        error,
                        ServiceError::Unauthorized(_)
                            | ServiceError::NotItsGuard { .. }
                            | ServiceError::NoGuard(_)
                    ) {
                        self.latest.send_replace(None);
                        *self.assembly.lock().await = self.access.assembly();
                    }
                    if !std::mem::replace(&mut is_away, true) {
                        tracing::warn!("{error}; nothing passes when that lasts");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Asks what is new, and waits for it for so long, in seconds. Answers with what is known, where it is all there.
    async fn fetch(&self, wait_s: u64) -> Result<Option<Arc<Known>>, ServiceError> {
        let mut assembly = self.assembly.lock().await;
        let missing: Vec<&str> = assembly.missing().take(MOST_ASKED).collect();
        let wait_s = match missing.is_empty() && assembly.held().is_some() {
            true => wait_s,
            false => 0,
        };
        let mut request = self
            .client
            .get(format!("{}/gateway/v1/snapshot", self.base))
            .query(&[("format", FORMAT.to_string().as_str()), ("engine", ENGINE)])
            .query(&[("key", assembly.trusted()), ("parts", &missing.join(","))])
            .header("prefer", format!("wait={wait_s}"))
            .timeout(REQUEST_TIME + Duration::from_secs(wait_s));
        if let Some(known) = assembly.known() {
            request = request.header("if-none-match", format!("\"{known}\""));
        }
        let response = self.send(request).await?;
        let body = outbound::read(response, MAX_SNAPSHOT).await;
        let body = body.map_err(|error| ServiceError::Away(error.to_string()))?;
        let now = unix(SystemClock.now());
        let read = |_: &Head, name: &str, text: &[u8]| {
            Part::read(name, text)
                .map(Arc::new)
                .map_err(|e| e.to_string())
        };
        if assembly.take(&body, now, read)? == Taken::Some {
            return Ok(None);
        }
        let Some(revision) = assembly.staged().or(assembly.held()) else {
            return Ok(None);
        };
        let known = Arc::new(Known::of(revision, &self.access.id, &self.server)?);
        assembly.accept();
        self.latest
            .send_replace(Some((Arc::clone(&known), Instant::now())));
        Ok(Some(known))
    }

    /// Sends a request with our credentials; an answer of success.
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
            status if status.is_success() => Ok(response),
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
