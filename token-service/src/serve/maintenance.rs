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
    stopped: watch::Receiver<bool>,
) {
    tokio::join!(
        often(&app, stopped.clone()),
        now_and_then(&app, metrics, stopped)
    );
}

/// What others wait for.
async fn often(app: &App, mut stopped: watch::Receiver<bool>) {
    let mut flush = every(FLUSH_EVERY);
    let mut tend_keys = every(TEND_KEYS_EVERY);
    loop {
        tokio::select! {
            _ = flush.tick() => {
                if let Err(error) = each_second(app).await {
                    tracing::warn!(%error, "maintenance failed; it is tried again");
                }
            }
            _ = tend_keys.tick() => {
                if let Err(error) = app.tend_keys().await {
                    tracing::error!(%error, "the signing keys could not be tended; it is tried again");
                }
            }
            () = super::told_to_stop(&mut stopped) => break,
        }
    }
}

/// What may take as long as it takes.
async fn now_and_then(
    app: &App,
    metrics: Option<PrometheusHandle>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut sweep = every(SWEEP_EVERY);
    let tidying = async {
        loop {
            sweep.tick().await;
            if let Some(metrics) = &metrics {
                metrics.run_upkeep();
            }
            tidy(app).await;
        }
    };
    tokio::select! {
        () = tidying => {}
        () = super::told_to_stop(&mut stopped) => {}
    }
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Deletes what has expired, and puts on record what was counted and is over. What fails keeps nothing else from being done.
async fn tidy(app: &App) {
    let now = app.clock.now();
    let before = |kept: Duration| now.checked_sub(kept).unwrap_or(Timestamp::UNIX_EPOCH);
    let (inputs, arguments) = (&app.config.policy_inputs, &app.config.audit.arguments);
    let told = |what: &str, error: &dyn std::error::Error| {
        tracing::warn!(%error, "{what} failed; it is tried again");
    };
    if let Err(error) = app.store.tell_floods(now).await {
        told("putting on record what was counted", &error);
    }
    if let Err(error) = app.store.sweep(now).await {
        told("deleting what has expired", &error);
    }
    let day_ago = before(KEEP_CHECKPOINTS);
    if let Err(error) = app.store.prune_checkpoints(day_ago).await {
        told("deleting old checkpoints", &error);
    }
    if let Err(error) = log::archive::sweep(&app.store).await {
        told("deleting what is archived", &error);
    }
    if let Err(error) = app.store.sweep_inputs(before(inputs.keep)).await {
        told("deleting what policies were asked", &error);
    }
    if let Err(error) = app.store.sweep_arguments(before(arguments.keep)).await {
        told("deleting what calls carried", &error);
    }
}

/// Without requests, too, a service notices what another process has changed.
async fn each_second(app: &App) -> Result<(), StoreError> {
    app.current_registry().await?;
    put_tries_on_record(app).await
}

/// For the end, when no request is in flight any more.
pub(super) async fn finish(app: &App) {
    // What was flushed and did not get there, and what came since.
    for _ in 0..2 {
        if let Err(error) = put_tries_on_record(app).await {
            tracing::error!(%error, "the last tries of unknown callers are not on record");
        }
    }
}

async fn put_tries_on_record(app: &App) -> Result<(), StoreError> {
    let tried = app.tries.flush();
    if tried.is_empty() {
        return Ok(());
    }
    let events = tried
        .into_iter()
        .map(|(key, tried)| (Some(key), Reported::Tried(tried)))
        .collect();
    let now = unix(app.clock.now());
    app.store.report(Report { events, now }).await?;
    app.tries.recorded();
    Ok(())
}
