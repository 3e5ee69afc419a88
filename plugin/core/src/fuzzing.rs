//! What the fuzzers drive: each function takes any bytes, and panics where the filter would do what it must not.
//!
//! Built for `cargo fuzz` (targets and seeds are in `tests/fuzz`) and for this crate's tests, which run the seeds.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a fuzzer is told"
)]

use serde_json::Value;
use serde_json::value::RawValue;
use writ_policy::release::Release;

use crate::agree;
use crate::config::{Config, Mode};
use crate::egress::{self, clip};
use crate::headers::Headers;
use crate::message::{self, Form, Id, Message, is_from_client};
use crate::response::events::{Events, Longer, Passed};
use crate::response::list::made;
use crate::response::{Entry, Judge, Problem};
use crate::seal::SealError;

/// A message that is accepted is read as another parser reads it: method, target, id, arguments.
pub fn message(body: &[u8]) {
    let Ok(message) = message::parse(body) else {
        return;
    };
    let read: Value = serde_json::from_slice(body).expect("the message is JSON");
    assert_eq!(read["jsonrpc"], "2.0");
    match message.form() {
        Form::Response => {
            assert!(read.get("method").is_none());
            assert!(read["result"].is_object() != read["error"].is_object());
            let other = message::with_id(body, "7").expect("it has an id");
            let mut expected = read.clone();
            expected["id"] = 7.into();
            let other: Value = serde_json::from_slice(&other).expect("it is JSON still");
            assert_eq!(other, expected);
        }
        _ => assert_eq!(read["method"], message.method()),
    }
    assert_eq!(
        read.get("id").map(Value::to_string),
        message.id().map(ToString::to_string)
    );
    let params = &read["params"];
    if let Some(target) = message.target() {
        let named = ["name", "uri", "taskId"].map(|name| params[name].as_str());
        assert!(named.contains(&Some(target)), "{target}");
    }
    let mcp = message.mcp(None, None);
    let given: Option<Value> = mcp.arguments.map(|arguments| {
        serde_json::from_str(&arguments.to_json_str().expect("arguments are JSON"))
            .expect("what was written is JSON")
    });
    match (&given, params.get("arguments")) {
        (Some(given), Some(sent)) => assert!(alike(given, sent), "{given} is not {sent}"),
        (given, sent) => assert_eq!((given.is_none(), sent), (true, None)),
    }
}

/// Whether two values are the same, however their numbers are written.
fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(key, value)| other.get(key).is_some_and(|other| alike(value, other)))
        }
        (one, other) => one == other,
    }
}

/// A stream cut anywhere passes as it does in one piece, and what passes is what a reader by the specification sees.
pub fn events(input: &[u8]) {
    let Some((&size, stream)) = input.split_first() else {
        return;
    };
    let whole = pass(stream, stream.len().max(1));
    assert_eq!(whole, pass(stream, usize::from(size).max(1)));
    if let Ok((out, seen)) = whole {
        let all = read(&with_escapes(stream));
        let data: Vec<_> = all.iter().filter(|data| !data.is_empty()).collect();
        assert!(seen.iter().eq(data), "the filter sees what a reader sees");
        let expected: Vec<Vec<u8>> = all
            .iter()
            .map(|data| changed(data).unwrap_or_else(|| data.clone()))
            .collect();
        assert_eq!(read(&out), expected, "the reader gets what the filter gave");
        let text = String::from_utf8_lossy(&out);
        let other = text.contains([
            '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}',
        ]);
        assert!(!other, "other readers see other lines");
    }
}

/// The stream as it is when nothing ends a line to some readers only.
fn with_escapes(stream: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(stream.len());
    let mut rest = stream;
    while let Some((first, after)) = rest.split_first() {
        let (text, after): (&[u8], _) = match rest {
            [0xc2, 0x85, after @ ..] => (br"\u0085", after),
            [0xe2, 0x80, 0xa8, after @ ..] => (br"\u2028", after),
            [0xe2, 0x80, 0xa9, after @ ..] => (br"\u2029", after),
            _ => (std::slice::from_ref(first), after),
        };
        escaped.extend_from_slice(text);
        rest = after;
    }
    escaped
}

/// What passed, and the data that was seen.
type Seen = (Vec<u8>, Vec<Vec<u8>>);

fn pass(stream: &[u8], chunk: usize) -> Result<Seen, String> {
    let mut events = Events::new(256);
    let (mut out, mut seen) = (Vec::new(), Vec::new());
    for bytes in stream.chunks(chunk) {
        let passed = events.see::<Problem>(bytes, &mut out, Longer::Ends, &mut |_, data| {
            seen.push(data.to_vec());
            Ok(changed(data).map_or(Passed::AsItIs, Passed::With))
        });
        passed.map_err(|problem| problem.to_string())?;
    }
    Ok((out, seen))
}

/// Some data is put in the place of other data.
fn changed(data: &[u8]) -> Option<Vec<u8>> {
    data.starts_with(b"x").then(|| data.to_ascii_uppercase())
}

/// The data of the events of a stream, by the letter of WHATWG HTML, "interpreting an event stream".
fn read(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream);
    let (mut all, mut data) = (Vec::new(), None::<Vec<u8>>);
    while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        let (line, after) = rest.split_at(end);
        rest = after.strip_prefix(b"\r\n").unwrap_or(&after[1..]);
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            None => (line, &b""[..]),
            Some(colon) => {
                let value = &line[colon + 1..];
                (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
            }
        };
        if line.is_empty() {
            all.extend(data.take());
        } else if field == b"data" {
            let data = match &mut data {
                None => data.insert(Vec::new()),
                Some(data) => {
                    data.push(b'\n');
                    data
                }
            };
            data.extend_from_slice(value);
        }
    }
    all
}

