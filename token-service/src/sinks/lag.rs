//! How far behind sinks are, for the metrics: looked at apart from the sending, so that a sink that hangs shows.

use std::time::Duration;

use jiff::Timestamp;
use tokio::{sync::watch, time::MissedTickBehavior};

use crate::{
    app::{App, SharedApp},
    store::{Store, StoreError, sinks::SinkState},
};

const EVERY: Duration = Duration::from_secs(1);

/// How far behind a sink is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Lag {
    /// Records that were not sent.
    pub(crate) records: u64,
    /// How long ago the first of them was made.
    pub(crate) seconds: f64,
}

/// How far behind a sink is, in a log of this size.
///
/// # Errors
/// When the database fails.
pub(crate) async fn of(
    store: &Store,
    state: &SinkState,
    size: u64,
    now: Timestamp,
) -> Result<Lag, StoreError> {
    let records = size.saturating_sub(state.next);
    if records == 0 {
        return Ok(Lag::default());
    }
    let first = store.records_from_leaf(state.next, 1).await?;
    let first = first.first().map(|entry| entry.record.time.parse());
    let since = first.and_then(Result::ok).unwrap_or(now);
    Ok(Lag {
        records,
        seconds: now.duration_since(since).as_secs_f64().max(0.0),
    })
}

pub(crate) async fn run(app: SharedApp, mut stopped: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = crate::serve::told_to_stop(&mut stopped) => return,
        }
        if let Err(error) = measure(&app).await {
            tracing::debug!(%error, "the lag of the log's sinks is not known");
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a double")]
async fn measure(app: &App) -> Result<(), StoreError> {
    let size = app.store.log_state().await?.size;
    let now = app.clock.now();
    for state in app.store.sinks().await? {
        if !app
            .config
            .audit
            .sinks
            .iter()
            .any(|sink| sink.name == state.name)
        {
            continue;
        }
        let lag = of(&app.store, &state, size, now).await?;
        metrics::gauge!("writ_sink_lag_records", "sink" => state.name.clone())
            .set(lag.records as f64);
        metrics::gauge!("writ_sink_lag_seconds", "sink" => state.name).set(lag.seconds);
    }
    Ok(())
}
