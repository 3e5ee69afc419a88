//! Tries of unknown callers at the service itself, counted in memory and put on record every second.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;

use super::clip;
use crate::store::{reported::EventKey, tally::Tried};

/// Distinct kinds, addresses and servers held between two flushes; past it they share one overflow entry.
const HELD: usize = 1024;

/// What was wrong with a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TryKind {
    /// A gateway's id or secret is wrong.
    InvalidGateway,
    /// A client's credentials are wrong.
    InvalidClient,
    /// A server's id or secret is wrong at introspection.
    InvalidServer,
    /// A gateway brought a caller's token that is none.
    InvalidSubjectToken,
    /// A user's name or password is wrong.
    InvalidPassword,
    /// An initial or registration access token is wrong.
    InvalidRegistrationToken,
}

impl TryKind {
    /// The word on record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidGateway => "invalid_gateway",
            Self::InvalidClient => "invalid_client",
            Self::InvalidServer => "invalid_server",
            Self::InvalidSubjectToken => "invalid_subject_token",
            Self::InvalidPassword => "invalid_password",
            Self::InvalidRegistrationToken => "invalid_registration_token",
        }
    }
}

type Key = (&'static str, String);

/// The tries that are not known to be on record.
#[derive(Debug, Default)]
pub struct Tries(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    /// Since the last flush.
    counted: HashMap<Key, Tried>,
    /// What the last flush is to put on record.
    flushed: Vec<(EventKey, Tried)>,
}

impl Tries {
    /// Counts one try.
    pub fn note(&self, kind: TryKind, source_ip: &str, now: Timestamp) {
        metrics::counter!("writ_unauthenticated_total", "kind" => kind.as_str()).increment(1);
        let counted = &mut self.held().counted;
        let mut key = (kind.as_str(), clip(source_ip, 64));
        if counted.len() >= HELD && !counted.contains_key(&key) {
            key = (kind.as_str(), "*".to_owned());
        }
        let tried = counted
            .entry(key)
            .or_insert_with_key(|(kind, source_ip)| Tried {
                kind: (*kind).to_owned(),
                source_ip: source_ip.clone(),
                server: String::new(),
                gateway: None,
                first: now,
                last: now,
                count: 0,
            });
        tried.last = tried.last.max(now);
        tried.count = tried.count.saturating_add(1);
    }

    /// What is to be put on record: the same again, by the same keys, until [`Tries::recorded`] says that it is there.
    #[must_use]
    pub fn flush(&self) -> Vec<(EventKey, Tried)> {
        let mut held = self.held();
        if held.flushed.is_empty() {
            let counted = std::mem::take(&mut held.counted).into_values();
            held.flushed = counted.map(|tried| (EventKey::unique(), tried)).collect();
        }
        held.flushed.clone()
    }

    /// What the last flush gave is on record.
    pub fn recorded(&self) {
        self.held().flushed.clear();
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_counted_and_what_is_held_is_bounded() {
        let tries = Tries::default();
        let now = Timestamp::UNIX_EPOCH;
        for _ in 0..3 {
            tries.note(TryKind::InvalidClient, "192.0.2.1", now);
        }
        for n in 0..5000 {
            tries.note(
                TryKind::InvalidGateway,
                &format!("10.0.{}.{}", n / 256, n % 256),
                now,
            );
        }
        let flushed = tries.flush();
        assert!(flushed.len() <= HELD + 1);
        assert_eq!(flushed.iter().map(|(_, t)| t.count).sum::<u64>(), 5003);
        assert!(
            flushed
                .iter()
                .any(|(_, t)| t.count == 3 && t.source_ip == "192.0.2.1")
        );
        tries.recorded();
        assert!(tries.flush().is_empty());
    }

    #[test]
    fn what_is_not_on_record_yet_is_flushed_again_by_the_same_keys() {
        let tries = Tries::default();
        let try_one = || tries.note(TryKind::InvalidClient, "192.0.2.1", Timestamp::UNIX_EPOCH);
        try_one();
        let first = tries.flush();
        try_one();
        assert_eq!(tries.flush(), first);
        tries.recorded();
        let second = tries.flush();
        assert_eq!(second[0].1.count, 1);
        assert_ne!(second[0].0, first[0].0);
    }
}
