//! What has to be done now and then: counted tries put on record, expired rows deleted.

use std::time::Duration;

use jiff::Timestamp;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{sync::watch, time::MissedTickBehavior};

use crate::{
    app::{App, SharedApp},
    clock::unix,
    log,
    store::{
        StoreError,
        reported::{Report, Reported},
    },
};

const FLUSH_EVERY: Duration = Duration::from_secs(1);
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// For so long all checkpoints are kept, and then one an hour.
const KEEP_CHECKPOINTS: Duration = Duration::from_secs(86400);
const TEND_KEYS_EVERY: Duration = Duration::from_secs(60);

pub(super) async fn run(
    app: SharedApp,
    metrics: Option<PrometheusHandle>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut flush = tokio::time::interval(FLUSH_EVERY);
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tend_keys = tokio::time::interval(TEND_KEYS_EVERY);
    tend_keys.set_missed_tick_behavior(MissedTickBehavior::Delay);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let done = tokio::select! {
            _ = flush.tick() => each_second(&app).await,
            _ = tend_keys.tick() => {
                if let Err(error) = app.tend_keys().await {
                    tracing::error!(%error, "the signing keys could not be tended; it is tried again");
                }
                Ok(())
            }
            _ = sweep.tick() => {
                if let Some(metrics) = &metrics {
                    metrics.run_upkeep();
                }
                tidy(&app).await
            }
            () = super::told_to_stop(&mut stopped) => break,
        };
        if let Err(error) = done {
            tracing::warn!(%error, "maintenance failed; it is tried again");
        }
    }
}

/// Deletes what has expired, and puts on record what was counted and is over.
async fn tidy(app: &App) -> Result<(), StoreError> {
    let now = app.clock.now();
    let before = |kept: Duration| now.checked_sub(kept).unwrap_or(Timestamp::UNIX_EPOCH);
    app.store.sweep(unix(now)).await?;
    app.store.tell_floods(now).await?;
    app.store
        .prune_checkpoints(before(KEEP_CHECKPOINTS))
        .await?;
    if let Err(error) = log::archive::sweep(&app.store).await {
        tracing::warn!(%error, "what is archived could not be deleted; it is tried again");
    }
    let (inputs, audit) = (&app.config.policy_inputs, &app.config.audit);
    app.store.sweep_inputs(before(inputs.keep)).await?;
    app.store
        .sweep_arguments(before(audit.arguments.keep))
        .await
}

/// Without requests, too, a service notices what another process has changed.
async fn each_second(app: &App) -> Result<(), StoreError> {
    app.current_registry().await?;
    put_tries_on_record(app).await
}

/// For the end, when no request is in flight any more.
pub(super) async fn finish(app: &App) {
    if let Err(error) = put_tries_on_record(app).await {
        tracing::error!(%error, "the last tries of unknown callers are not on record");
    }
}

async fn put_tries_on_record(app: &App) -> Result<(), StoreError> {
    let tried = app.tries.take();
    if tried.is_empty() {
        return Ok(());
    }
    let events = tried
        .into_iter()
        .map(|t| (None, Reported::Tried(t)))
        .collect();
    let now = unix(app.clock.now());
    app.store.report(Report { events, now }).await
}
