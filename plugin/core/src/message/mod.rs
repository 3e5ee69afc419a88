//! The message: one strict parse of a JSON-RPC body (JSON-RPC 2.0, MCP transports of all revisions) into a typed value.
//!
//! The exact bytes are what goes upstream and what the digest is taken of; nothing is written again but the id of a client's
//! answer, which is the server's own.

mod envelope;
mod json;
mod method;
mod version;

use std::cell::RefCell;
use std::fmt;

use crate::response::Entry;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use writ_policy::Value;
use writ_policy::input::{Kind, Mcp};

pub use json::MAX_DEPTH;
pub(crate) use json::{is_taken_for, parse as parse_strict, parse_result};
pub use method::{
    NotAMethod, RESPONSE, SESSION_CLOSE, STREAM_OPEN, Travel, UnknownMethod, check_named,
    is_from_server,
};
pub(crate) use method::{is_free, is_from_client, questions};
pub(crate) use version::Era;

use method::Subject;

/// What a stateless request says of itself.
pub(crate) const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// The longest method name or target that is accepted, in bytes.
pub const MAX_NAME: usize = 1024;

/// A JSON-RPC request id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Id {
    /// A whole number.
    Number(i64),
    /// A string.
    String(String),
}

impl fmt::Display for Id {
    /// The id as JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::String(text) => serde_json::Value::from(text.as_str()).fmt(f),
        }
    }
}

/// What is wrong with a message.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Not JSON, or JSON that parsers read differently.
    #[error("the body is not acceptable JSON: {0}")]
    Json(#[source] serde_json::Error),
    /// Batches existed in MCP 2025-03-26 only.
    #[error("batches are not accepted: send one JSON-RPC message per request")]
    Batch,
    /// Not a JSON-RPC 2.0 message.
    #[error("not a JSON-RPC 2.0 message: {0}")]
    Envelope(&'static str),
    /// A parameter that names what the method acts on is missing or has the wrong type.
    #[error("`params.{parameter}` of `{method}` must be a string of 1 to {MAX_NAME} bytes")]
    Parameter {
        /// The JSON-RPC method.
        method: String,
        /// The parameter's name.
        parameter: &'static str,
    },
}

/// A body that is not a message, with the id of the request where it could be read.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct MessageError {
    /// To be echoed in the answer.
    pub id: Option<Id>,
    /// What is wrong.
    pub problem: Problem,
}

/// A checked message.
#[derive(Clone, Debug)]
pub struct Message {
    form: Form,
    id: Option<Id>,
    method: String,
    params: Value,
}

/// What kind of message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Wants an answer.
    Request,
    /// Wants none.
    Notification,
    /// The answer of a client to a question of the server's (2025-11-25 and before). Its method is `response/` and that of
    /// the question, once that is known ([`Message::answering`]).
    Response,
    /// An HTTP request without a body: opening a stream or ending a session.
    Bodiless,
}

/// Parses a body.
///
/// # Errors
/// When it is no message that every reader reads alike.
pub fn parse(body: &[u8]) -> Result<Message, MessageError> {
    let id = RefCell::new(None);
    let checked = envelope::parse(body, &id);
    let id = id.into_inner();
    match checked {
        Ok(envelope::Checked {
            form,
            method,
            params,
        }) => Ok(Message {
            form,
            id,
            method,
            params,
        }),
        Err(problem) => Err(MessageError { id, problem }),
    }
}

/// The body of an answer with another id, written as JSON, in place of its own. Nothing else changes.
#[must_use]
pub fn with_id(body: &[u8], id: &str) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        id: &'a RawValue,
    }
    let own = serde_json::from_slice::<Envelope<'_>>(body).ok()?.id.get();
    let start = (own.as_ptr() as usize).checked_sub(body.as_ptr() as usize)?;
    let (before, after) = (body.get(..start)?, body.get(start + own.len()..)?);
    Some([before, id.as_bytes(), after].concat())
}

impl Message {
    /// A request without a body: opening a stream or ending a session.
    #[must_use]
    pub fn bodiless(method: &'static str) -> Self {
        Self {
            form: Form::Bodiless,
            id: None,
            method: method.to_owned(),
            params: Value::Undefined,
        }
    }

    /// The client's answer to a question of this method.
    #[must_use]
    pub fn answering(self, question: &str) -> Self {
        let method = format!("{RESPONSE}{question}");
        Self { method, ..self }
    }

    /// The method of the question that it answers.
    #[must_use]
    pub fn answered(&self) -> Option<&str> {
        self.method.strip_prefix(RESPONSE)
    }

    /// The id that an answer to it bears; only requests are answered.
    #[must_use]
    pub fn reply_id(&self) -> Option<&Id> {
        self.id.as_ref().filter(|_| self.form == Form::Request)
    }

    /// What kind of message it is.
    #[must_use]
    pub fn form(&self) -> Form {
        self.form
    }

    /// Whether a token for `method` is for a message like this one. Of an answer the question is not known to whoever sees
    /// the message only.
    #[must_use]
    pub fn is_called(&self, method: &str) -> bool {
        match self.form {
            Form::Response => method.starts_with(RESPONSE),
            Form::Request | Form::Notification | Form::Bodiless => self.method == method,
        }
    }

