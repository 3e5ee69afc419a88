//! Bodies that are no good message: refused by the filter with a JSON-RPC error, and nothing reaches the server.

mod bad;

use bad::{
    Post, a_good_call_succeeds, answered_id, assert_nothing_reached, deployment, jsonrpc_error,
};
use serde_json::{Value, json};
use writ_tests::registrations::BATCH;

const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const INVALID_PARAMS: i64 = -32602;
const HEADER_MISMATCH: i64 = -32020;

/// One bad message and what it gets.
struct Case {
    name: &'static str,
    body: Vec<u8>,
    status: u16,
    codes: &'static [i64],
    id: Value,
}

fn case(name: &'static str, body: impl Into<Vec<u8>>, codes: &'static [i64], id: Value) -> Case {
    Case {
        name,
        body: body.into(),
        status: 400,
        codes,
        id,
    }
}

/// A call of a good tool with these bytes as its arguments, under id 7.
fn arguments(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut body = br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"getAccount","arguments":"#.to_vec();
    body.extend_from_slice(bytes.as_ref());
    body.extend_from_slice(b"}}");
    body
}

/// A call with these bytes as the tool's name, under id 7.
fn named(name: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{{name}"arguments":{{}}}}}}"#
    )
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

fn syntax() -> Vec<Case> {
    const CODES: &[i64] = &[PARSE_ERROR, INVALID_REQUEST];
    let with_trailing = |trailing: &[u8]| [arguments("{}").as_slice(), trailing].concat();
    vec![
        case("no body", "", CODES, Value::Null),
        case("not JSON", "hello", CODES, Value::Null),
        case(
            "JSON cut short",
            br#"{"jsonrpc":"2.0","id":7,"method":"tools/call""#,
            CODES,
            json!(7),
        ),
        case("a comment", arguments("{/**/}"), CODES, json!(7)),
        case("NaN", arguments(r#"{"a":NaN}"#), CODES, json!(7)),
        case(
            "a trailing comma",
            arguments(r#"{"a":1,}"#),
            CODES,
            json!(7),
        ),
        case(
            "a byte order mark",
            [b"\xef\xbb\xbf".as_slice(), &arguments("{}")].concat(),
            CODES,
            Value::Null,
        ),
        case(
            "duplicate keys: the method",
            r#"{"jsonrpc":"2.0","id":7,"method":"ping","method":"tools/call","params":{}}"#,
            CODES,
            json!(7),
        ),
        case(
            "duplicate keys: the tool",
            named(r#""name":"getAccount","name":"transfer","#),
            CODES,
            json!(7),
        ),
        case(
            "duplicate keys: an argument",
            arguments(r#"{"account":"ops","account":"payroll"}"#),
            CODES,
            json!(7),
        ),
        case(
            "duplicate keys: an argument, escaped",
            arguments(r#"{"account":"ops","\u0061ccount":"payroll"}"#),
            CODES,
            json!(7),
        ),
        case(
            "duplicate keys: deep inside",
            arguments(r#"{"a":[{"b":{"c":1,"c":2}}]}"#),
            CODES,
            json!(7),
        ),
        case(
            "invalid UTF-8 in a value",
            arguments(b"{\"account\":\"\xff\"}"),
            CODES,
            json!(7),
        ),
        case(
            "invalid UTF-8 in a key",
            arguments(b"{\"\xc3\x28\":1}"),
            CODES,
            json!(7),
        ),
        case(
            "an overlong encoding",
            arguments(b"{\"account\":\"\xc0\xaf\"}"),
            CODES,
            json!(7),
        ),
        case(
            "a lone high surrogate",
            arguments(r#"{"account":"\ud800"}"#),
            CODES,
            json!(7),
        ),
        case(
            "a lone low surrogate",
            arguments(r#"{"account":"\udc00x"}"#),
            CODES,
            json!(7),
        ),
        case(
            "a lone surrogate in a key",
            arguments(r#"{"\ud834":1}"#),
            CODES,
            json!(7),
        ),
        case("trailing bytes", with_trailing(b"x"), CODES, json!(7)),
        case(
            "a second message",
            with_trailing(&arguments("{}")),
            CODES,
            json!(7),
        ),
        case("a trailing NUL", with_trailing(b"\0"), CODES, json!(7)),
        case("65 levels", arguments(nested(65)), CODES, json!(7)),
        case("10,000 levels", arguments(nested(10_000)), CODES, json!(7)),
    ]
}

fn envelope() -> Vec<Case> {
    const CODES: &[i64] = &[INVALID_REQUEST];
    vec![
        case(
            "a string",
            r#""tools/call""#,
            &[INVALID_REQUEST, PARSE_ERROR],
            Value::Null,
        ),
        case(
            "a batch",
            format!("[{}]", bad::good_message()),
            CODES,
            Value::Null,
        ),
        case("an empty batch", "[]", CODES, Value::Null),
        case("a batch after white space", " \r\n\t[]", CODES, Value::Null),
        case("no version", r#"{"id":7,"method":"ping"}"#, CODES, json!(7)),
        case(
            "another version",
            r#"{"jsonrpc":"1.0","id":7,"method":"ping"}"#,
            CODES,
            json!(7),
        ),
        case("no method", r#"{"jsonrpc":"2.0","id":7}"#, CODES, json!(7)),
        case(
            "a method that is a number",
            r#"{"jsonrpc":"2.0","id":7,"method":1}"#,
            CODES,
            json!(7),
        ),
        case(
            "an id that is an object",
            r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
            &[INVALID_REQUEST, PARSE_ERROR],
            Value::Null,
        ),
        case(
            "an id that is a list",
            r#"{"jsonrpc":"2.0","id":[7],"method":"ping"}"#,
            &[INVALID_REQUEST, PARSE_ERROR],
            Value::Null,
        ),
    ]
}

fn parameters() -> Vec<Case> {
    const CODES: &[i64] = &[INVALID_PARAMS];
    vec![
        case("no name", named(""), CODES, json!(7)),
        case(
            "a name that is a number",
            named(r#""name":1,"#),
            CODES,
            json!(7),
        ),
        case(
            "a name that is null",
            named(r#""name":null,"#),
            CODES,
            json!(7),
        ),
        case(
            "a name that is an object",
            named(r#""name":{"a":1},"#),
            CODES,
            json!(7),
        ),
        case(
            "a name that is a list",
            named(r#""name":["getAccount"],"#),
            CODES,
            json!(7),
        ),
        case(
            "no params",
            r#"{"jsonrpc":"2.0","id":"seven","method":"tools/call"}"#,
            CODES,
            json!("seven"),
        ),
    ]
}

#[tokio::test]
async fn bad_messages_are_refused_and_reach_nobody() {
    let deployment = deployment("bad-messages").await;
    let token = deployment.batch_token().await.unwrap();
    for Case {
        name,
        body,
        status,
        codes,
        id,
    } in [syntax(), envelope(), parameters()].into_iter().flatten()
    {
        let post = Post::good(&token).without_mcp_headers().body(body);
        let answer = post.send(deployment.envoy.listener()).await;
        assert_eq!(answer.status, status, "{name}: {answer}");
        let code = jsonrpc_error(&answer, name);
        assert!(codes.contains(&code), "{name}: {answer}");
        assert_eq!(answered_id(&answer, name), id, "{name}: {answer}");
        assert_nothing_reached(&deployment, name);
    }
    a_good_call_succeeds(&deployment).await;
}

#[tokio::test]
async fn a_body_over_the_limit_gets_the_filters_own_413() {
    let deployment = deployment("bad-size").await;
    let token = deployment.batch_token().await.unwrap();
    let limit = 1 << 20;
    for size in [limit + 1, limit + (limit >> 1)] {
        let frame = arguments(r#"{"account":""}"#).len();
        let body = arguments(format!(r#"{{"account":"{}"}}"#, "x".repeat(size - frame)));
        assert_eq!(body.len(), size);
        let answer = Post::good(&token)
            .body(body)
            .send(deployment.envoy.listener())
            .await;
        assert_eq!(answer.status, 413, "{size}: {answer}");
        jsonrpc_error(&answer, "over the limit");
        assert_nothing_reached(&deployment, "over the limit");
    }
    a_good_call_succeeds(&deployment).await;
}

#[tokio::test]
async fn encodings_and_types_other_than_json_are_refused() {
    let deployment = deployment("bad-types").await;
    let token = deployment.batch_token().await.unwrap();
    let good = || Post::good(&token);
    let cases = [
        ("gzip", good().header("content-encoding", "gzip")),
        ("brotli", good().header("content-encoding", "br")),
        (
            "two encodings",
            good().header("content-encoding", "identity, gzip"),
        ),
        ("text", good().header("content-type", "text/plain")),
        (
            "a form",
            good().header("content-type", "application/x-www-form-urlencoded"),
        ),
        (
            "something that starts like JSON",
            good().header("content-type", "application/jsonp"),
        ),
        (
            "two types",
            good().another_header("content-type", "text/plain"),
        ),
        (
            "another character set",
            good().header("content-type", "application/json; charset=utf-16"),
        ),
        ("an empty type", good().header("content-type", "")),
        ("no type", good().without("content-type")),
    ];
    for (name, post) in cases {
        let answer = post.send(deployment.envoy.listener()).await;
        assert!([400, 415].contains(&answer.status), "{name}: {answer}");
        jsonrpc_error(&answer, name);
        assert_nothing_reached(&deployment, name);
    }
    a_good_call_succeeds(&deployment).await;
}

#[tokio::test]
async fn headers_that_disagree_with_the_body_are_refused() {
    let deployment = deployment("bad-mismatch").await;
    let token = deployment.batch_token().await.unwrap();
    let good = || Post::good(&token);
    let cases = [
        ("another method", good().header("mcp-method", "tools/list")),
        ("another tool", good().header("mcp-name", "listAccounts")),
        ("another case", good().header("mcp-name", "GETACCOUNT")),
        (
            "two tools",
            good().another_header("mcp-name", "listAccounts"),
        ),
        (
            "another version",
            good().header("mcp-protocol-version", "2025-11-25"),
        ),
    ];
    for (name, post) in cases {
        let answer = post.send(deployment.envoy.listener()).await;
        assert_eq!(answer.status, 400, "{name}: {answer}");
        let code = jsonrpc_error(&answer, name);
        assert!(
            [HEADER_MISMATCH, INVALID_REQUEST].contains(&code),
            "{name}: {answer}"
        );
        assert_nothing_reached(&deployment, name);
    }
    // Who was known, and sent one message with two meanings.
    let records = deployment.service.audit().unwrap();
    let known = records
        .iter()
        .filter(|r| r["detail"]["cause"] == "disagreement");
    let known: Vec<_> = known.map(|r| (&r["agent"], &r["decision"])).collect();
    assert_eq!(known, [(&json!(BATCH), &json!("deny")); 4]);
    a_good_call_succeeds(&deployment).await;
}
