//! The sinks of the audit log: that each has what there is.

use jiff::Timestamp;

use super::Finding;
use crate::{
    config::Config,
    sinks::lag,
    store::{Store, StoreError, sinks::SinkState},
};

const CHECK: &str = "sinks";
/// A sink that has not had a record for so long is behind.
const BEHIND_S: f64 = 60.0;

pub(super) async fn examine(store: &Store, config: &Config, now: Timestamp) -> Vec<Finding> {
    match all(store, config, now).await {
        Ok(found) => found,
        Err(error) => vec![Finding::unreadable(CHECK, &error)],
    }
}

async fn all(store: &Store, config: &Config, now: Timestamp) -> Result<Vec<Finding>, StoreError> {
    let size = store.log_state().await?.size;
    let states = store.sinks().await?;
    let mut found = Vec::new();
    for sink in &config.audit.sinks {
        let state = states.iter().find(|state| state.name == sink.name);
        found.push(match state {
            Some(state) => one(store, state, size, now).await?,
            None => Finding::warning(
                CHECK,
                format!("nothing was ever sent to {}", sink.name),
                "start `writ serve` with this configuration",
            ),
        });
    }
    Ok(found)
}

async fn one(
    store: &Store,
    state: &SinkState,
    size: u64,
    now: Timestamp,
) -> Result<Finding, StoreError> {
    let behind = lag::of(store, state, size, now).await?;
    let name = &state.name;
    if behind.seconds < BEHIND_S {
        return Ok(Finding::ok(CHECK, format!("{name} has what there is")));
    }
    let found = format!(
        "{name} lacks {} records, the first for {:.0} s: {}",
        behind.records,
        behind.seconds,
        state.last_error.as_deref().unwrap_or("nobody sends")
    );
    let fix = "see that the sink takes what it is sent (docs/sinks.md) and that `writ serve` runs; nothing is lost meanwhile";
    Ok(Finding::problem(CHECK, found, fix))
}
