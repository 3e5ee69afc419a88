//! JSON as text: read by its members and changed in place, so that everything else stays as the server wrote it, byte for
//! byte.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::breaks::escaped;
use crate::message::{Id, is_taken_for};

/// The members of answers and of the entries of lists that are looked at here.
const ANSWERS: [&str; 20] = [
    "cacheScope",
    "code",
    "content",
    "error",
    "id",
    "inputRequests",
    "isError",
    "jsonrpc",
    "method",
    "name",
    "params",
    "prompts",
    "resourceTemplates",
    "resources",
    "result",
    "structuredContent",
    "tools",
    "ttlMs",
    "uri",
    "uriTemplate",
];

/// More members than any object of MCP has.
const MAX_MEMBERS: usize = 256;

/// Why a message cannot be shown.
#[derive(Debug, thiserror::Error)]
#[error("the server's answer is not JSON that every reader reads alike: {0}")]
pub(crate) struct Unreadable(#[from] serde_json::Error);

impl Unreadable {
    /// JSON that is read in more than one way.
    pub(super) fn because(problem: &str) -> Self {
        Self(serde_json::Error::custom(problem))
    }
}

/// A JSON string, borrowed where it holds no escapes.
#[derive(serde::Deserialize, PartialEq, Eq, Hash)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Whether a member has the name of one that is looked at here in all but case: some readers take it for that one.
pub(super) fn is_misnamed(name: &str) -> bool {
    is_taken_for(name, &ANSWERS)
}

/// The id of a request or an answer, where it is one to every reader: a string, or a whole number that a double holds.
pub(super) fn read_id(id: &RawValue) -> Option<Id> {
    match serde_json::from_str(id.get()).ok()? {
        serde_json::Value::Number(number) => {
            let number = number.as_i64()?;
            (number.unsigned_abs() < 1 << 53).then_some(Id::Number(number))
        }
        serde_json::Value::String(text) => Some(Id::String(text)),
        _ => None,
    }
}

/// The string that a value is.
pub(super) fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    let Text(text) = serde_json::from_str(value.get()).ok()?;
    Some(text)
}

/// The members of an object, each once, their values as written.
pub(super) struct Members<'a>(Vec<(Text<'a>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Reads an object, and nothing behind it.
    pub(super) fn read(object: &'a [u8]) -> Result<Self, Unreadable> {
        Ok(serde_json::from_slice(object)?)
    }

    /// Reads a value that is an object; `None` where it is something else.
    pub(super) fn of(value: &'a RawValue) -> Result<Option<Self>, Unreadable> {
        if value.get().starts_with('{') {
            Ok(Some(serde_json::from_str(value.get())?))
        } else {
            Ok(None)
        }
    }

    /// The same, when none of its members is one of MCP's in all but case: some readers take it for that one.
    pub(super) fn named_as_in_mcp(self) -> Result<Self, Unreadable> {
        match self.0.iter().any(|(Text(key), _)| is_misnamed(key)) {
            true => Err(Unreadable::because(
                "a member has the name of one of MCP's in another case",
            )),
            false => Ok(self),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0
            .iter()
            .find(|(key, _)| key.0 == name)
            .map(|(_, value)| *value)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &'a RawValue> {
        self.0.iter().map(|(_, value)| *value)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Vec<(Text<'de>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Self::Value = Vec::new();
                while let Some(member) = map.next_entry()? {
                    if members.len() == MAX_MEMBERS {
                        return Err(A::Error::custom("an object has too many members"));
                    }
                    members.push(member);
                }
                let mut seen = HashSet::with_capacity(members.len());
                if members.iter().all(|(key, _)| seen.insert(&key.0)) {
                    Ok(members)
                } else {
                    Err(A::Error::custom("duplicate key"))
                }
            }
        }

        deserializer.deserialize_map(Object).map(Self)
    }
}

/// What is to be written in place of parts of a message.
pub(super) struct Edits<'a> {
    message: &'a [u8],
    edits: Vec<(Range<usize>, String)>,
}

impl<'a> Edits<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self {
            message,
            edits: Vec::new(),
        }
    }

    /// `part` is a slice of the message.
    pub(super) fn replace(&mut self, part: &str, text: String) {
        let start = (part.as_ptr() as usize).wrapping_sub(self.message.as_ptr() as usize);
        self.edits
            .push((start..start.wrapping_add(part.len()), escaped(text)));
    }

    /// Adds a member, as text, to the object `object`, a slice of the message.
    pub(super) fn add_member(&mut self, object: &str, empty: bool, member: &str) {
        let separator = if empty { "" } else { "," };
        if let Some(brace) = object.get(..1) {
            self.replace(brace, format!("{{{member}{separator}"));
        }
    }

    /// The message with all of it; `None` where nothing changes.
    pub(super) fn made(mut self) -> Result<Option<Vec<u8>>, Unreadable> {
        if self.edits.is_empty() {
            return Ok(None);
        }
        self.edits.sort_by_key(|(range, _)| range.start);
        let mut made = Vec::with_capacity(self.message.len());
        let mut at = 0;
        for (range, text) in &self.edits {
            let kept = self.message.get(at..range.start);
            made.extend_from_slice(
                kept.ok_or_else(|| Unreadable::because("two changes in one place"))?,
            );
            made.extend_from_slice(text.as_bytes());
            at = range.end;
        }
        made.extend_from_slice(self.message.get(at..).unwrap_or_default());
        Ok(Some(made))
    }
}
