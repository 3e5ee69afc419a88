//! Archiving by itself: what is older than the configuration says leaves the database, an archive a day.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::{sync::watch, time::MissedTickBehavior};

use super::archive::{self, ArchiveError};
use crate::{app::SharedApp, config::audit::Archiving, serve::told_to_stop, store::StoreError};

/// How often it is looked whether another day is over.
const LOOK_EVERY: Duration = Duration::from_secs(600);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Archives, until the service ends; what is being written then is begun again.
pub(crate) async fn run(app: SharedApp, to: Archiving, mut stopped: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let archiving = async {
        loop {
            ticks.tick().await;
            match archive_days(&app, &to).await {
                Ok(()) => {}
                // Another service does it.
                Err(ArchiveError::Elsewhere(_) | ArchiveError::Store(StoreError::Conflict(_))) => {}
                Err(error) => {
                    metrics::counter!("writ_log_archive_errors_total").increment(1);
                    tracing::error!(%error, "old records are not archived; they are kept, and it is tried again");
                }
            }
            if let Ok(oldest) = app.store.oldest_logged().await {
                let age = oldest.map(|oldest| app.clock.now().duration_since(oldest));
                let late = age.map_or(0.0, |age| age.as_secs_f64() - to.after.as_secs_f64());
                metrics::gauge!("writ_log_archive_lag_seconds").set(late.max(0.0));
            }
        }
    };
    tokio::select! {
        () = archiving => {}
        () = told_to_stop(&mut stopped) => {}
    }
}

/// Each day of records that is old enough.
async fn archive_days(app: &SharedApp, to: &Archiving) -> Result<(), ArchiveError> {
    let now = app.clock.now();
    let old = now.checked_sub(to.after).unwrap_or(Timestamp::UNIX_EPOCH);
    while let Some(oldest) = app.store.oldest_logged().await?.filter(|at| *at < old) {
        // Where no checkpoint ends with a day, the next day takes what is left of it.
        let mut day_ends = midnight_before(oldest);
        let archived = loop {
            day_ends += DAY;
            if day_ends > old {
                return Ok(());
            }
            let sinks = &app.config.audit.sinks;
            let archived = archive::archive(&app.store, &to.dir, day_ends, sinks, now).await?;
            if let Some(archived) = archived {
                break archived;
            }
        };
        let (file, records) = (&archived.file, archived.size - archived.first);
        tracing::info!(file, records, "archived a day of the audit log");
    }
    Ok(())
}

fn midnight_before(time: Timestamp) -> Timestamp {
    let seconds = time.as_second();
    Timestamp::from_second(seconds - seconds.rem_euclid(86_400)).unwrap_or(Timestamp::UNIX_EPOCH)
}
