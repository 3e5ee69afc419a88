//! Requests that two readers of HTTP/1.1 could end at different bytes (RFC 9112 section 11.2): a call of the open tool,
//! and behind it one of the secret tool for whoever takes the first to be shorter.

use serde_json::json;

use super::{OPEN, SECRET, message};

/// A name, and the bytes to be sent on one connection.
pub type Smuggled = (&'static str, Vec<u8>);

fn head(tool: &str, framing: &str) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/json, text/event-stream\r\n\
         content-type: application/json\r\nmcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\n\
         mcp-name: {tool}\r\n{framing}\r\n"
    )
}

fn body(tool: &str) -> String {
    message(tool, &json!({ "account": "ops" })).to_string()
}

/// A whole request with this length.
fn sized(tool: &str, framing: &str) -> String {
    let body = body(tool);
    head(
        tool,
        &format!("content-length: {}\r\n{framing}", body.len()),
    ) + &body
}

fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

pub fn all() -> Vec<Smuggled> {
    let (open, secret) = (body(OPEN), sized(SECRET, ""));
    let chunked = |framing: &str, rest: &str| {
        head(OPEN, &format!("transfer-encoding: chunked\r\n{framing}"))
            + &chunk(&open)
            + "0\r\n\r\n"
            + rest
    };
    let length = open.len();
    let longer = length + secret.len();
    let texts = [
        ("one after the other", sized(OPEN, "") + &secret),
        (
            "length and chunks, by chunks",
            chunked(&format!("content-length: {longer}\r\n"), &secret),
        ),
        (
            "length and chunks, by length",
            head(
                OPEN,
                &format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n"),
            ) + &open
                + &secret,
        ),
        (
            "two lengths",
            head(
                OPEN,
                &format!("content-length: {length}\r\ncontent-length: {longer}\r\n"),
            ) + &open
                + &secret,
        ),
        (
            "two lengths in one",
            head(OPEN, &format!("content-length: {length}, {longer}\r\n")) + &open + &secret,
        ),
        (
            "a length with a sign",
            head(OPEN, &format!("content-length: +{length}\r\n")) + &open + &secret,
        ),
        (
            "a length in hexadecimal",
            head(OPEN, &format!("content-length: {length:#x}\r\n")) + &open + &secret,
        ),
        (
            "a space before the colon",
            head(OPEN, &format!("content-length : {length}\r\n")) + &open + &secret,
        ),
        (
            "a length on a folded line",
            head(
                OPEN,
                &format!(
                    "x-folded: a\r\n content-length: {longer}\r\ncontent-length: {length}\r\n"
                ),
            ) + &open
                + &secret,
        ),
        (
            "chunks of another kind",
            head(OPEN, "transfer-encoding: xchunked\r\n") + &chunk(&open) + "0\r\n\r\n" + &secret,
        ),
        (
            "chunks and identity",
            head(OPEN, "transfer-encoding: chunked, identity\r\n")
                + &chunk(&open)
                + "0\r\n\r\n"
                + &secret,
        ),
        (
            "chunks twice",
            head(
                OPEN,
                "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            ) + &chunk(&open)
                + "0\r\n\r\n"
                + &secret,
        ),
        (
            "chunks after a vertical tab",
            head(
                OPEN,
                &format!("transfer-encoding:\u{b}chunked\r\ncontent-length: {length}\r\n"),
            ) + &open
                + &secret,
        ),
        (
            "a chunk with an extension",
            head(OPEN, "transfer-encoding: chunked\r\n")
                + &format!("{length:x};a=\"\r\n\"\r\n{open}\r\n0\r\n\r\n")
                + &secret,
        ),
        (
            "a chunk's size with a sign",
            head(OPEN, "transfer-encoding: chunked\r\n")
                + &format!("+{length:x}\r\n{open}\r\n0\r\n\r\n{secret}"),
        ),
        (
            "a chunk's size beyond every integer",
            head(OPEN, "transfer-encoding: chunked\r\n")
                + &format!("1{length:016x}\r\n{open}\r\n0\r\n\r\n{secret}"),
        ),
        (
            "a chunk that is longer than it says",
            head(OPEN, "transfer-encoding: chunked\r\n")
                + &format!("{length:x}\r\n{open}{secret}\r\n0\r\n\r\n"),
        ),
        (
            "the message in many chunks",
            head(OPEN, "transfer-encoding: chunked\r\n")
                + &open.split_inclusive(':').map(chunk).collect::<String>()
                + "0\r\n\r\n",
        ),
        (
            "trailers",
            head(OPEN, "transfer-encoding: chunked\r\ntrailer: mcp-name\r\n")
                + &chunk(&open)
                + "0\r\nmcp-name: secret\r\n\r\n",
        ),
        (
            "lines that end in LF",
            sized(OPEN, "").replace("\r\n", "\n") + &secret,
        ),
        (
            "a bare CR in a header",
            sized(OPEN, "x-bare: a\rmcp-name: secret\r\n") + &secret,
        ),
        (
            "a NUL in a header",
            sized(OPEN, "x-nul: a\0b\r\n") + &secret,
        ),
        (
            "an absolute URI",
            sized(OPEN, "").replace("POST /mcp", "POST http://other.example/mcp") + &secret,
        ),
        (
            "two hosts",
            sized(OPEN, "host: other.example\r\n") + &secret,
        ),
        (
            "HTTP/1.0 and chunks",
            chunked("", &secret).replace("HTTP/1.1", "HTTP/1.0"),
        ),
        ("HTTP/0.9", "POST /mcp\r\n".to_owned() + &secret),
        (
            "an upgrade to HTTP/2",
            sized(
                OPEN,
                "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n",
            ) + &secret,
        ),
        (
            "an expectation",
            sized(OPEN, "expect: 100-continue\r\n") + &secret,
        ),
        (
            "headers that the connection drops",
            sized(OPEN, "connection: mcp-name, content-length\r\n") + &secret,
        ),
    ];
    texts.map(|(name, text)| (name, text.into_bytes())).into()
}
