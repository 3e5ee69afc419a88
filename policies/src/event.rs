//! What the filter reports for the audit trail, posted in batches to `POST /gateway/v1/events`.
//!
//! The service answers 204 once every event of the batch is durable. Times are RFC 3339 in UTC.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::credential::Credential;
use crate::decision::DenialCause;
use crate::kept::KeptInput;

/// A batch of events, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventBatch {
    /// At most [`MAX_EVENTS`].
    pub events: Vec<Event>,
    /// Spans of traces: at most [`MAX_SPANS`]. They are for whoever collects traces, and not put on record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<Span>,
}

/// The most events one batch may carry.
pub const MAX_EVENTS: usize = 512;

/// The most spans one batch may carry.
pub const MAX_SPANS: usize = 512;

/// One thing that happened at a gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// The filter refused a call of an authenticated caller. Recorded before the caller is answered.
    Denied(Denied),
    /// A request sent upstream is over.
    Outcome(Outcome),
    /// A discovery token was used again.
    DiscoveryUse(DiscoveryUse),
    /// Requests refused before anybody was authenticated, counted.
    Unauthenticated(Unauthenticated),
    /// What should not have reached a server, seen by its guard.
    Rogue(Rogue),
    /// MCP traffic of agents past their gateway, seen where it leaves.
    ShadowServer(ShadowServer),
    /// A server's list had a tool that is not defined as it was approved.
    PinChanged(PinChanged),
}

/// What was asked for: common to every event about one request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The request's id at the gateway (Envoy's `x-request-id`).
    pub request_id: String,
    /// When it happened.
    pub time: String,
    /// Server id in the registry.
    pub server: String,
    /// JSON-RPC method.
    pub method: String,
    /// Tool, prompt, URI or task, where the method has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The caller's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<String>,
    /// `sub` of the caller's token.
    pub subject: String,
    /// `client_id` of the caller's token.
    pub agent: String,
    /// `jti` of the caller's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_token_id: Option<String>,
    /// The id of the trace that the caller says it belongs to (W3C Trace Context).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// What policies know the session as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

/// See [`Event::Denied`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Denied {
    /// What was asked for.
    pub call: Call,
    /// Which way of saying no it was.
    pub cause: DenialCause,
    /// The reason the caller is shown.
    pub reason: String,
    /// Revision of the policy that decided.
    pub policy_revision: String,
    /// RFC 9530 `sha-256` digest of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_digest: Option<String>,
    /// What the policy was asked, where one was, within [`MOST_REPORTED`](crate::kept::MOST_REPORTED).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<KeptInput>,
}

/// See [`Event::Outcome`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// `jti` of the minted token the request travelled on.
    pub token_id: String,
    /// `x-request-id`.
    pub request_id: String,
    /// When the response ended.
    pub time: String,
    /// HTTP status from upstream; absent when none came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How it ended.
    pub result: CallResult,
    /// From the request's arrival at the gateway to the end of the response, in microseconds.
    pub duration_us: u64,
    /// Bytes of the request body.
    pub request_bytes: u64,
    /// Bytes of the response body.
    pub response_bytes: u64,
    /// RFC 9530 `sha-256` digest of the response message as the caller got it: of a JSON body, or of an event's data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_digest: Option<String>,
    /// How much of each kind was masked in what the caller got.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub masked: BTreeMap<String, u64>,
    /// Why the caller did not get what the server sent, or got it no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// JSON-RPC method, for those who count; on record is that of the token.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// Tool, prompt, URI or task, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// As in [`Call::trace`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// As in [`Call::session`]; that of `initialize` is the one that it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

/// A call on its way through the filter, as a span of a trace: from its arrival to the end of its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// What was asked for.
    pub call: Call,
    /// The span itself, as `traceparent` names it (W3C Trace Context section 3.2).
    pub context: String,
    /// The id of the span that it is a child of.
    pub parent: String,
    /// The span of another trace that the call came in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// `tracestate` (W3C Trace Context section 3.3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// JSON-RPC id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// MCP protocol version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When it came, in microseconds since 1970.
    pub start_us: u64,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// HTTP status of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What went wrong, in a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// JSON-RPC error code of the filter's own answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallResult {
    /// A JSON-RPC result, or an accepted notification.
    Ok,
    /// A result with `isError: true`.
    ToolError,
    /// A JSON-RPC error.
    ProtocolError,
    /// An HTTP status that is not a success.
    HttpError,
    /// The server wants to know more from the client first (MCP 2026-07-28).
    InputRequired,
    /// The server goes on with it as a task.
    Task,
    /// The caller got an error in place of what the server sent: the policy withheld it, or it could not be read.
    Withheld,
    /// The caller left, or said that it wants no answer any more.
    Cancelled,
    /// The server's response did not come to its end, or ended without an answer.
    CutOff,
    /// The server took longer than the proxy waits.
    TimedOut,
    /// The gateway ended it: the caller's token ran out, or what it stood for was taken back.
    Ended,
    /// The response was not in a form that says how it went.
    Unknown,
}

