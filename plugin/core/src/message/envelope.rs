//! The members of a JSON-RPC message, read strictly and checked against each other.

use std::cell::RefCell;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use writ_policy::{Object, Value};

use super::json::{Numbers, Strict, checked_key, is_taken_for};
use super::{Era, Form, Id, MAX_NAME, META_VERSION, Problem, member, method};

/// The members of a JSON-RPC message.
const ENVELOPE: [&str; 6] = ["error", "id", "jsonrpc", "method", "params", "result"];

/// The members of `params` that say what is asked for.
const PARAMS: [&str; 13] = [
    "_meta",
    "argument",
    "arguments",
    "cursor",
    "inputResponses",
    "level",
    "name",
    "protocolVersion",
    "ref",
    "requestId",
    "requestState",
    "taskId",
    "uri",
];

/// The members of `_meta` that say how it is asked.
const META: [&str; 2] = [META_VERSION, "io.modelcontextprotocol/clientCapabilities"];

const OTHER_CASE: &str =
    "a member has the name of one of MCP's in another case, which parsers read differently";

/// A message whose members agree.
pub(super) struct Checked {
    pub(super) form: Form,
    pub(super) method: String,
    /// `params`, or of a response an object with its `result` or its `error`.
    pub(super) params: Value,
}

/// Reads a body; the id is there as soon as it has been read.
pub(super) fn parse(body: &[u8], id: &RefCell<Option<Id>>) -> Result<Checked, Problem> {
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return Err(Problem::Batch);
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let envelope = EnvelopeSeed { id }
        .deserialize(&mut deserializer)
        .map_err(Problem::Json)?;
    deserializer.end().map_err(Problem::Json)?;
    envelope.check()
}

#[derive(Default)]
struct Envelope {
    version: bool,
    has_id: bool,
    method: Option<Value>,
    params: Option<Value>,
    result: Option<Value>,
    error: Option<Value>,
}

impl Envelope {
    fn check(self) -> Result<Checked, Problem> {
        if !self.version {
            return Err(Problem::Envelope("`jsonrpc` must be \"2.0\""));
        }
        match self {
            Self {
                result: None,
                error: None,
                ..
            } => self.check_call(),
            Self {
                method: None,
                params: None,
                has_id: true,
                ..
            } => self.check_response(),
            _ => Err(Problem::Envelope(
                "a response has an `id` and either `result` or `error`; a request or notification has neither",
            )),
        }
    }

    fn check_call(self) -> Result<Checked, Problem> {
        let Some(Value::String(method)) = self.method else {
            return Err(Problem::Envelope("`method` must be a string"));
        };
        let method = method.to_string();
        if method.is_empty() || method.len() > MAX_NAME || !method::is_free(&method) {
            return Err(Problem::Envelope("`method` is not the name of a method"));
        }
        let is_notification = method.starts_with(method::NOTIFICATION);
        if is_notification == self.has_id {
            return Err(Problem::Envelope(
                "a request needs an `id`, a notification must have none",
            ));
        }
        let params = match self.params {
            None => Value::Undefined,
            Some(params @ Value::Object(_)) => params,
            Some(_) => return Err(Problem::Envelope("`params` must be an object")),
        };
        if has_other_case(&params, &PARAMS)
            || member(&params, "_meta").is_some_and(|meta| has_other_case(meta, &META))
        {
            return Err(Problem::Envelope(OTHER_CASE));
        }
        if matches!(method.as_str(), "tools/call" | "prompts/get")
            && !matches!(member(&params, "arguments"), None | Some(Value::Object(_)))
        {
            return Err(Problem::Envelope("`params.arguments` must be an object"));
        }
        if !matches!(
            member(&params, "inputResponses"),
            None | Some(Value::Object(_))
        ) {
            return Err(Problem::Envelope(
                "`params.inputResponses` must be an object",
            ));
        }
        if let Some(parameter) = method::subject(&method).parameter() {
            match member(&params, parameter) {
                Some(Value::String(name)) if !name.is_empty() && name.len() <= MAX_NAME => {}
                // The server is to say that it has no such method any more.
                None if method::is_removed(&method) && is_stateless(&params) => {}
                _ => return Err(Problem::Parameter { method, parameter }),
            }
        }
        Ok(Checked {
            form: match is_notification {
                true => Form::Notification,
                false => Form::Request,
            },
            method,
            params,
        })
    }

    fn check_response(self) -> Result<Checked, Problem> {
        let (name, value) = match (self.result, self.error) {
            (Some(result @ Value::Object(_)), None) => ("result", result),
            (None, Some(error @ Value::Object(_))) => ("error", error),
            _ => {
                return Err(Problem::Envelope(
                    "a response has either a `result` or an `error`, which is an object",
                ));
            }
        };
        let mut answer = Object::new();
        answer.insert(Value::from(name), value);
        Ok(Checked {
            form: Form::Response,
            method: method::RESPONSE.to_owned(),
            params: Value::from(answer),
        })
    }
}

fn has_other_case(value: &Value, members: &[&str]) -> bool {
    let Value::Object(object) = value else {
        return false;
    };
    object
        .iter()
        .any(|(key, _)| matches!(key, Value::String(key) if is_taken_for(key, members)))
}

fn is_stateless(params: &Value) -> bool {
    let version = member(params, "_meta").and_then(|meta| member(meta, META_VERSION));
    matches!(version, Some(Value::String(version)) if Era::of(Some(version)) == Era::Stateless)
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

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON-RPC message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope, A::Error> {
        let mut envelope = Envelope::default();
        let mut seen = Object::new();
        while let Some(key) = map.next_key::<String>()? {
            checked_key(&key)?;
            if is_taken_for(&key, &ENVELOPE) {
                return Err(A::Error::custom(OTHER_CASE));
            }
            if seen
                .insert(Value::from(key.as_str()), Value::Null)
                .is_some()
            {
                return Err(A::Error::custom("duplicate key in the message"));
            }
            if key == "id" {
                let id = map.next_value::<&RawValue>()?;
                let id = written_id(id.get())
                    .ok_or_else(|| A::Error::custom("`id` must be a string or a whole number"))?;
                envelope.has_id = true;
                self.id.replace(Some(id));
                continue;
            }
            let value = map.next_value_seed(Strict {
                depth: 1,
                numbers: Numbers::Exact,
            })?;
            match key.as_str() {
                "jsonrpc" => {
                    envelope.version = matches!(&value, Value::String(v) if v.as_ref() == "2.0");
                }
                "method" => envelope.method = Some(value),
                "params" => envelope.params = Some(value),
                "result" => envelope.result = Some(value),
                "error" => envelope.error = Some(value),
                _ => {}
            }
        }
        Ok(envelope)
    }
}

pub(super) fn read_id(value: &Value) -> Option<Id> {
    match value {
        Value::String(text) if text.len() <= MAX_NAME => Some(Id::String(text.to_string())),
        Value::Number(number) if number.is_integer() => number.as_i64().map(Id::Number),
        _ => None,
    }
}

/// An id as it is written: what is none to some readers (`-0`, `1.0`, a number that not every reader holds) is none here.
fn written_id(text: &str) -> Option<Id> {
    if text.starts_with('"') {
        let text: String = serde_json::from_str(text).ok()?;
        return (text.len() <= MAX_NAME).then_some(Id::String(text));
    }
    let number: i64 = text.parse().ok().filter(|_| text != "-0")?;
    (number.unsigned_abs() < 1 << 53).then_some(Id::Number(number))
}
