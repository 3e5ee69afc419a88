//! What the beginning of a body says, if it is JSON-RPC: read as far as it goes, by a reader that takes what servers may take.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::message::{Id, META_VERSION, is_free, is_from_client};

/// How much of a method, a tool or a name is kept, in bytes.
const MAX_TEXT: usize = 128;

/// What `_meta` calls the client's own name (MCP 2026-07-28).
const META_CLIENT: &str = "io.modelcontextprotocol/clientInfo";

/// What was seen of a message; of a batch, of its first message of MCP.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) id: Option<Id>,
    pub(crate) method: Option<String>,
    /// Tool, prompt or URI.
    pub(crate) target: Option<String>,
    /// What the client calls itself.
    pub(crate) client: Option<String>,
    /// Whether more of the body can change anything.
    pub(crate) is_open: bool,
    is_rpc: bool,
    is_answer: bool,
    /// Whether it names a version of MCP.
    names_version: bool,
}

impl Seen {
    /// Looks at the first bytes of a body.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut seen = Self::default();
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let text = String::from_utf8_lossy(bytes);
        let mut deserializer = serde_json::Deserializer::from_slice(text.as_bytes());
        let of = Of::Message;
        let read = Members {
            seen: &mut seen,
            of,
        }
        .deserialize(&mut deserializer);
        seen.is_open = read.is_err_and(|error| error.is_eof());
        seen
    }

    /// Whether it is what a client of MCP sends. Methods that other protocols have too count with a version of MCP.
    pub(crate) fn is_mcp(&self) -> bool {
        match self.method.as_deref() {
            // Whoever puts so much before the method would rather not be seen.
            None => self.is_rpc && self.is_open && !self.is_answer,
            Some(_) if !self.is_rpc && !self.is_open => false,
            Some("initialize" | "ping") => self.names_version,
            Some(method) if method.starts_with("tasks/") => self.names_version,
            Some(method) => is_from_client(method) && is_free(method),
        }
    }

    fn take(&mut self, of: Of, name: &str, raw: &RawValue) {
        let Ok(value) = serde_json::from_slice::<Value>(raw.get().as_bytes()) else {
            return;
        };
        let text = || value.as_str().map(clip);
        match (of, name) {
            (Of::Message, "jsonrpc") => self.is_rpc = value == "2.0",
            (Of::Message, "id") => {
                self.id = match &value {
                    Value::String(id) if id.len() <= MAX_TEXT => Some(Id::String(id.clone())),
                    other => other.as_i64().map(Id::Number),
                }
            }
            (Of::Message, "method") => self.method = text(),
            (Of::Params, "name" | "uri") => self.target = text(),
            (Of::Params, "protocolVersion") => self.names_version = value.is_string(),
            (Of::Params, "clientInfo") => self.client = client(&value),
            (Of::Params, "_meta") => {
                self.names_version |= value.get(META_VERSION).is_some();
                if let Some(info) = value.get(META_CLIENT) {
                    self.client = client(info);
                }
            }
            _ => {}
        }
    }
}

/// Name and version, as `User-Agent` has them (RFC 9110 section 10.1.5).
fn client(info: &Value) -> Option<String> {
    let name = info.get("name")?.as_str()?;
    match info.get("version").and_then(Value::as_str) {
        Some(version) => Some(clip(&format!("{name}/{version}"))),
        None => Some(clip(name)),
    }
}

/// As much of `text` as is kept.
pub(crate) fn clip(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_TEXT);
    text.get(..end).unwrap_or_default().to_owned()
}

/// Whose members are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Message,
    Params,
}

