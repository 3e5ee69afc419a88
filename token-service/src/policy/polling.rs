//! A bundle server's bundle, published whenever it changes, like an administrator's.

use std::time::Duration;

use reqwest::{StatusCode, header};
use secrecy::ExposeSecret as _;
use sha2::{Digest, Sha256};
use tokio::{sync::watch, time::MissedTickBehavior};
use url::Url;

use super::{SourceError, Sources, examine, force, source::MOST_PACKED};
use crate::{
    app::App,
    config::BundleServer,
    http::outbound::{self, ReadError},
    store::{StoreError, policies::NewRevision},
};

/// Who is on record for what a bundle server gave.
const AUTHOR: &str = "bundle server";

/// So many objections are told at once.
const MOST_TOLD: usize = 8;

/// Why what a bundle server has is not in force.
#[derive(Debug, thiserror::Error)]
enum PollError {
    /// It does not answer.
    #[error("{url} cannot be fetched: {problem}")]
    Fetch { url: Url, problem: String },
    /// It answers with something else than a bundle.
    #[error("{url} answers with status {status}; policy.bundle in the configuration names it")]
    Status { url: Url, status: u16 },
    /// It is no policy.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Check or tests say no.
    #[error("the bundle of {url} is not published: {told}")]
    Objections { url: Url, told: String },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a bundle server said last.
#[derive(Debug, Default)]
struct Poller {
    etag: Option<header::HeaderValue>,
    /// The last bundle that was refused, which is not examined again.
    refused: Option<[u8; 32]>,
}

/// Asks for the bundle until it is told to stop.
pub(crate) async fn run(
    app: crate::app::SharedApp,
    server: BundleServer,
    mut stopped: watch::Receiver<bool>,
) {
    let mut poller = Poller::default();
    let mut due = tokio::time::interval(server.poll_interval.max(Duration::from_secs(1)));
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = due.tick() => {}
            () = crate::serve::told_to_stop(&mut stopped) => return,
        }
        let polled = tokio::select! {
            polled = poller.poll(&app, &server) => polled,
            () = crate::serve::told_to_stop(&mut stopped) => return,
        };
        if let Err(error) = &polled {
            tracing::error!(%error, "the policy in force stays");
            force::refused("bundle");
        }
        metrics::gauge!("writ_policy_bundle_current").set(if polled.is_ok() { 1.0 } else { 0.0 });
    }
}

impl Poller {
    async fn poll(&mut self, app: &App, server: &BundleServer) -> Result<(), PollError> {
        let fetch = |problem: String| PollError::Fetch {
            url: server.url.clone(),
            problem,
        };
        let mut request = app.outbound.trusted().get(server.url.clone());
        if let Some(token) = &server.token {
            request = request.bearer_auth(token.expose_secret());
        }
        if let Some(etag) = &self.etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        let response = request
            .send()
            .await
            .map_err(|e| fetch(outbound::cause(&e)))?;
        match response.status() {
            StatusCode::NOT_MODIFIED if self.etag.is_some() => return Ok(()),
            StatusCode::OK => {}
            other => {
                return Err(PollError::Status {
                    url: server.url.clone(),
                    status: other.as_u16(),
                });
            }
        }
        let etag = response.headers().get(header::ETAG).cloned();
        let bytes = outbound::read(response, MOST_PACKED)
            .await
            .map_err(|error| match error {
                ReadError::TooBig => fetch(format!("it has more than {MOST_PACKED} bytes")),
                ReadError::Failed(error) => fetch(outbound::cause(&error)),
            })?;
        self.take(app, server, bytes).await?;
        // What was refused is asked for again each time, so that the alert stays until there is another.
        self.etag = etag;
        Ok(())
    }

    /// Publishes the bundle unless it is the one that was published last.
    async fn take(
        &mut self,
        app: &App,
        server: &BundleServer,
        bytes: Vec<u8>,
    ) -> Result<(), PollError> {
        self.etag = None;
        let url = server.url.as_str();
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        if app.store.bundle_is_published(url, &digest).await? {
            return Ok(());
        }
        let objected = |told: String| PollError::Objections {
            url: server.url.clone(),
            told,
        };
        if self.refused == Some(digest) {
            return Err(objected("it is the one that was refused before".to_owned()));
        }
        self.refused = Some(digest);
        let origin = url.to_owned();
        let examined = tokio::task::spawn_blocking(move || {
            let sources = Sources::bundle(&origin, &bytes)?;
            let objections = examine(&sources)?.objections();
            Ok::<_, SourceError>((sources, objections))
        });
        let (sources, objections) = examined.await.map_err(|e| objected(e.to_string()))??;
        if !objections.is_empty() {
            let told: Vec<_> = objections.into_iter().take(MOST_TOLD).collect();
            return Err(objected(told.join("; ")));
        }
        let message = match &sources.named {
            Some(named) => format!("bundle {named}"),
            None => "bundle".to_owned(),
        };
        let revision = sources.revision();
        let new = NewRevision {
            revision: &revision,
            files: &sources.files,
            origin: url,
            named: sources.named.as_deref(),
            message: &message,
            author: AUTHOR,
        };
        app.store
            .publish_bundle(&new, url, &digest, app.clock.now())
            .await?;
        self.refused = None;
        app.current_registry().await?;
        Ok(())
    }
}
