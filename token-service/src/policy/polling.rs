//! A bundle server's bundle, published whenever it changes, like an administrator's.

use std::time::Duration;

use reqwest::{StatusCode, header};
use secrecy::ExposeSecret as _;
use sha2::{Digest, Sha256};
use tokio::{sync::watch, time::MissedTickBehavior};
use url::Url;

use super::{SourceError, Sources, TESTS_TAKE, examine, force, source::MOST_PACKED};
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
    /// The last bundle that was refused, by its digest, and why: it is not examined again.
    refused: Option<([u8; 32], String)>,
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
        if let Some((_, why)) = self.refused.as_ref().filter(|(of, _)| *of == digest) {
            return Err(objected(format!(
                "it is the one that was refused before: {why}"
            )));
        }
        let origin = url.to_owned();
        let examined = tokio::task::spawn_blocking(move || {
            let sources = Sources::bundle(&origin, &bytes)?;
            let objections = examine(&sources, TESTS_TAKE)?.objections();
            Ok::<_, SourceError>((sources, objections))
        });
        // Only what the bundle itself is at fault for is remembered: whatever else goes wrong may go well the next time.
        let examined = examined.await.map_err(|e| objected(e.to_string()))?;
        let (sources, objections) = examined.inspect_err(|why| {
            self.refused = Some((digest, why.to_string()));
        })?;
        if !objections.is_empty() {
            let told: Vec<_> = objections.into_iter().take(MOST_TOLD).collect();
            let told = told.join("; ");
            self.refused = Some((digest, told.clone()));
            return Err(objected(told));
        }
        let message = match &sources.named {
            Some(named) => format!("bundle {named}"),
            None => "bundle".to_owned(),
        };
        let revision = sources.revision();
        let new = NewRevision {
            origin: url,
            ..sources.as_new(&revision, &message, AUTHOR)
        };
        app.store
            .publish_bundle(&new, url, &digest, app.clock.now())
            .await?;
        app.current_registry().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::test_database;

    const RULES: &str = "package writ\n\ncall := {\"allow\": true}\n";
    const FAILS: &str = "package writ_test\n\ntest_no if false\n";

    fn packed(files: &[(&str, &str)]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            archive
                .append_data(&mut header, path, text.as_bytes())
                .unwrap();
        }
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&archive.into_inner().unwrap()).unwrap();
        gzip.finish().unwrap()
    }

    fn server() -> BundleServer {
        BundleServer {
            url: Url::parse("https://bundles.test/writ.tar.gz").unwrap(),
            poll_interval: Duration::from_secs(30),
            token: None,
        }
    }

    async fn sql(app: &App, statement: String) {
        let mut tx = app.store.write().await.unwrap();
        let changed = sqlx::query(sqlx::AssertSqlSafe(statement)).execute(tx.conn());
        changed.await.unwrap();
        tx.commit().await.unwrap();
    }

    #[tokio::test]
    async fn a_good_bundle_is_taken_once_the_database_works_again() {
        let dir = tempfile::tempdir().unwrap();
        let app = App::in_directory(dir.path()).await;
        let (mut poller, bundle) = (Poller::default(), packed(&[("rules.rego", RULES)]));
        let [refuse, take] = test_database::refusing(&app.config.data_dir, "policy_revisions");
        sql(&app, refuse).await;
        let failed = poller.take(&app, &server(), bundle.clone()).await;
        assert!(matches!(failed, Err(PollError::Store(_))), "{failed:?}");
        sql(&app, take).await;
        poller.take(&app, &server(), bundle).await.unwrap();
        assert_eq!(app.store.policy_in_force().await.unwrap(), Some(1));
    }

    #[tokio::test]
    async fn a_refused_bundle_is_refused_again_with_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let app = App::in_directory(dir.path()).await;
        let mut poller = Poller::default();
        for (bundle, why) in [
            (
                packed(&[("rules.rego", RULES), ("a_test.rego", FAILS)]),
                "test_no",
            ),
            (packed(&[]), "no .rego file"),
        ] {
            for before in [false, true] {
                let refused = poller.take(&app, &server(), bundle.clone()).await;
                let told = refused.unwrap_err().to_string();
                assert!(told.contains(why), "{told}");
                assert_eq!(told.contains("refused before"), before, "{told}");
            }
        }
        assert_eq!(app.store.policy_in_force().await.unwrap(), None);
    }
}
