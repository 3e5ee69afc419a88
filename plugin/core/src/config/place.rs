//! Where in the configuration an error is: `serde_json` says line and column, people want the field.
//!
//! Tracking the path while reading would compile every type of the configuration twice over, for 80 KB of the filter.

use std::fmt::Write as _;

/// An object or array that is open, and what in it is read.
enum Level<'a> {
    /// The member of this name; none before a name.
    Object(Option<&'a [u8]>),
    /// The element of this number.
    Array(usize),
}

/// The dotted path of what `error` is about; `.` is the whole document. `json` is well-formed up to there.
pub(super) fn field(json: &[u8], error: &serde_json::Error) -> String {
    let lines = json.split_inclusive(|byte| *byte == b'\n');
    let before = lines.take(error.line().saturating_sub(1));
    let place = before.map(<[u8]>::len).sum::<usize>() + error.column();
    // Where a field is missing it is about the whole object; else about what was read of it last.
    let is_missing = error.to_string().starts_with("missing field");
    let mut levels = Vec::new();
    let mut rest = json;
    while let Some(&byte) = rest.first() {
        let (token, after) = rest.split_at(length(rest));
        rest = after;
        let is_there = json.len() - rest.len() >= place;
        match (byte, levels.last_mut()) {
            (b'}' | b']', _) if is_there && !is_missing => break,
            (b'}' | b']', _) => drop(levels.pop()),
            (b'"', Some(Level::Object(name @ None))) => *name = Some(token),
            (b',', Some(Level::Object(name))) => *name = None,
            (b',', Some(Level::Array(number))) => *number += 1,
            _ => {}
        }
        let is_between = byte.is_ascii_whitespace() || matches!(byte, b',' | b':');
        if is_there && !is_between {
            break;
        }
        match byte {
            b'{' => levels.push(Level::Object(None)),
            b'[' => levels.push(Level::Array(0)),
            _ => {}
        }
    }
    path(&levels)
}

/// How long the token is that `json` begins with.
fn length(json: &[u8]) -> usize {
    let is_end = |byte: u8| b"{}[],:\"".contains(&byte) || byte.is_ascii_whitespace();
    let length = match json.first() {
        Some(b'"') => {
            let mut is_escaped = false;
            let closes = |byte: &u8| {
                let closes = *byte == b'"' && !is_escaped;
                is_escaped = *byte == b'\\' && !is_escaped;
                closes
            };
            json.iter().skip(1).position(closes).map(|at| at + 2)
        }
        Some(byte) if is_end(*byte) => Some(1),
        _ => json.iter().position(|byte| is_end(*byte)),
    };
    length.unwrap_or(json.len())
}

fn path(levels: &[Level<'_>]) -> String {
    let mut path = String::new();
    for level in levels {
        match level {
            Level::Object(None) => {}
            Level::Object(Some(name)) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(String::from_utf8_lossy(name).trim_matches('"'));
            }
            Level::Array(number) => {
                let _ = write!(path, "[{number}]");
            }
        }
    }
    if path.is_empty() {
        path.push('.');
    }
    path
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Outer {
        inner: BTreeMap<String, Inner>,
        list: Vec<u8>,
        word: Option<Word>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Inner {
        a: u8,
        b: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Word {
        Good,
    }

    #[test]
    fn an_error_is_placed_at_its_field() {
        for (json, at) in [
            (r#"{"inner":{},"list":[1,2,-3]}"#, "list[2]"),
            (r#"{"inner":{},"list":{}}"#, "list"),
            (r#"{"inner":{"x":{"a":"1"}},"list":[]}"#, "inner.x.a"),
            (r#"{"inner":{"x":{"a":1},"y":{}},"list":[]}"#, "inner.y"),
            (r#"{"inner":{"x":{"a":1,"c":1}},"list":[]}"#, "inner.x.c"),
            (
                "{\"inner\":\n {\"x\":{\"a\":1,\n\"c\" : 1}},\"list\":[]}",
                "inner.x.c",
            ),
            (
                r#"{"inner":{"q\"{":{"a":1,"b":7}},"list":[]}"#,
                r#"inner.q\"{.b"#,
            ),
            (r#"{"inner":{},"list":[],"word":"bad"}"#, "word"),
            (r#"{"inner":{},"list":[],"word":["bad"]}"#, "word"),
            (r#"{"inner":{}}"#, "."),
            (r#"{"inner":{},"list":[1"#, "list[0]"),
            ("7", "."),
            ("", "."),
        ] {
            let error = serde_json::from_str::<Outer>(json).unwrap_err();
            assert_eq!(field(json.as_bytes(), &error), at, "{json}: {error}");
        }
        assert!(serde_json::from_str::<Outer>(r#"{"inner":{},"list":[],"word":"good"}"#).is_ok());
    }
}