/// Shows the entries whose names have an even length.
struct Even;

impl Judge for Even {
    fn shows(&mut self, entry: Entry<'_>) -> bool {
        entry.name.len().is_multiple_of(2)
    }
    fn looks(&self) -> bool {
        false
    }
    fn release(&mut self, _: Option<writ_policy::Value>) -> Release {
        Release::Pass
    }
    fn asks(&mut self, _: &str, _: writ_policy::Value) -> Result<(), String> {
        Ok(())
    }
    fn seal(&mut self, _: &str, _: &Id) -> Result<String, SealError> {
        Err(SealError::NoKey)
    }
}

/// Of a list that passes, another parser sees what is shown and nothing else; and once filtered, it stays as it is.
pub fn list(message: &[u8]) {
    const MOST_MS: u64 = 1000;
    let filtered = |message: &[u8]| made(message, MOST_MS, &mut Even);
    let Ok(made) = filtered(message) else {
        return;
    };
    let shown = made.as_deref().unwrap_or(message);
    let _: &RawValue = serde_json::from_slice(shown).expect("what is shown is JSON");
    let Ok(read) = serde_json::from_slice::<Value>(shown) else {
        // A number beyond every double, which passes as it is written.
        return;
    };
    let result = &read["result"];
    for (list, name) in [
        ("tools", "name"),
        ("prompts", "name"),
        ("resources", "uri"),
        ("resourceTemplates", "uriTemplate"),
    ] {
        for entry in result[list].as_array().into_iter().flatten() {
            let name = entry[name].as_str().expect("what is shown has a name");
            assert!(name.len().is_multiple_of(2), "{name}");
        }
    }
    if let Some(scope) = result.get("cacheScope") {
        assert_eq!(scope, "private");
    }
    if let Some(ttl) = result.get("ttlMs") {
        assert!(ttl.as_u64().expect("a number") <= MOST_MS);
    }
    assert!(filtered(shown).expect("it is readable").is_none());
}

/// Headers that are accepted name the method and target that the body names, or do not agree with it.
///
/// The input's lines are headers; after the first empty one comes the body.
pub fn headers(input: &[u8]) {
    let end = input.windows(2).position(|two| two == b"\n\n");
    let (head, body) = match end {
        Some(end) => (&input[..end], &input[end + 2..]),
        None => (input, &b""[..]),
    };
    let raw = head.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.iter().skip(1).position(|byte| *byte == b':')? + 1;
        let name = String::from_utf8(line[..colon].to_ascii_lowercase()).ok()?;
        Some((name, line[colon + 1..].to_vec()))
    });
    let Ok(headers) = Headers::read(raw.collect(), &[]) else {
        return;
    };
    let _ = headers.token_in_query();
    let Ok(message) = message::parse(body) else {
        return;
    };
    if agree::check(&headers, &message, &[]).is_ok() {
        agrees(&headers, &message);
    }
}

fn agrees(headers: &Headers, message: &Message) {
    if let Some(method) = &headers.mcp_method {
        assert_eq!(method, message.method());
    }
    if let Some(name) = &headers.mcp_name {
        let target = message.target().expect("a name is a target's");
        let encoded = name.trim_matches([' ', '\t']).starts_with("=?base64?");
        assert!(encoded || name.trim_matches([' ', '\t']) == target);
    }
    if let (Some(version), Some(meta)) = (&headers.mcp_version, message.meta_version()) {
        assert_eq!(version, meta);
    }
}

/// What the gateway reads as a message of MCP, and no other protocol has, is seen as one where it leaves; and no part of it
/// is read past what there is.
pub fn leaving(body: &[u8]) {
    for end in [body.len() / 2, body.len().saturating_sub(1)] {
        let _ = egress::Seen::of(&body[..end]).is_mcp();
    }
    let seen = egress::Seen::of(body);
    let Ok(message) = message::parse(body) else {
        return;
    };
    let method = message.method();
    let is_shared = matches!(method, "initialize" | "ping") || method.starts_with("tasks/");
    if message.form() != Form::Response && is_from_client(method) && !is_shared {
        assert!(seen.is_mcp(), "{method}");
        assert_eq!(seen.method.as_deref(), Some(method));
        if method == "tools/call" {
            assert_eq!(seen.target, message.target().map(clip));
        }
    }
}

/// A configuration that is accepted keeps its bounds.
pub fn config(json: &[u8]) {
    let Ok(config) = Config::read(json, |name| Some(format!("{name}.{}", "A".repeat(43)))) else {
        return;
    };
    for size in [config.max_body, config.max_list, config.max_result] {
        assert!((1 << 10..=16 << 20).contains(&size));
    }
    assert!(config.skew_s <= 60);
    if let Mode::Gateway(service) = &config.mode {
        assert!(!service.timeout.is_zero() && !service.snapshot_key.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn no_seed_panics() {
        type Target = (&'static str, fn(&[u8]));
        let targets: [Target; 6] = [
            ("message", super::message),
            ("events", super::events),
            ("list", super::list),
            ("headers", super::headers),
            ("config", super::config),
            ("leaving", super::leaving),
        ];
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/seeds");
        for (name, target) in targets {
            let mut seen = 0;
            for seed in std::fs::read_dir(seeds.join(name)).unwrap() {
                target(&std::fs::read(seed.unwrap().path()).unwrap());
                seen += 1;
            }
            assert!(seen > 0, "{name} has no seeds");
        }
    }
}