impl CallResult {
    /// All of them, for the CLI's filter.
    pub const ALL: [Self; 12] = [
        Self::Ok,
        Self::ToolError,
        Self::ProtocolError,
        Self::HttpError,
        Self::InputRequired,
        Self::Task,
        Self::Withheld,
        Self::Cancelled,
        Self::CutOff,
        Self::TimedOut,
        Self::Ended,
        Self::Unknown,
    ];

    /// The word on record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ToolError => "tool_error",
            Self::ProtocolError => "protocol_error",
            Self::HttpError => "http_error",
            Self::InputRequired => "input_required",
            Self::Task => "task",
            Self::Withheld => "withheld",
            Self::Cancelled => "cancelled",
            Self::CutOff => "cut_off",
            Self::TimedOut => "timed_out",
            Self::Ended => "ended",
            Self::Unknown => "unknown",
        }
    }

    /// Whether it is an end that nobody has to look into.
    #[must_use]
    pub fn is_good(self) -> bool {
        matches!(self, Self::Ok | Self::Task | Self::InputRequired)
    }
}

/// See [`Event::DiscoveryUse`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscoveryUse {
    /// What was asked for.
    pub call: Call,
    /// `jti` of the discovery token.
    pub token_id: String,
    /// Revision of the policy that decided.
    pub policy_revision: String,
}

/// See [`Event::Unauthenticated`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unauthenticated {
    /// What was wrong, from a closed list (`missing_token`, `expired`, `bad_signature`, …).
    pub kind: String,
    /// The caller's address.
    pub source_ip: String,
    /// Server id, or empty where the request named none.
    pub server: String,
    /// When the first of these was seen.
    pub first: String,
    /// When the last of these was seen.
    pub last: String,
    /// How many.
    pub count: u64,
}

/// See [`Event::Rogue`]. Never the credential itself, nor a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rogue {
    /// Server id.
    pub server: String,
    /// What kind of credential it was.
    pub credential: Credential,
    /// What was wrong, as the caller was told.
    pub reason: String,
    /// `iss` of a JWT of somebody else's, which nobody has checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// `sub`, where it is a token of ours that has been verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// `client_id`, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// `jti` of the first of these, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_id: Option<String>,
    /// Where the requests came from.
    pub source_ip: String,
    /// `x-request-id` of the first of these.
    pub request_id: String,
    /// When the first of these was seen.
    pub first: String,
    /// When the last of these was seen.
    pub last: String,
    /// How many.
    pub count: u64,
}

/// See [`Event::ShadowServer`]: the use of one server. No credential, nor a part of one: what in a path could be one is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowServer {
    /// The host, with its port where that is not the usual one.
    pub host: String,
    /// The path, without its query.
    pub path: String,
    /// JSON-RPC method of the first of these, where it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Tool, prompt or URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What the client calls itself in its first message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// `User-Agent`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Whether they were refused.
    pub refused: bool,
    /// Where they came from.
    pub source_ip: String,
    /// `x-request-id` of the first of these.
    pub request_id: String,
    /// When the first of these was seen.
    pub first: String,
    /// When the last of these was seen.
    pub last: String,
    /// How many.
    pub count: u64,
}

/// See [`Event::PinChanged`]. Each worker tells of a tool's new definition once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinChanged {
    /// Server id.
    pub server: String,
    /// The tool's name.
    pub tool: String,
    /// The digest of the approved definition, in hexadecimal digits.
    pub pinned: String,
    /// That of the definition in the list.
    pub shown: String,
    /// `x-request-id` of the request that the list answers.
    pub request_id: String,
    /// When.
    pub time: String,
}
