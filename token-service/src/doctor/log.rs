//! The audit log: that it goes on, and that somebody else could tell if it were changed.

use jiff::{SignedDuration, Timestamp};

use super::Finding;
use crate::{
    config::Config,
    store::{Store, StoreError},
};

const CHECK: &str = "audit log";
/// A record that has been no leaf for so long is not about to be one.
const BEHIND: SignedDuration = SignedDuration::from_secs(30);

pub(super) async fn examine(store: &Store, config: &Config, now: Timestamp) -> Vec<Finding> {
    let goes_on = goes_on(store, now).await;
    let goes_on = goes_on.unwrap_or_else(|error| Finding::unreadable(CHECK, &error));
    vec![goes_on, elsewhere(config)]
}

async fn goes_on(store: &Store, now: Timestamp) -> Result<Finding, StoreError> {
    let behind = store.oldest_unsequenced().await?;
    let behind = behind.map(|oldest| now.duration_since(oldest));
    Ok(match behind.filter(|behind| *behind > BEHIND) {
        None => Finding::ok(CHECK, "every record becomes a leaf"),
        Some(behind) => Finding::problem(
            CHECK,
            format!("a record has been no leaf for {} s", behind.as_secs()),
            "see that `writ serve` runs; its log says why the audit log does not go on",
        ),
    })
}

fn elsewhere(config: &Config) -> Finding {
    let audit = &config.audit;
    let dir = audit.checkpoint_dir.as_ref();
    let dir = dir.map(|dir| dir.display().to_string());
    let endpoint = audit.checkpoint_endpoint.as_ref();
    let endpoint = endpoint.map(|endpoint| endpoint.url.to_string());
    let witnesses = audit.witnesses.iter();
    let witnesses = witnesses.map(|witness| witness.key.name().to_owned());
    let places: Vec<String> = dir.into_iter().chain(endpoint).chain(witnesses).collect();
    if places.is_empty() {
        return Finding::warning(
            CHECK,
            "its checkpoints lie in its database only: whoever can write there can put it back to an earlier state",
            "set `audit.checkpoint_dir`, `audit.checkpoint_endpoint` or `audit.witnesses` (docs/audit.md)",
        );
    }
    let found = format!("its checkpoints go to {}", places.join(", "));
    Finding::ok(CHECK, found)
}
