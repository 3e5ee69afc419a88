//! JSON-RPC messages as lines of a pipe: what they are about, and the same message under another id.
//!
//! Only the bytes of an id, a token or a line break change; everything else stays as it was written.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// The members of a message, each as it was written. A member that occurs twice makes it none.
#[derive(Debug, Deserialize)]
struct Envelope<'a> {
    jsonrpc: Cow<'a, str>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<String>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// The parts of `params` or `result` that the bridge reads.
#[derive(Debug, Default, Deserialize)]
struct Parts<'a> {
    #[serde(borrow, rename = "_meta")]
    meta: Option<&'a RawValue>,
    #[serde(borrow, rename = "requestId")]
    request_id: Option<&'a RawValue>,
    #[serde(borrow, rename = "progressToken")]
    progress_token: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
struct Meta<'a> {
    #[serde(borrow, rename = "progressToken")]
    progress_token: Option<&'a RawValue>,
    #[serde(borrow, rename = "io.modelcontextprotocol/subscriptionId")]
    subscription: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
struct Failure {
    #[serde(default)]
    code: i64,
}

/// A piece of JSON within a message, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// As it was written.
    pub(super) text: String,
    start: usize,
}

/// What kind of message it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Wants an answer.
    Request {
        /// To be echoed in the answer.
        id: Piece,
        /// The method.
        method: String,
    },
    /// Wants none.
    Notification {
        /// The method.
        method: String,
    },
    /// Is one.
    Answer {
        /// The request's.
        id: Piece,
        /// The code of an error.
        error: Option<i64>,
    },
}

/// A message, with the pieces of it that name other messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Request, notification or answer.
    pub(super) kind: Kind,
    /// `params.requestId`, which a cancellation names.
    pub(super) request_id: Option<Piece>,
    /// `params._meta.progressToken` of a request, `params.progressToken` of a notification.
    pub(super) progress_token: Option<Piece>,
    /// The subscription that a notification or answer belongs to.
    pub(super) subscription: Option<Piece>,
}

/// Reads a message; none where it is not one JSON-RPC 2.0 message.
pub(super) fn read(bytes: &[u8]) -> Option<Message> {
    let envelope: Envelope<'_> = serde_json::from_slice(bytes).ok()?;
    if envelope.jsonrpc != "2.0" {
        return None;
    }
    let piece = |raw: &RawValue| piece(bytes, raw);
    let body = envelope.params.or(envelope.result);
    let parts: Parts<'_> = body.map_or_else(Parts::default, object);
    let meta: Meta<'_> = parts.meta.map_or_else(Meta::default, object);
    let kind = match (envelope.method, envelope.id) {
        (Some(method), Some(id)) if is_id(id) => Kind::Request {
            id: piece(id)?,
            method,
        },
        (Some(method), None) => Kind::Notification { method },
        (None, Some(id))
            if is_id(id) && (envelope.result.is_some() != envelope.error.is_some()) =>
        {
            Kind::Answer {
                id: piece(id)?,
                error: envelope.error.map(|error| object::<Failure>(error).code),
            }
        }
        _ => return None,
    };
    let is_request = matches!(kind, Kind::Request { .. });
    let progress = if is_request {
        meta.progress_token
    } else {
        parts.progress_token
    };
    Some(Message {
        kind,
        request_id: parts.request_id.and_then(piece),
        progress_token: progress.and_then(piece),
        subscription: meta.subscription.and_then(piece),
    })
}

/// Reads an object's members; none where it is not the object that was expected.
fn object<'a, T: Default + Deserialize<'a>>(raw: &'a RawValue) -> T {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

fn is_id(raw: &RawValue) -> bool {
    raw.get()
        .starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit())
}

fn piece(of: &[u8], raw: &RawValue) -> Option<Piece> {
    let text = raw.get();
    let start = text.as_ptr().addr().checked_sub(of.as_ptr().addr())?;
    Some(Piece {
        text: text.to_owned(),
        start,
    })
}

/// The same message with other text in place of these pieces of it.
pub(super) fn replace(message: &[u8], pieces: &[(&Piece, &str)]) -> Vec<u8> {
    let mut pieces = pieces.to_vec();
    pieces.sort_by_key(|(piece, _)| piece.start);
    let mut out = Vec::with_capacity(message.len() + 32);
    let mut from = 0;
    for (piece, text) in pieces {
        out.extend_from_slice(message.get(from..piece.start).unwrap_or_default());
        out.extend_from_slice(text.as_bytes());
        from = piece.start + piece.text.len();
    }
    out.extend_from_slice(message.get(from..).unwrap_or_default());
    out
}

