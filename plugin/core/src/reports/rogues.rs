//! Rogue accesses on their way into the audit trail: the first of a kind at once, a flood of them counted.

use std::collections::BTreeMap;
use std::time::Duration;

use writ_policy::credential::Credential;
use writ_policy::event::Rogue;

use super::{MAX_KINDS, OTHERS};

/// How long the next ones of a kind are counted before they are told of.
const COUNTED_FOR: Duration = Duration::from_secs(10);

/// What makes accesses alike: what it was, from where, whose.
type Key = (
    Credential,
    String,
    Option<String>,
    Option<String>,
    Option<String>,
);

/// The rogue accesses that a worker has seen lately.
#[derive(Debug, Default)]
pub(super) struct Rogues {
    seen: BTreeMap<Key, Seen>,
}

#[derive(Debug)]
struct Seen {
    /// Those that nothing has been told of yet.
    untold: Option<Rogue>,
    /// When to tell of them.
    due: Duration,
}

impl Rogues {
    /// Counts one.
    pub(super) fn count(&mut self, mut rogue: Rogue, now: Duration) {
        let mut key = key(&rogue);
        if self.seen.len() >= MAX_KINDS && !self.seen.contains_key(&key) {
            key = (rogue.credential, OTHERS.to_owned(), None, None, None);
            rogue.source_ip = OTHERS.to_owned();
            (rogue.subject, rogue.agent, rogue.token_id) = (None, None, None);
            rogue.issuer = None;
        }
        let seen = self.seen.entry(key).or_insert(Seen {
            untold: None,
            due: now,
        });
        match &mut seen.untold {
            None => seen.untold = Some(rogue),
            Some(untold) => {
                untold.last = rogue.last;
                untold.count = untold.count.saturating_add(rogue.count);
            }
        }
    }

    /// Takes what is to be told of at `now`, and forgets the kinds that were not seen again.
    pub(super) fn due(&mut self, now: Duration) -> Vec<Rogue> {
        let mut told = Vec::new();
        self.seen.retain(|_, seen| {
            if seen.due > now {
                return true;
            }
            seen.due = now.saturating_add(COUNTED_FOR);
            let untold = seen.untold.take();
            let again = untold.is_some();
            told.extend(untold);
            again
        });
        told
    }
}

fn key(rogue: &Rogue) -> Key {
    (
        rogue.credential,
        rogue.source_ip.clone(),
        rogue.subject.clone(),
        rogue.agent.clone(),
        rogue.issuer.clone(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rogue(source_ip: &str, time: &str) -> Rogue {
        Rogue {
            server: "ledger".to_owned(),
            credential: Credential::GitHub,
            reason: "r".to_owned(),
            issuer: None,
            subject: None,
            agent: None,
            token_id: None,
            source_ip: source_ip.to_owned(),
            request_id: time.to_owned(),
            first: time.to_owned(),
            last: time.to_owned(),
            count: 1,
        }
    }

    #[test]
    fn the_first_is_told_of_at_once_and_a_flood_is_counted() {
        let (mut rogues, at) = (Rogues::default(), Duration::from_secs);
        rogues.count(rogue("192.0.2.1", "1"), at(1));
        assert_eq!(rogues.due(at(1)), [rogue("192.0.2.1", "1")]);
        for n in 2..=9 {
            rogues.count(rogue("192.0.2.1", &n.to_string()), at(n));
            assert_eq!(rogues.due(at(n)), []);
        }
        let [told] = &rogues.due(at(11))[..] else {
            panic!("nothing told")
        };
        assert_eq!(
            (told.first.as_str(), told.last.as_str(), told.count),
            ("2", "9", 8)
        );
        assert_eq!(told.request_id, "2");
        assert_eq!(rogues.due(at(21)), []);
        assert!(rogues.seen.is_empty(), "forgotten");
        rogues.count(rogue("192.0.2.1", "22"), at(22));
        assert_eq!(rogues.due(at(22)).len(), 1);
    }

    #[test]
    fn many_of_them_take_bounded_room_and_none_is_lost() {
        let mut rogues = Rogues::default();
        for n in 0..100_000 {
            let (source, time) = (format!("192.0.2.{n}"), n.to_string());
            rogues.count(rogue(&source, &time), Duration::ZERO);
        }
        let told = rogues.due(Duration::ZERO);
        assert_eq!(told.len(), MAX_KINDS + 1);
        assert_eq!(told.iter().map(|rogue| rogue.count).sum::<u64>(), 100_000);
    }
}