/// Reads the members of an object into what was seen so far.
struct Members<'s> {
    seen: &'s mut Seen,
    of: Of,
}

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { seen, of } = self;
        while let Some(name) = map.next_key::<String>()? {
            match (of, name.as_str()) {
                (Of::Message, "params") => {
                    let of = Of::Params;
                    map.next_value_seed(Members { seen, of })?;
                }
                (Of::Message, "jsonrpc" | "id" | "method")
                | (Of::Params, "name" | "uri" | "protocolVersion" | "clientInfo" | "_meta") => {
                    seen.take(of, &name, map.next_value()?);
                }
                (_, name) => {
                    seen.is_answer |= of == Of::Message && matches!(name, "result" | "error");
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    /// A batch (MCP 2025-03-26).
    fn visit_seq<A: SeqAccess<'de>>(self, mut messages: A) -> Result<(), A::Error> {
        let Self { seen, of } = self;
        loop {
            let mut next = Seen::default();
            let members = Members {
                seen: &mut next,
                of,
            };
            let more = messages.next_element_seed(members);
            if !seen.is_mcp() {
                *seen = next;
            }
            if more?.is_none() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole of a body.
    fn is_mcp(body: &str) -> bool {
        Seen::of(body.as_bytes()).is_mcp()
    }

    #[test]
    fn messages_of_mcp_are_told_from_others() {
        for (body, expected) in [
            // Until 2025-11-25, by the TypeScript SDK and by the Python SDK.
            (
                r#"{"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"a","version":"1"}},"jsonrpc":"2.0","id":0}"#,
                true,
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
                true,
            ),
            (r#"{"jsonrpc":"2.0","id":"x","method":"tools/list"}"#, true),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"n","arguments":{}}}"#,
                true,
            ),
            (
                r#"[{"jsonrpc":"2.0","id":1,"method":"eth_call"},{"jsonrpc":"2.0","id":2,"method":"tools/list"}]"#,
                true,
            ),
            // 2026-07-28.
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#,
                true,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"t","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#,
                true,
            ),
            // As lenient servers read it.
            (
                "\u{feff} {\"jsonrpc\":\"2.0\",\"id\":1,\"\\u006dethod\":\"tools\\/list\"}",
                true,
            ),
            (
                r#"{"method":"eth_call","jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
                true,
            ),
            // Other protocols on JSON-RPC: Ethereum, language servers, agents among themselves.
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[{}]}"#,
                false,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"processId":1,"capabilities":{}}}"#,
                false,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"id":"t"}}"#,
                false,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"message/send","params":{}}"#,
                false,
            ),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, false),
            (r#"{"jsonrpc":"2.0","id":1,"method":"stream/open"}"#, false),
            (r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}"#, false),
            // No JSON-RPC.
            (r#"{"method":"tools/list"}"#, false),
            (r#"{"query":"{ tools }","variables":{}}"#, false),
            (r#"{"jsonrpc":"1.0","method":"tools/list"}"#, false),
            (r#"{"jsonrpc":"2.0","method":7}"#, false),
            (r#""tools/list""#, false),
            ("[]", false),
            ("null", false),
            ("", false),
            ("tools/list", false),
            ("--boundary\r\n{\"jsonrpc\":\"2.0\"", false),
        ] {
            assert_eq!(is_mcp(body), expected, "{body}");
        }
    }

    #[test]
    fn what_is_cut_is_read_as_far_as_it_goes() {
        let body = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"getBalance","arguments":{"a":"b"}}}"#;
        let name_ends = body.find("getBalance\"").unwrap() + "getBalance\"".len();
        let method_ends = body.find("call\"").unwrap() + "call\"".len();
        for length in 0..=body.len() {
            let seen = Seen::of(&body.as_bytes()[..length]);
            assert_eq!(seen.is_open, length < body.len(), "{length}");
            assert_eq!(seen.method.is_some(), length >= method_ends, "{length}");
            assert_eq!(seen.target.is_some(), length >= name_ends, "{length}");
        }
        // A method that does not come within what is looked at.
        let far = format!(
            r#"{{"jsonrpc":"2.0","id":1,"params":{{"x":"{}"#,
            "x".repeat(100)
        );
        assert!(is_mcp(&far));
        let answer = format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{{"x":"{}"#,
            "x".repeat(100)
        );
        assert!(!is_mcp(&answer));
        let data = format!(r#"{{"data":"{}"#, "x".repeat(100));
        assert!(!is_mcp(&data));
    }

    #[test]
    fn hostile_bodies_end_well() {
        let deep = format!("{}{}", "[".repeat(10_000), r#"{"a":"#.repeat(10_000));
        assert!(!is_mcp(&deep));
        let deep = format!(
            r#"{{"jsonrpc":"2.0","x":{},"method":"tools/list"}}"#,
            "[".repeat(5_000) + &"]".repeat(5_000)
        );
        assert!(is_mcp(&deep), "what is skipped may be as deep as it likes");
        let invalid = b"{\"x\":\"\xff\xfe\",\"jsonrpc\":\"2.0\",\"method\":\"tools/list\"}";
        assert!(Seen::of(invalid).is_mcp());
        let utf16: Vec<u8> = r#"{"jsonrpc":"2.0","method":"tools/list"}"#
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        assert!(!Seen::of(&utf16).is_mcp());
        let long = format!(
            r#"{{"jsonrpc":"2.0","id":"{0}","method":"tools/call","params":{{"name":"{0}\u00e4","clientInfo":{{"name":"{0}"}}}}}}"#,
            "x".repeat(1000)
        );
        let seen = Seen::of(long.as_bytes());
        assert!(seen.is_mcp() && seen.id.is_none());
        for text in [seen.target, seen.client] {
            assert_eq!(text.unwrap().len(), MAX_TEXT);
        }
    }

    #[test]
    fn the_client_says_who_it_is_in_either_era() {
        for body in [
            r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","clientInfo":{"name":"agent","version":"1.2"}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/clientInfo":{"name":"agent","version":"1.2"}}}}"#,
        ] {
            let seen = Seen::of(body.as_bytes());
            assert_eq!(seen.client.as_deref(), Some("agent/1.2"));
            assert_eq!(seen.id, Some(Id::Number(1)));
        }
    }
}
