//! What many can cause, on its way into the audit trail: the first of a kind at once, a flood of the same counted.

use std::collections::BTreeMap;
use std::time::Duration;

use writ_policy::credential::Credential;
use writ_policy::event::{Rogue, ShadowServer};

use super::{MAX_KINDS, OTHERS};

/// How long the next ones of a kind are counted before they are told of.
const COUNTED_FOR: Duration = Duration::from_secs(10);

/// What is told of together where it is alike.
pub(super) trait Alike {
    /// What makes them alike.
    type Key: Ord;
    /// See [`Self::Key`].
    fn key(&self) -> Self::Key;
    /// Makes it alike to all others that there is no more room to tell apart.
    fn be_among_others(&mut self);
    /// Counts another one, which came later.
    fn add(&mut self, later: Self);
}

impl Alike for Rogue {
    /// What it was, from where, whose.
    type Key = (
        Credential,
        String,
        Option<String>,
        Option<String>,
        Option<String>,
    );

    fn key(&self) -> Self::Key {
        (
            self.credential,
            self.source_ip.clone(),
            self.subject.clone(),
            self.agent.clone(),
            self.issuer.clone(),
        )
    }

    fn be_among_others(&mut self) {
        OTHERS.clone_into(&mut self.source_ip);
        (self.subject, self.agent, self.token_id) = (None, None, None);
        self.issuer = None;
    }

    fn add(&mut self, later: Self) {
        self.last = later.last;
        self.count = self.count.saturating_add(later.count);
    }
}

impl Alike for ShadowServer {
    /// Where to, what of it, by whom.
    type Key = (String, String, Option<String>, Option<String>, String, bool);

    fn key(&self) -> Self::Key {
        (
            self.host.clone(),
            self.path.clone(),
            self.target.clone(),
            self.user_agent.clone(),
            self.source_ip.clone(),
            self.refused,
        )
    }

    fn be_among_others(&mut self) {
        for text in [&mut self.host, &mut self.path, &mut self.source_ip] {
            OTHERS.clone_into(text);
        }
        (self.method, self.target) = (None, None);
        (self.client, self.user_agent) = (None, None);
    }

    fn add(&mut self, later: Self) {
        self.last = later.last;
        self.count = self.count.saturating_add(later.count);
        self.client = self.client.take().or(later.client);
    }
}

/// What a worker has seen lately.
#[derive(Debug)]
pub(super) struct Counted<T: Alike> {
    seen: BTreeMap<T::Key, Seen<T>>,
}

#[derive(Debug)]
struct Seen<T> {
    /// Those that nothing has been told of yet.
    untold: Option<T>,
    /// When to tell of them.
    due: Duration,
}

impl<T: Alike> Default for Counted<T> {
    fn default() -> Self {
        Self {
            seen: BTreeMap::new(),
        }
    }
}

impl<T: Alike> Counted<T> {
    /// Counts one.
    pub(super) fn count(&mut self, mut one: T, now: Duration) {
        let mut key = one.key();
        if self.seen.len() >= MAX_KINDS && !self.seen.contains_key(&key) {
            one.be_among_others();
            key = one.key();
        }
        let seen = self.seen.entry(key).or_insert(Seen {
            untold: None,
            due: now,
        });
        match &mut seen.untold {
            None => seen.untold = Some(one),
            Some(untold) => untold.add(one),
        }
    }

    /// Takes what is to be told of at `now`, and forgets the kinds that were not seen again.
    pub(super) fn due(&mut self, now: Duration) -> Vec<T> {
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
        let (mut rogues, at) = (Counted::default(), Duration::from_secs);
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
        let mut rogues = Counted::default();
        for n in 0..100_000 {
            let (source, time) = (format!("192.0.2.{n}"), n.to_string());
            rogues.count(rogue(&source, &time), Duration::ZERO);
        }
        let told = rogues.due(Duration::ZERO);
        assert_eq!(told.len(), MAX_KINDS + 1);
        assert_eq!(told.iter().map(|rogue| rogue.count).sum::<u64>(), 100_000);
    }

    #[test]
    fn messages_to_one_server_are_told_of_by_tool_and_client() {
        let shadow = |target: Option<&str>, client: Option<&str>| ShadowServer {
            host: "mcp.example.com".to_owned(),
            path: "/mcp".to_owned(),
            method: None,
            target: target.map(str::to_owned),
            client: client.map(str::to_owned),
            user_agent: None,
            refused: false,
            source_ip: "192.0.2.1".to_owned(),
            request_id: "r".to_owned(),
            first: "1".to_owned(),
            last: "1".to_owned(),
            count: 1,
        };
        let mut shadows = Counted::default();
        shadows.count(shadow(None, None), Duration::ZERO);
        shadows.count(shadow(None, Some("agent/1")), Duration::ZERO);
        shadows.count(shadow(Some("read"), None), Duration::ZERO);
        let told = shadows.due(Duration::ZERO);
        let said: Vec<_> = told
            .iter()
            .map(|told| (told.target.as_deref(), told.client.as_deref(), told.count))
            .collect();
        assert_eq!(said, [(None, Some("agent/1"), 2), (Some("read"), None, 1)]);
    }
}
