//! `writ revoke …` and `writ lockdown …`: the kill switch, beside `disable` and `enable` of each registration.

use clap::{ArgGroup, Args};
use serde_json::json;
use uuid::Uuid;
use writ_policy::stops::Lockdown;

use super::{CliError, Output};
use crate::{
    clock::{Clock as _, SystemClock},
    store::{Store, stops::Revocation},
};

/// Why an administrator stops something, for the record.
#[derive(Debug, Args)]
pub(super) struct Reason {
    /// Why: for the audit trail.
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub(super) reason: Option<String>,
}

pub(super) fn reason(text: &str) -> Result<String, String> {
    if (1..=512).contains(&text.len()) && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err("a reason has 1 to 512 bytes and no control characters".to_owned())
    }
}

/// Take tokens back, at once: at the service, in every gateway and guard, and with them the streams that they opened.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true))]
pub(super) struct Revoke {
    /// One token, by its `jti`, or one grant, by its `grant_id`; and all that was derived from it.
    #[arg(long, value_name = "ID", group = "what")]
    jti: Option<Uuid>,
    /// All tokens of one transaction, and the task that it belongs to.
    #[arg(long, value_name = "ID", group = "what")]
    txn: Option<Uuid>,
    /// All that a user (or an agent that acts for itself) has got so far: they may sign in again.
    #[arg(long, value_name = "NAME", group = "what")]
    subject: Option<String>,
    /// All that an agent has got so far, whoever it acts for: it may get new tokens.
    #[arg(long, value_name = "ID", group = "what")]
    agent: Option<String>,
    /// One sign-in (the `sid` of its ID tokens), and all that was granted in it.
    #[arg(long, value_name = "SID", group = "what", allow_hyphen_values = true)]
    session: Option<String>,
    #[command(flatten)]
    reason: Reason,
}

impl Revoke {
    pub(super) async fn run(self, store: &Store, output: &mut Output) -> Result<(), CliError> {
        let id = |id: Uuid| id.hyphenated().to_string();
        let named = [
            self.jti.map(|jti| Revocation::Token(id(jti))),
            self.txn.map(|txn| Revocation::Transaction(id(txn))),
            self.subject.map(Revocation::Subject),
            self.agent.map(Revocation::Agent),
            self.session.map(Revocation::Session),
        ];
        for what in named.into_iter().flatten() {
            let reason = self.reason.reason.as_deref();
            store.revoke(&what, reason, &SystemClock).await?;
            let kind = what.kind();
            if output.is_json() {
                output.json(&json!({"revoked": kind, "id": what.id()}))?;
            } else {
                output.line(&format!("{kind} {} is revoked", what.id()))?;
            }
        }
        Ok(())
    }
}

/// Stop all calls but those on a list, at once; or let all go on again.
///
/// A call goes on that is named in each kind that the list names: with `--allow subject:alice --allow server:ledger`, alice's
/// calls to the ledger. With no list, none.
#[derive(Debug, Args)]
pub(super) struct LockDown {
    /// Who goes on: subject:NAME, agent:ID or server:ID; may be repeated.
    #[arg(long = "allow", value_name = "KIND:NAME", value_parser = allowed)]
    allow: Vec<Allowed>,
    /// Let all calls go on again.
    #[arg(long, conflicts_with = "allow")]
    off: bool,
    #[command(flatten)]
    reason: Reason,
}

/// One entry of the list.
#[derive(Clone, Debug)]
enum Allowed {
    Subject(String),
    Agent(String),
    Server(String),
}

fn allowed(text: &str) -> Result<Allowed, String> {
    match text.split_once(':') {
        Some((_, "")) | None => Err("name subject:NAME, agent:ID or server:ID".to_owned()),
        Some(("subject", name)) => Ok(Allowed::Subject(name.to_owned())),
        Some(("agent", id)) => Ok(Allowed::Agent(id.to_owned())),
        Some(("server", id)) => Ok(Allowed::Server(id.to_owned())),
        Some((kind, _)) => Err(format!(
            "there is no kind {kind:?}: name subject:NAME, agent:ID or server:ID"
        )),
    }
}

impl LockDown {
    pub(super) async fn run(self, store: &Store, output: &mut Output) -> Result<(), CliError> {
        let mut list = Lockdown::default();
        for allowed in self.allow {
            match allowed {
                Allowed::Subject(name) => list.subjects.insert(name),
                Allowed::Agent(id) => list.agents.insert(id),
                Allowed::Server(id) => list.servers.insert(id),
            };
        }
        let lockdown = (!self.off).then_some(&list);
        let reason = self.reason.reason.as_deref();
        store.lock_down(lockdown, reason, SystemClock.now()).await?;
        if output.is_json() {
            return output.json(&json!({ "lockdown": lockdown }));
        }
        output.line(match lockdown {
            None => "lockdown is off: all calls go on",
            Some(_) => "lockdown is on; `writ lockdown --off` ends it",
        })
    }
}
