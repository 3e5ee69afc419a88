//! The message: one strict parse of a JSON-RPC body (JSON-RPC 2.0, MCP transports) into a typed value.
//!
//! The exact bytes are what goes upstream and what the digest is taken of; nothing is written again.

mod json;
mod method;
mod version;

use std::cell::RefCell;
use std::fmt;

use crate::response::Entry;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use sha2::{Digest as _, Sha256};
use writ_policy::input::{Kind, Mcp};
use writ_policy::{Object, Value};

pub use json::MAX_DEPTH;
pub(crate) use json::{parse as parse_strict, parse_result};
pub use method::{SESSION_CLOSE, STREAM_OPEN, Travel};
pub(crate) use version::is_stateless;

use json::{Numbers, Strict};
use method::Subject;

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
    /// Not a JSON-RPC 2.0 request or notification.
    #[error("not a JSON-RPC 2.0 request or notification: {0}")]
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

/// A checked message: a request, a notification, or one of the bodiless kinds.
#[derive(Clone, Debug)]
pub struct Message {
    id: Option<Id>,
    method: String,
    params: Value,
}

/// Parses a body.
pub fn parse(body: &[u8]) -> Result<Message, MessageError> {
    let id = RefCell::new(None);
    let message = parse_envelope(body, &id).and_then(Envelope::check);
    let id = id.into_inner();
    match message {
        Ok((method, params)) => Ok(Message { id, method, params }),
        Err(problem) => Err(MessageError { id, problem }),
    }
}

fn parse_envelope(body: &[u8], id: &RefCell<Option<Id>>) -> Result<Envelope, Problem> {
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return Err(Problem::Batch);
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let envelope = EnvelopeSeed { id }
        .deserialize(&mut deserializer)
        .map_err(Problem::Json)?;
    deserializer.end().map_err(Problem::Json)?;
    Ok(envelope)
}

impl Message {
    /// A request without a body: opening a stream or ending a session.
    #[must_use]
    pub fn bodiless(method: &'static str) -> Self {
        Self {
            id: None,
            method: method.to_owned(),
            params: Value::Undefined,
        }
    }

    /// The id of a request; a notification has none.
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
        Some(Entry { kind, name })
    }

    /// The request whose answer the client wants no longer, where the message says so.
    pub(crate) fn cancels(&self) -> Option<Id> {
        let id = member(&self.params, "requestId")?;
        (self.method == "notifications/cancelled")
            .then(|| read_id(id))
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
        let meta = member(&self.params, "_meta")?;
        match member(meta, "io.modelcontextprotocol/protocolVersion") {
            Some(Value::String(version)) => Some(version),
            _ => None,
        }
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
            arguments: member(&self.params, "arguments"),
            prompt: target(Subject::Prompt),
            resource_uri: target(Subject::Resource),
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

/// The members of a JSON-RPC message, before they are checked against each other.
#[derive(Default)]
struct Envelope {
    version: bool,
    has_id: bool,
    method: Option<String>,
    params: Option<Value>,
    is_response: bool,
}

impl Envelope {
    fn check(self) -> Result<(String, Value), Problem> {
        if !self.version {
            return Err(Problem::Envelope("`jsonrpc` must be \"2.0\""));
        }
        if self.is_response {
            return Err(Problem::Envelope(
                "responses to a server's own requests are not accepted here",
            ));
        }
        let method = self
            .method
            .ok_or(Problem::Envelope("`method` must be a string"))?;
        if method.is_empty()
            || method.len() > MAX_NAME
            || [STREAM_OPEN, SESSION_CLOSE].contains(&method.as_str())
        {
            return Err(Problem::Envelope("`method` is not the name of a method"));
        }
        if method.starts_with(method::NOTIFICATION) == self.has_id {
            return Err(Problem::Envelope(
                "a request needs an `id`, a notification must have none",
            ));
        }
        let params = match self.params {
            None => Value::Undefined,
            Some(params @ Value::Object(_)) => params,
            Some(_) => return Err(Problem::Envelope("`params` must be an object")),
        };
        if matches!(method.as_str(), "tools/call" | "prompts/get")
            && !matches!(member(&params, "arguments"), None | Some(Value::Object(_)))
        {
            return Err(Problem::Envelope("`params.arguments` must be an object"));
        }
        if let Some(parameter) = method::subject(&method).parameter() {
            match member(&params, parameter) {
                Some(Value::String(name)) if !name.is_empty() && name.len() <= MAX_NAME => {}
                _ => return Err(Problem::Parameter { method, parameter }),
            }
        }
        Ok((method, params))
    }
}

fn member<'a>(params: &'a Value, name: &str) -> Option<&'a Value> {
    match params {
        Value::Object(params) => params.get(&Value::from(name)),
        _ => None,
    }
}

struct EnvelopeSeed<'a> {
    id: &'a RefCell<Option<Id>>,
}

impl<'de> DeserializeSeed<'de> for EnvelopeSeed<'_> {
    type Value = Envelope;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Envelope, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EnvelopeSeed<'_> {
    type Value = Envelope;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON-RPC message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope, A::Error> {
        let mut envelope = Envelope::default();
        let mut seen = Object::new();
        while let Some(key) = map.next_key::<String>()? {
            if seen
                .insert(Value::from(key.as_str()), Value::Null)
                .is_some()
            {
                return Err(A::Error::custom("duplicate key in the message"));
            }
            let value = map.next_value_seed(Strict {
                depth: 1,
                numbers: Numbers::Exact,
            })?;
            match key.as_str() {
                "jsonrpc" => {
                    envelope.version = matches!(&value, Value::String(v) if v.as_ref() == "2.0")
                }
                "id" => {
                    envelope.has_id = true;
                    let id = read_id(&value).ok_or_else(|| {
                        A::Error::custom("`id` must be a string or a whole number")
                    })?;
                    self.id.replace(Some(id));
                }
                "method" => {
                    if let Value::String(method) = &value {
                        envelope.method = Some(method.to_string());
                    }
                }
                "params" => envelope.params = Some(value),
                "result" | "error" => envelope.is_response = true,
                _ => {}
            }
        }
        Ok(envelope)
    }
}

fn read_id(value: &Value) -> Option<Id> {
    match value {
        Value::String(text) if text.len() <= MAX_NAME => Some(Id::String(text.to_string())),
        Value::Number(number) if number.is_integer() => number.as_i64().map(Id::Number),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
