//! The corpus: messages that two readers could read differently, and the servers that write down how they read them.

pub mod headers;
pub mod json;
pub mod names;
pub mod smuggled;
pub mod witness;

use serde_json::{Value, json};

use crate::bad::Post;

/// The tool that may be called.
pub const OPEN: &str = "echo";
/// What no server may ever hear: the policy refuses it as a tool and as an argument.
pub const SECRET: &str = "secret";

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The filter refuses it.
    Refused,
    /// All servers hear what the filter decided on.
    Heard,
    /// The filter may pass it on; servers hear what it decided on, or refuse it themselves.
    Either,
}

/// A message and what becomes of it.
pub struct Case {
    pub name: String,
    pub post: Post,
    pub body: Vec<u8>,
    pub fate: Fate,
}

impl Case {
    /// A body under the headers that it says it has.
    pub fn body(name: &str, body: impl Into<Vec<u8>>, fate: Fate) -> Self {
        let body = body.into();
        Self {
            name: name.to_owned(),
            post: stateless().body(body.clone()),
            body,
            fate,
        }
    }

    /// A good call under other headers.
    pub fn headers(name: &str, fate: Fate, change: impl FnOnce(Post) -> Post) -> Self {
        let body = message(OPEN, &json!({ "account": "ops" })).to_string();
        Self {
            post: change(stateless().body(body.clone())),
            ..Self::body(name, body, fate)
        }
    }
}

/// A POST with the headers of a call of the open tool.
pub fn stateless() -> Post {
    Post::good("")
        .without("authorization")
        .header("mcp-name", OPEN)
}

/// A call in the stateless era.
pub fn message(tool: &str, arguments: &Value) -> Value {
    json!({
        "jsonrpc": "2.0",
        "id": 7,
        "method": "tools/call",
        "params": {
            "name": tool,
            "arguments": arguments,
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    })
}

/// A call of the open tool whose arguments are this text.
pub fn arguments(text: impl AsRef<[u8]>) -> Vec<u8> {
    const MARK: &str = "\"here\"";
    let whole = message(OPEN, &json!("here")).to_string();
    let (before, after) = whole.split_once(MARK).expect("the mark is in it");
    [before.as_bytes(), text.as_ref(), after.as_bytes()].concat()
}

/// Every case.
pub fn all() -> Vec<Case> {
    [json::cases(), names::cases(), headers::cases()]
        .into_iter()
        .flatten()
        .collect()
}
