//! What is put on record: who did what to which server, what was decided and why.
//!
//! A record holds no token, secret or argument; a token is named by its `jti`, a body by its digest. What is kept of arguments lies
//! beside it.

mod arguments;
mod finding;
pub mod operator;
mod redaction;
mod seen_tools;
mod text;
mod tries;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use arguments::{Arguments, Beside, Keep, Key as ArgumentsKey, OpenError, Opened};
pub use finding::Finding;
pub use redaction::Redaction;
pub use seen_tools::SeenTools;
pub use text::{clip, printable};
pub use tries::{Tries, TryKind};

use crate::clock::rfc3339;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A token was minted for a call.
    Mint,
    /// A call was refused.
    Denied,
    /// A call that went upstream is over.
    Outcome,
    /// A discovery token was used again.
    DiscoveryUse,
    /// Something should not be, or is new: a [`Finding`].
    Rogue,
    /// A server's list had a tool that is not defined as it was approved.
    PinChanged,
    /// Tries of nobody in particular: the first of a kind, address and server; the rest is counted.
    Unauthenticated,
    /// An administrator changed something.
    Admin,
    /// A user signed in, or failed to.
    SignIn,
    /// A user signed out, or was signed out by their identity provider.
    SignOut,
    /// The issuer gave an agent a token to call with.
    TokenIssued,
    /// A task was opened, refused or closed.
    Task,
    /// A client or server registered, changed or removed itself, or tried to.
    Registration,
    /// A user gave an agent leave to act for them.
    Consent,
    /// A client gave a token or grant back.
    Revoked,
    /// Somebody who enforces the policy asked what it says, and was told.
    Evaluation,
}

impl Kind {
    /// All kinds, for the CLI's filter.
    pub const ALL: [Self; 16] = [
        Self::Mint,
        Self::Denied,
        Self::Outcome,
        Self::DiscoveryUse,
        Self::Rogue,
        Self::PinChanged,
        Self::Unauthenticated,
        Self::Admin,
        Self::SignIn,
        Self::SignOut,
        Self::TokenIssued,
        Self::Task,
        Self::Registration,
        Self::Consent,
        Self::Revoked,
        Self::Evaluation,
    ];

    /// The word in the store and the CLI.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mint => "mint",
            Self::Denied => "denied",
            Self::Outcome => "outcome",
            Self::DiscoveryUse => "discovery_use",
            Self::Rogue => "rogue",
            Self::PinChanged => "pin_changed",
            Self::Unauthenticated => "unauthenticated",
            Self::Admin => "admin",
            Self::SignIn => "sign_in",
            Self::SignOut => "sign_out",
            Self::TokenIssued => "token_issued",
            Self::Task => "task",
            Self::Registration => "registration",
            Self::Consent => "consent",
            Self::Revoked => "revoked",
            Self::Evaluation => "evaluation",
        }
    }
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Let through.
    Allow,
    /// Refused.
    Deny,
}

impl Verdict {
    /// The word in the store and the CLI.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// Where the detail has the id of the trace.
const TRACE_ID: &str = "trace_id";
/// Where the detail has the session.
const SESSION: &str = "session";

/// One record. Absent fields do not apply to its kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// UUIDv7.
    pub id: String,
    /// RFC 3339, UTC, by this service's clock.
    pub time: String,
    /// What the record is about.
    pub kind: Kind,
    /// `sub`: the user, or the agent itself; for [`Kind::Admin`], whoever ran the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// `client_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Which gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Which server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// JSON-RPC method; for [`Kind::Admin`], the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Tool, prompt, URI or task; for [`Kind::Admin`], what was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Verdict>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Revision of the policy the gateway decided with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_policy: Option<String>,
    /// Revision of the policy this service decided with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_policy: Option<String>,
    /// `jti` of the minted, spent or issued token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_id: Option<String>,
    /// `txn` of the minted token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub txn: Option<String>,
    /// `jti` of the caller's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_token_id: Option<String>,
    /// RFC 9530 `sha-256` digest of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_digest: Option<String>,
    /// RFC 9530 `sha-256` digest of the response message, as the caller got it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_digest: Option<String>,
    /// The gateway's id of the request (`x-request-id`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The caller's address, as the gateway or server saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<String>,
    /// The task that the call belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// What only this kind has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<serde_json::Value>,
}

impl Record {
    /// Says one thing more in the detail.
    pub fn note(&mut self, name: &str, value: serde_json::Value) {
        let detail = self.detail.get_or_insert_with(|| json!({}));
        if let Some(detail) = detail.as_object_mut() {
            detail.insert(name.to_owned(), value);
        }
    }

    /// Says which trace it belongs to (W3C Trace Context), where whoever called said so.
    pub fn of_trace(&mut self, id: Option<String>) {
        if let Some(id) = id {
            self.note(TRACE_ID, id.into());
        }
    }

    /// The id of that trace.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        self.noted(TRACE_ID)
    }

    /// Says which session at the server it belongs to (MCP 2025-11-25 and before): by what policies know that as, which is of no use
    /// to whoever reads it.
    pub fn of_session(&mut self, name: Option<&str>) {
        if let Some(name) = name {
            self.note(SESSION, clip(name, 64).into());
        }
    }

    /// That session.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.noted(SESSION)
    }

    fn noted(&self, name: &str) -> Option<&str> {
        self.detail.as_ref()?.get(name)?.as_str()
    }

    /// A record of this kind, made now, with nothing else in it.
    #[must_use]
    pub fn new(kind: Kind, now: Timestamp) -> Self {
        Self {
            id: crate::secret::new_id(),
            time: rfc3339(now),
            kind,
            subject: None,
            agent: None,
            gateway: None,
            server: None,
            method: None,
            target: None,
            decision: None,
            reason: None,
            gateway_policy: None,
            service_policy: None,
            token_id: None,
            txn: None,
            subject_token_id: None,
            content_digest: None,
            result_digest: None,
            request_id: None,
            source_ip: None,
            task: None,
            detail: None,
        }
    }

    /// An administrator's change: `command` (`agent disable`) to `target`.
    #[must_use]
    pub fn admin(now: Timestamp, command: &str, target: &str) -> Self {
        let mut record = Self::new(Kind::Admin, now);
        record.subject = operator::operator();
        record.method = Some(command.to_owned());
        record.target = Some(target.to_owned());
        record
    }
}
