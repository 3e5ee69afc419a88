//! The kill switch: who may not go on although their tokens are good and their registrations are in use.
//!
//! What was taken back by its id (a token, a grant, a transaction) is in the snapshot's own list; here is what names no
//! token: everything issued to a subject or an agent up to a moment, and everybody but those on a list.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// What is stopped, as of one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stops {
    /// Subjects whose tokens that were issued up to this moment (seconds since 1970) are good no longer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub subjects: BTreeMap<String, u64>,
    /// The same of agents, by `client_id`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub agents: BTreeMap<String, u64>,
    /// Who alone goes on, where not everybody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lockdown: Option<Lockdown>,
}

/// Who goes on while everybody else is stopped: what is named in each list that names anything. With nothing named, nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lockdown {
    /// Subjects.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub subjects: BTreeSet<String>,
    /// Agents, by `client_id`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub agents: BTreeSet<String>,
    /// Servers, by id.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub servers: BTreeSet<String>,
}

impl Lockdown {
    /// Whether this subject goes on, by this agent at this server; with none, where it is about no server.
    #[must_use]
    pub fn allows(&self, subject: &str, agent: &str, server: Option<&str>) -> bool {
        let named = |list: &BTreeSet<String>, one: Option<&str>| {
            list.is_empty() || one.is_some_and(|one| list.contains(one))
        };
        let nobody = self.subjects.is_empty() && self.agents.is_empty() && self.servers.is_empty();
        !nobody
            && named(&self.subjects, Some(subject))
            && named(&self.agents, Some(agent))
            && named(&self.servers, server)
    }
}

impl Stops {
    /// Whether a subject's tokens of this time (seconds since 1970) were taken back. One without a time may be of any.
    #[must_use]
    pub fn has_revoked_subject(&self, subject: &str, issued_at: Option<u64>) -> bool {
        is_until(self.subjects.get(subject), issued_at)
    }

    /// The same of an agent's.
    #[must_use]
    pub fn has_revoked_agent(&self, agent: &str, issued_at: Option<u64>) -> bool {
        is_until(self.agents.get(agent), issued_at)
    }

    /// Whether a lockdown lets nobody through but others.
    #[must_use]
    pub fn locks_out(&self, subject: &str, agent: &str, server: Option<&str>) -> bool {
        let lockdown = self.lockdown.as_ref();
        lockdown.is_some_and(|lockdown| !lockdown.allows(subject, agent, server))
    }
}

fn is_until(until: Option<&u64>, issued_at: Option<u64>) -> bool {
    until.is_some_and(|until| issued_at.is_none_or(|at| at <= *until))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_was_issued_until_then_is_taken_back_and_nothing_later() {
        let stops = Stops {
            subjects: [("alice".to_owned(), 100)].into(),
            agents: [("robot".to_owned(), 200)].into(),
            lockdown: None,
        };
        for (issued_at, gone) in [(Some(99), true), (Some(100), true), (Some(101), false)] {
            assert_eq!(stops.has_revoked_subject("alice", issued_at), gone);
        }
        assert!(stops.has_revoked_subject("alice", None));
        assert!(!stops.has_revoked_subject("robot", None));
        assert!(stops.has_revoked_agent("robot", Some(200)));
        assert!(!stops.has_revoked_agent("alice", Some(1)));
        assert!(!stops.locks_out("alice", "robot", None));
    }

    #[test]
    fn in_a_lockdown_goes_on_what_every_list_names_and_with_no_list_nobody() {
        let allows = |lockdown: &Lockdown| {
            let who = [
                ("alice", "robot", Some("ledger")),
                ("alice", "robot", Some("bank")),
                ("alice", "robot", None),
                ("alice", "chat", Some("ledger")),
                ("bob", "robot", Some("ledger")),
            ];
            who.map(|(subject, agent, server)| lockdown.allows(subject, agent, server))
        };
        assert_eq!(allows(&Lockdown::default()), [false; 5]);
        let mut lockdown = Lockdown {
            subjects: set(&["alice", "carol"]),
            ..Lockdown::default()
        };
        assert_eq!(allows(&lockdown), [true, true, true, true, false]);
        lockdown.servers = set(&["ledger"]);
        assert_eq!(allows(&lockdown), [true, false, false, true, false]);
        lockdown.agents = set(&["robot"]);
        assert_eq!(allows(&lockdown), [true, false, false, false, false]);
    }
}