    /// Whether it may be sent to `server`, whose registration names `methods` beyond those of MCP.
    ///
    /// # Errors
    /// When nobody knows its method.
    pub fn check_known(&self, server: &str, methods: &[String]) -> Result<(), UnknownMethod> {
        if method::is_from_client(&self.method) || methods.contains(&self.method) {
            return Ok(());
        }
        Err(UnknownMethod {
            method: self.method.clone(),
            server: server.to_owned(),
        })
    }

    /// The id of a request or of the question that is answered; a notification has none.
    #[must_use]
    pub fn id(&self) -> Option<&Id> {
        self.id.as_ref()
    }

    /// The JSON-RPC method.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The tool, prompt, resource or task that the message acts on.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        self.string(method::subject(&self.method).parameter()?)
    }

    /// The tool that the message calls.
    #[must_use]
    pub fn tool(&self) -> Option<&str> {
        match method::subject(&self.method) {
            Subject::Tool => self.target(),
            _ => None,
        }
    }

    /// Whether a stateless request names its target in `Mcp-Name`.
    pub(crate) fn is_named_in_header(&self) -> bool {
        method::is_named_in_header(&self.method)
    }

    /// Whether the answer can hold lists of what the server has.
    #[must_use]
    pub(crate) fn reveals(&self) -> bool {
        method::reveals(&self.method)
    }

    /// The prompt or resource (template) whose arguments `completion/complete` asks about.
    pub(crate) fn completes(&self) -> Option<Entry<'_>> {
        let of = member(&self.params, "ref").filter(|_| self.method == "completion/complete")?;
        let named = |name| match member(of, name) {
            Some(Value::String(text)) => Some(text.as_ref()),
            _ => None,
        };
        let (kind, name) = match named("type")? {
            "ref/prompt" => (Kind::Prompt, named("name")?),
            "ref/resource" => (Kind::Resource, named("uri")?),
            _ => return None,
        };
        Some(Entry {
            kind,
            name,
            text: "",
        })
    }

    /// The request whose answer the client wants no longer, where the message says so.
    pub(crate) fn cancels(&self) -> Option<Id> {
        let id = member(&self.params, "requestId")?;
        (self.method == "notifications/cancelled")
            .then(|| envelope::read_id(id))
            .flatten()
    }

    /// On what kind of token the message goes upstream.
    #[must_use]
    pub fn travel(&self) -> Travel {
        method::travel(&self.method)
    }

    /// The protocol version that the message names, in `_meta` or as `initialize` does.
    #[must_use]
    pub fn protocol_version(&self) -> Option<&str> {
        self.meta_version()
            .or_else(|| self.string("protocolVersion"))
    }

    /// The protocol version in `params._meta` (MCP 2026-07-28).
    #[must_use]
    pub fn meta_version(&self) -> Option<&str> {
        self.meta_text(META_VERSION)
    }

    /// A text in `params._meta`.
    pub(crate) fn meta_text(&self, name: &str) -> Option<&str> {
        match self.meta(name)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// What the message lacks of what every request of a stateless revision says of itself (MCP 2026-07-28, `_meta`).
    pub(crate) fn missing_meta(&self) -> Option<&'static str> {
        match (self.meta(META_VERSION), self.meta(META_CAPABILITIES)) {
            (Some(Value::String(_)), Some(Value::Object(_))) => None,
            (Some(Value::String(_)), _) => Some(META_CAPABILITIES),
            _ => Some(META_VERSION),
        }
    }

    fn meta(&self, name: &str) -> Option<&Value> {
        member(member(&self.params, "_meta")?, name)
    }

    /// The value of an argument, however deep in them.
    pub(crate) fn argument(&self, path: &[String]) -> Option<&Value> {
        let arguments = member(&self.params, "arguments")?;
        path.iter()
            .try_fold(arguments, |within, name| member(within, name))
    }

    /// What the decision is asked about.
    #[must_use]
    pub fn mcp<'a>(&'a self, version: Option<&'a str>, session: Option<&'a str>) -> Mcp<'a> {
        let subject = method::subject(&self.method);
        let target = |wanted: Subject| {
            if subject == wanted {
                self.target()
            } else {
                None
            }
        };
        Mcp {
            version: version.or_else(|| self.protocol_version()),
            method: &self.method,
            tool: target(Subject::Tool),
            pin: None,
            arguments: member(&self.params, "arguments"),
            prompt: target(Subject::Prompt),
            resource_uri: target(Subject::Resource),
            task_id: target(Subject::Task),
            input_responses: member(&self.params, "inputResponses"),
            answer: (self.form == Form::Response).then_some(&self.params),
            session,
            during: None,
        }
    }

    fn string(&self, name: &str) -> Option<&str> {
        match member(&self.params, name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    }
}

/// The RFC 9530 `sha-256` digest of a body, as in the `Content-Digest` header.
#[must_use]
pub fn content_digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(body)))
}

fn member<'a>(params: &'a Value, name: &str) -> Option<&'a Value> {
    match params {
        Value::Object(params) => params.get(&Value::from(name)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
