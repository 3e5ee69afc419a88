//! Headers that say something else than the body, or are there twice.

use super::{Case, Fate};
use crate::bad::Post;

pub fn cases() -> Vec<Case> {
    let name = |value: &'static [u8], fate| {
        Case::headers(
            &format!("mcp-name: {}", String::from_utf8_lossy(value)),
            fate,
            |post: Post| post.header("mcp-name", value),
        )
    };
    let mut cases = vec![
        Case::headers("another method", Fate::Refused, |post| {
            post.header("mcp-method", "tools/list")
        }),
        Case::headers("a method in capitals", Fate::Refused, |post| {
            post.header("mcp-method", "TOOLS/CALL")
        }),
        Case::headers("a name in capitals of the header", Fate::Heard, |post| {
            post.without("mcp-method")
                .another_header("MCP-METHOD", "tools/call")
        }),
        Case::headers("two methods", Fate::Refused, |post| {
            post.another_header("mcp-method", "tools/call")
        }),
        Case::headers("two names", Fate::Refused, |post| {
            post.another_header("mcp-name", "secret")
        }),
        Case::headers("two names in one", Fate::Refused, |post| {
            post.header("mcp-name", "echo, secret")
        }),
        Case::headers("two versions", Fate::Refused, |post| {
            post.another_header("mcp-protocol-version", "2025-11-25")
        }),
        Case::headers("another version", Fate::Refused, |post| {
            post.header("mcp-protocol-version", "2025-11-25")
        }),
        Case::headers("two types", Fate::Refused, |post| {
            post.another_header("content-type", "text/plain")
        }),
        Case::headers("another character set", Fate::Refused, |post| {
            post.header("content-type", "application/json; charset=utf-16")
        }),
        Case::headers("an encoding", Fate::Refused, |post| {
            post.header("content-encoding", "gzip")
        }),
        Case::headers("a stream for a type", Fate::Refused, |post| {
            post.header("content-type", "text/event-stream")
        }),
        Case::headers("a header with an underscore", Fate::Refused, |post| {
            post.another_header("mcp_name", "secret")
        }),
        Case::headers(
            "another way to say the method of HTTP",
            Fate::Heard,
            |post| post.another_header("x-http-method-override", "DELETE"),
        ),
        Case::headers("another way to say the path", Fate::Heard, |post| {
            post.another_header("x-original-url", "/admin")
        }),
    ];
    cases.extend([
        name(b"=?base64?ZWNobw==?=", Fate::Heard),
        name(b"  echo\t", Fate::Heard),
        name(b"=?base64?c2VjcmV0?=", Fate::Refused),
        // Other ends of the same four characters: what is left over is not nothing.
        name(b"=?base64?ZWNobx==?=", Fate::Refused),
        name(b"=?base64?ZWNobw?=", Fate::Refused),
        name(b"=?base64?ZWNobw===?=", Fate::Refused),
        name(b"=?base64?ZWNo bw==?=", Fate::Refused),
        name(b"=?base64?ZWNobw==", Fate::Refused),
        name(b"=?BASE64?ZWNobw==?=", Fate::Refused),
        name(b"=?base64?_-_-?=", Fate::Refused),
        name(b"=?base64??=", Fate::Refused),
        name(b"=?base64?/+8=?=", Fate::Refused),
        name(b"=?utf-8?B?ZWNobw==?=", Fate::Refused),
        name(b"\"echo\"", Fate::Refused),
        name(b"%65cho", Fate::Refused),
        name(b"ech\xef\xbd\x8f", Fate::Refused),
        name(b"echo\xff", Fate::Refused),
        name(b"", Fate::Refused),
    ]);
    cases
}
