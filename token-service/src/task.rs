//! Tasks: what an agent has declared that it will do, and what its calls within one are confined to.
//!
//! The service names a task and alone knows what it is for; a name that a client makes up is refused.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use jiff::Timestamp;
use serde::Serialize;
use tokio::{
    sync::{Mutex, MutexGuard},
    time::timeout,
};
use writ_core::message::{RESPONSE, Travel};
use writ_policy::input;

use crate::{
    clock::rfc3339,
    store::{StoreError, commit::Charge},
};

/// Tools by server id.
pub type Tools = BTreeMap<String, Vec<String>>;

/// A task that was approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Task {
    /// UUIDv7; what calls name it by.
    pub id: String,
    /// What all its calls share (`txn`).
    #[serde(skip)]
    pub txn: String,
    /// `sub` of the token it was opened with.
    pub subject: String,
    /// `client_id` of the token it was opened with.
    pub agent: String,
    /// What it is for, as the agent put it.
    pub purpose: String,
    /// What may be called within it.
    pub tools: Tools,
    /// The most calls it may have.
    pub max_calls: Option<u64>,
    /// Its calls so far.
    pub calls: u64,
    /// When it was opened.
    pub opened: Timestamp,
    /// When it ends by itself.
    pub expires: Timestamp,
    /// When it was closed.
    pub closed: Option<Timestamp>,
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Calls may be made within it.
    Open,
    /// Somebody ended it.
    Closed,
    /// Its time is over.
    Expired,
}

impl State {
    /// The word for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Expired => "expired",
        }
    }
}

/// Why a call is not part of the task it names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Outside {
    /// Made up, or somebody else's.
    #[error(
        "this agent has no task of that id for this user: open one, or leave the Writ-Task header out"
    )]
    Unknown,
    /// Closed.
    #[error("the task is closed: open another")]
    Closed,
    /// Over.
    #[error("the task has expired: open another")]
    Expired,
    /// The server is not named in it.
    #[error("the task does not name server {0}: open one that does")]
    Server(String),
    /// The tool is not named in it.
    #[error("the task does not name {tool} on {server}: open one that does")]
    Tool {
        /// Which server.
        server: String,
        /// Which tool.
        tool: String,
    },
    /// A task names tools; this is something else.
    #[error("the task is for tools; {0} is not part of it")]
    Method(String),
    /// As many calls as were approved.
    #[error("the task has had the {0} calls it was approved for: open another")]
    Spent(u64),
}

/// What a call within a task asks for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// `sub` of the caller's token.
    pub subject: &'a str,
    /// `client_id` of the caller's token.
    pub agent: &'a str,
    /// Server id.
    pub server: &'a str,
    /// JSON-RPC method.
    pub method: &'a str,
    /// What it acts on.
    pub target: Option<&'a str>,
    /// On what kind of token it travels.
    pub travel: Travel,
}

/// What goes on with something that a named tool began, and acts on nothing else.
const CONTINUES: [&str; 5] = [
    "session/close",
    "tasks/get",
    "tasks/update",
    "tasks/result",
    "tasks/cancel",
];

impl Task {
    /// Where it stands at `now`.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> State {
        match self.closed {
            Some(_) => State::Closed,
            None if self.expires <= now => State::Expired,
            None => State::Open,
        }
    }

    /// Whether this call is part of the task, at `now`.
    ///
    /// # Errors
    /// Why it is not.
    pub fn confine(&self, asked: &Asked<'_>, now: Timestamp) -> Result<(), Outside> {
        if (self.subject.as_str(), self.agent.as_str()) != (asked.subject, asked.agent) {
            return Err(Outside::Unknown);
        }
        match self.state(now) {
            State::Open => {}
            State::Closed => return Err(Outside::Closed),
            State::Expired => return Err(Outside::Expired),
        }
        let tools = self
            .tools
            .get(asked.server)
            .ok_or_else(|| Outside::Server(asked.server.to_owned()))?;
        match (asked.travel, asked.method, asked.target) {
            (Travel::Discovery, ..) => return Ok(()),
            (Travel::SingleUse, "tools/call", Some(tool)) => {
                if !tools.iter().any(|named| named == tool) {
                    return Err(Outside::Tool {
                        server: asked.server.to_owned(),
                        tool: tool.to_owned(),
                    });
                }
            }
            (Travel::SingleUse, method, _)
                if CONTINUES.contains(&method) || method.starts_with(RESPONSE) => {}
            (Travel::SingleUse, method, _) => return Err(Outside::Method(method.to_owned())),
        }
        match self.max_calls {
            Some(most) if self.calls >= most => Err(Outside::Spent(most)),
            _ => Ok(()),
        }
    }

    /// What the policy is told of it.
    #[must_use]
    pub fn document(&self, calls_today: u64) -> input::Document<input::Task> {
        input::Document::from(&input::Task {
            id: self.id.clone(),
            standing: Some(input::TaskStanding {
                purpose: self.purpose.clone(),
                expires: rfc3339(self.expires),
                calls: self.calls,
                max_calls: self.max_calls,
                calls_today,
            }),
        })
    }

    /// What one call costs, counted from what the decision knew.
    #[must_use]
    pub fn charge(&self, calls_today: u64, now: Timestamp) -> Charge {
        Charge {
            task: self.id.clone(),
            subject: self.subject.clone(),
            agent: self.agent.clone(),
            day: day(now),
            calls: self.calls,
            calls_today,
        }
    }
}