/// The message as one line, whatever its reader takes for the end of one.
///
/// In JSON a raw line break can only be white space, and becomes a space. U+0085, U+2028 and U+2029 can only be part of a
/// string; some readers of lines end a line there too, and would take the rest of the string for a message that nobody has
/// looked at. They become escapes, which mean the same.
pub(super) fn one_line(message: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(message.len() + 1);
    let mut rest = message;
    while let [first, after @ ..] = rest {
        let (escaped, length): (&[u8], usize) = match rest {
            [b'\n' | b'\r', ..] => (b" ", 1),
            [0xc2, 0x85, ..] => (b"\\u0085", 2),
            [0xe2, 0x80, 0xa8, ..] => (b"\\u2028", 3),
            [0xe2, 0x80, 0xa9, ..] => (b"\\u2029", 3),
            _ => {
                line.push(*first);
                rest = after;
                continue;
            }
        };
        line.extend_from_slice(escaped);
        rest = rest.get(length..).unwrap_or_default();
    }
    line
}

/// A notification that the request of this id is not waited for any more.
pub(super) fn cancelled(id: &str) -> Vec<u8> {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"the client has gone"}}}}"#
    )
    .into_bytes()
}

/// An answer that says what went wrong. `id` is JSON.
pub(super) fn failure(id: &str, code: i64, told: &str) -> Vec<u8> {
    let told = serde_json::Value::from(told);
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{told}}}}}"#)
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Option<Kind> {
        read(text.as_bytes()).map(|message| message.kind)
    }

    #[test]
    fn a_message_is_a_request_a_notification_or_an_answer() {
        let request = kind(r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#);
        assert!(
            matches!(request, Some(Kind::Request { id, method }) if id.text == "\"a\"" && method == "ping")
        );
        let notification = kind(r#"{"jsonrpc":"2.0","method":"notifications/message"}"#);
        assert!(matches!(notification, Some(Kind::Notification { .. })));
        let answer = kind(r#"{"jsonrpc":"2.0","id":7,"result":{}}"#);
        assert!(matches!(answer, Some(Kind::Answer { id, error: None }) if id.text == "7"));
        let failed = kind(r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32601,"message":"no"}}"#);
        assert!(matches!(
            failed,
            Some(Kind::Answer {
                error: Some(-32601),
                ..
            })
        ));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_message() {
        for text in [
            "",
            "Server listening on stdio",
            "[]",
            "7",
            r#"{"id":7,"result":{}}"#,
            r#"{"jsonrpc":"1.0","id":7,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":7,"id":8,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{},"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{},"error":{"code":1}}"#,
            r#"{"jsonrpc":"2.0","id":7}"#,
            r#"{"jsonrpc":"2.0","id":null,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{}} {}"#,
        ] {
            assert_eq!(kind(text), None, "{text}");
        }
        assert_eq!(read(b"{\"jsonrpc\":\"2.0\",\"method\":\"\xff\"}"), None);
    }

    #[test]
    fn only_the_named_pieces_of_a_message_change() {
        let text = r#"{ "params" : {"x": 1.0e2 ,"_meta":{"progressToken" : "p\u0041"}}, "id":  12, "method":"tools/call","jsonrpc":"2.0" }"#;
        let message = read(text.as_bytes()).unwrap();
        let Kind::Request { id, .. } = &message.kind else {
            panic!("{message:?}")
        };
        let token = message.progress_token.as_ref().unwrap();
        assert_eq!(token.text, r#""p\u0041""#);
        let out = replace(text.as_bytes(), &[(id, "3"), (token, "3")]);
        let expected = text.replace("12", "3").replace(r#""p\u0041""#, "3");
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_subscription_is_found_in_notifications_and_answers() {
        for text in [
            r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":5}}}"#,
            r#"{"jsonrpc":"2.0","id":5,"result":{"_meta":{"io.modelcontextprotocol/subscriptionId":5}}}"#,
        ] {
            let message = read(text.as_bytes()).unwrap();
            assert_eq!(message.subscription.unwrap().text, "5", "{text}");
        }
    }

    #[test]
    fn a_string_cannot_be_made_into_a_second_line() {
        let smuggled = "{\"jsonrpc\":\"2.0\",\r\n \"method\":\"a\u{2028}b\u{2029}c\u{85}d\u{e9}\"}";
        let line = String::from_utf8(one_line(smuggled.as_bytes())).unwrap();
        assert_eq!(
            line,
            "{\"jsonrpc\":\"2.0\",   \"method\":\"a\\u2028b\\u2029c\\u0085d\u{e9}\"}"
        );
        let before: serde_json::Value = serde_json::from_str(smuggled).unwrap();
        let after: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(before, after);
    }

    #[test]
    fn what_the_bridge_says_itself_is_a_message() {
        let Some(Kind::Notification { method }) = read(&cancelled("7")).map(|m| m.kind) else {
            panic!()
        };
        assert_eq!(method, "notifications/cancelled");
        let answer = read(&failure("\"x\"", -32603, "say \"no\"\n")).unwrap();
        assert!(matches!(
            answer.kind,
            Kind::Answer {
                error: Some(-32603),
                ..
            }
        ));
    }
}
