//! What was reported to the service, and whether it has been reported before.

use std::collections::HashSet;

use jiff::SignedDuration;
use sqlx::AnyConnection;

use super::{StoreError, shadow_servers::Seen, tally::Tried};
use crate::audit::{Beside, Record};

/// How long the same event may be sent again without being recorded twice.
pub(super) const REMEMBERED: SignedDuration = SignedDuration::from_hours(1);

/// The same for the same event sent again: a digest of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventKey(pub [u8; 16]);

impl EventKey {
    /// Of an event that is told again by whoever keeps this.
    #[must_use]
    pub fn unique() -> Self {
        Self(uuid::Uuid::now_v7().into_bytes())
    }

    fn hex(self) -> String {
        self.0.iter().map(|b| format!("{b:02X}")).collect()
    }
}

/// Something to be put on record.
#[derive(Clone, Debug)]
pub enum Reported {
    /// With a record of its own.
    Record(Box<Record>),
    /// With a record of its own, and what lies beside it.
    Decision(Box<Record>, Box<Beside>),
    /// With a record of its own while the day has not seen too many of them.
    Rogue(Box<Record>),
    /// By counting, and with a record where something of it is new.
    ShadowServer(Box<Seen>),
    /// By counting.
    Tried(Tried),
}

/// A batch of events.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What happened, and how to tell it again where it may be sent again.
    pub events: Vec<(Option<EventKey>, Reported)>,
    /// When it was received, in seconds since the epoch.
    pub now: u64,
}

/// The events that have not been reported before; from now on they have.
pub(super) async fn fresh<'a>(
    conn: &mut AnyConnection,
    report: &'a Report,
) -> Result<Vec<&'a Reported>, StoreError> {
    let keys: Vec<String> = report
        .events
        .iter()
        .filter_map(|(key, _)| key.map(EventKey::hex))
        .collect();
    let new: HashSet<String> = if keys.is_empty() {
        HashSet::new()
    } else {
        sqlx::query_scalar(
            "INSERT INTO reported (key, seen_at) SELECT unhex(value), $2 FROM json_each($1) WHERE true
             ON CONFLICT (key) DO NOTHING RETURNING hex(key)",
        )
        .bind(super::json(&keys)?)
        .bind(i64::try_from(report.now).unwrap_or(i64::MAX))
        .fetch_all(conn)
        .await?
        .into_iter()
        .collect()
    };
    let is_fresh = |key: &Option<EventKey>| key.is_none_or(|key| new.contains(&key.hex()));
    let fresh = report.events.iter().filter(|(key, _)| is_fresh(key));
    Ok(fresh.map(|(_, reported)| reported).collect())
}