/// The day of a time (UTC), as counts are kept by.
#[must_use]
pub fn day(at: Timestamp) -> String {
    rfc3339(at).chars().take(10).collect()
}

/// More than the agents that call within tasks at the same moment, usually.
const LANES: usize = 64;
/// How long a call waits for those before it.
const WAIT: Duration = Duration::from_secs(2);

/// Calls of one subject and agent within tasks, decided one after the other: each is decided knowing the count before it.
#[derive(Debug)]
pub struct Turns([Mutex<()>; LANES]);

impl Default for Turns {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(())))
    }
}

impl Turns {
    /// Waits for this subject's and agent's turn.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when it does not come in time.
    pub async fn take(&self, subject: &str, agent: &str) -> Result<MutexGuard<'_, ()>, StoreError> {
        let mut hasher = DefaultHasher::new();
        (subject, agent).hash(&mut hasher);
        let lane = usize::try_from(hasher.finish() % (LANES as u64)).unwrap_or(0);
        let lane = self.0.get(lane).ok_or(StoreError::Busy)?;
        timeout(WAIT, lane.lock())
            .await
            .map_err(|_| StoreError::Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).unwrap()
    }

    fn task() -> Task {
        Task {
            id: "t".into(),
            txn: "x".into(),
            subject: "alice".into(),
            agent: "assistant".into(),
            purpose: "month's end".into(),
            tools: [("ledger".to_owned(), vec!["transfer".to_owned()])].into(),
            max_calls: Some(2),
            calls: 0,
            opened: at(0),
            expires: at(60),
            closed: None,
        }
    }

    const CALL: Asked<'static> = Asked {
        subject: "alice",
        agent: "assistant",
        server: "ledger",
        method: "tools/call",
        target: Some("transfer"),
        travel: Travel::SingleUse,
    };

    #[test]
    fn a_call_of_a_named_tool_is_part_of_the_task() {
        assert_eq!(task().confine(&CALL, at(59)), Ok(()));
        let around = Asked {
            method: "tools/list",
            target: None,
            travel: Travel::Discovery,
            ..CALL
        };
        assert_eq!(task().confine(&around, at(0)), Ok(()));
        let closing = Asked {
            method: "session/close",
            target: None,
            ..CALL
        };
        assert_eq!(task().confine(&closing, at(0)), Ok(()));
    }

    #[test]
    fn everything_else_is_outside_and_says_why() {
        let outside = |asked: Asked<'_>, second| task().confine(&asked, at(second)).unwrap_err();
        assert_eq!(
            outside(
                Asked {
                    subject: "bob",
                    ..CALL
                },
                0
            ),
            Outside::Unknown
        );
        assert_eq!(
            outside(
                Asked {
                    agent: "helper",
                    ..CALL
                },
                0
            ),
            Outside::Unknown
        );
        assert_eq!(outside(CALL, 60), Outside::Expired);
        assert_eq!(
            outside(
                Asked {
                    server: "crm",
                    ..CALL
                },
                0
            ),
            Outside::Server("crm".into())
        );
        let other = Asked {
            target: Some("export"),
            ..CALL
        };
        assert!(matches!(outside(other, 0), Outside::Tool { .. }));
        for method in ["prompts/get", "resources/read", "completion/complete"] {
            let other = Asked { method, ..CALL };
            assert_eq!(outside(other, 0), Outside::Method(method.into()));
        }
        let mut closed = task();
        closed.closed = Some(at(1));
        assert_eq!(closed.confine(&CALL, at(2)), Err(Outside::Closed));
        let mut spent = task();
        spent.calls = 2;
        assert_eq!(spent.confine(&CALL, at(2)), Err(Outside::Spent(2)));
    }
}
