//! Sending checkpoints to an endpoint that keeps them, where whoever could change the database can not.

use reqwest::{StatusCode, header::CONTENT_TYPE};
use secrecy::ExposeSecret as _;
use tokio::sync::watch;

use super::keep::Rounds;
use crate::{
    app::{App, SharedApp},
    config::audit::Endpoint,
    http::outbound::cause,
    serve::told_to_stop,
    store::StoreError,
};

/// Why a checkpoint is not there.
#[derive(Debug, thiserror::Error)]
enum PostError {
    /// It was not reached, or not in time.
    #[error("it was not reached: {0}")]
    Unreached(String),
    /// It does not take it.
    #[error("it answered {0}")]
    Refused(StatusCode),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Sends each checkpoint, and again until it is taken or there is a newer one.
pub(crate) async fn run(app: SharedApp, to: Endpoint, mut stopped: watch::Receiver<bool>) {
    let mut rounds = Rounds::to_show(&app, stopped.clone());
    let mut taken = 0;
    while rounds.next().await {
        let sent = tokio::select! {
            sent = newest(&app, &to, taken) => sent,
            () = told_to_stop(&mut stopped) => return,
        };
        if sent.is_err() {
            metrics::counter!("writ_log_endpoint_errors_total").increment(1);
        }
        if let Some(error) = rounds.is_told(sent.map(|size| taken = size)) {
            tracing::warn!(%error, "a checkpoint is not at audit.checkpoint_endpoint; it is tried again");
        }
    }
}

/// The size of the newest checkpoint that is there.
async fn newest(app: &App, to: &Endpoint, taken: u64) -> Result<u64, PostError> {
    let newest = app.store.newest_checkpoint().await?;
    let Some(newest) = newest.filter(|newest| newest.size > taken) else {
        return Ok(taken);
    };
    let request = app.outbound.trusted().post(to.url.clone());
    let request = request.header(CONTENT_TYPE, "text/plain; charset=utf-8");
    let request = match &to.token {
        Some(token) => request.bearer_auth(token.expose_secret()),
        None => request,
    };
    let answer = request.body(newest.note).send().await;
    let status = answer
        .map_err(|error| PostError::Unreached(cause(&error)))?
        .status();
    match status.is_success() {
        true => Ok(newest.size),
        false => Err(PostError::Refused(status)),
    }
}
