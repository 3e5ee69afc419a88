//! Headers say what the body says (MCP 2026-07-28, request metadata headers).
//!
//! Intermediaries go by `Mcp-Method`, `Mcp-Name` and `Mcp-Param-…`, servers by the body: a request that says one thing here
//! and another there is refused. Nothing is ever decided by these headers.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use writ_policy::Value;

use crate::headers::Headers;
use crate::message::{Era, Form, MAX_NAME, Message};
use crate::refuse::Refusal;
use crate::tool_headers::Declared;

/// The longest header value that is decoded, in bytes: a name of the greatest length in the `=?base64?…?=` form.
const MAX_VALUE: usize = 4 * MAX_NAME;

/// How headers and body part ways.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Disagreement {
    /// They say different things, or the header cannot be decoded.
    #[error("the `{0}` header and the body disagree; send the same value in both")]
    Different(Cow<'static, str>),
    /// The header is required and not there.
    #[error("the `{0}` header is missing; it has to repeat what the body says (MCP 2026-07-28)")]
    Missing(Cow<'static, str>),
}

/// Checks the headers of a request against its message; `declared` are the arguments that its tool is known to want
/// repeated.
pub(crate) fn check(
    headers: &Headers,
    message: &Message,
    declared: &[Declared],
) -> Result<(), Refusal> {
    let (version, said) = (headers.mcp_version.as_deref(), message.meta_version());
    let stateless = headers.era() == Era::Stateless || Era::of(said) == Era::Stateless;
    let required = stateless && message.form() == Form::Request;
    if required {
        // The handshake of the session era names its version in its own way.
        if message.method() == "initialize" && said.is_none() {
            return Err(different("MCP-Protocol-Version"));
        }
        if let Some(missing) = message.missing_meta() {
            return Err(Refusal::MissingMeta(missing));
        }
    }
    agrees("MCP-Protocol-Version", version, said, required)?;
    agrees(
        "Mcp-Method",
        headers.mcp_method.as_deref(),
        Some(message.method()),
        required,
    )?;
    let name = headers.mcp_name.as_deref().map(decoded).transpose();
    let name = name.map_err(|Undecodable| different("Mcp-Name"))?;
    match (name, message.target()) {
        (Some(name), target) if target != Some(name.as_ref()) => Err(different("Mcp-Name")),
        (None, Some(_)) if required && message.is_named_in_header() => Err(missing("Mcp-Name")),
        _ => Ok(()),
    }?;
    if !required || message.method() != "tools/call" {
        return Ok(());
    }
    declared
        .iter()
        .try_for_each(|declared| argument(headers, message, declared))
}

/// A header that is there says what the body says, if that says anything; one that is required is there.
fn agrees(
    name: &'static str,
    header: Option<&str>,
    body: Option<&str>,
    required: bool,
) -> Result<(), Refusal> {
    match (header, body) {
        (Some(header), Some(body)) if header != body => Err(different(name)),
        (None, _) if required => Err(missing(name)),
        _ => Ok(()),
    }
}

/// An argument that the tool wants repeated is in its header; one that is not given is not.
fn argument(headers: &Headers, message: &Message, declared: &Declared) -> Result<(), Refusal> {
    let header = headers
        .params
        .iter()
        .find(|(name, _)| *name == declared.header)
        .map(|(_, value)| decoded(value));
    let name = || format!("Mcp-Param-{}", declared.header);
    match (message.argument(&declared.path), header) {
        (None | Some(Value::Null), None) => Ok(()),
        // What is no primitive value has no form in a header.
        (Some(Value::Array(_) | Value::Object(_) | Value::Set(_) | Value::Undefined), _) => Ok(()),
        (Some(_), None) => Err(missing(name())),
        (Some(value), Some(Ok(text))) if says(value, &text) => Ok(()),
        _ => Err(different(name())),
    }
}

/// Whether a header's text is this value: numbers are compared as numbers, everything else as it is written.
fn says(value: &Value, text: &str) -> bool {
    match value {
        Value::String(value) => value.as_ref() == text,
        Value::Bool(value) => text == if *value { "true" } else { "false" },
        Value::Number(number) => {
            let decimal =
                |b: u8| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E');
            text.bytes().all(decimal)
                && text
                    .parse::<f64>()
                    .is_ok_and(|text| number.as_f64() == Some(text))
        }
        _ => false,
    }
}

/// A value that claims to be encoded and cannot be decoded.
struct Undecodable;

/// The value of a header in the `=?base64?…?=` form, or as it stands.
fn decoded(value: &str) -> Result<Cow<'_, str>, Undecodable> {
    let value = value.trim_matches([' ', '\t']);
    let encoded = value
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="));
    let Some(encoded) = encoded else {
        return Ok(Cow::Borrowed(value));
    };
    if encoded.len() > MAX_VALUE {
        return Err(Undecodable);
    }
    let bytes = STANDARD.decode(encoded).map_err(|_| Undecodable)?;
    String::from_utf8(bytes)
        .map(Cow::Owned)
        .map_err(|_| Undecodable)
}

fn different(name: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::Disagreement(Disagreement::Different(name.into()))
}

fn missing(name: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::Disagreement(Disagreement::Missing(name.into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::message;

    const VERSION: (&str, &str) = ("mcp-protocol-version", "2026-07-28");

    fn check_with(
        headers: &[(&str, &str)],
        method: &str,
        params: serde_json::Value,
        declared: &[Declared],
    ) -> Result<(), Refusal> {
        let raw = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
            .collect();
        let headers = Headers::read(raw, &[]).unwrap();
        let mut body = json!({"jsonrpc": "2.0", "method": method, "params": params});
        if !method.starts_with("notifications/") {
            body["id"] = json!(1);
        }
        let message = message::parse(body.to_string().as_bytes()).unwrap();
        check(&headers, &message, declared)
    }

    fn stateless(mut params: serde_json::Value) -> serde_json::Value {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        params
    }

    fn code(result: Result<(), Refusal>) -> i64 {
        result.map_or_else(
            |refusal| {
                let reply = refusal.reply(None, "", None);
                assert_eq!(reply.status, 400);
                serde_json::from_str::<serde_json::Value>(&reply.body).unwrap()["error"]["code"]
                    .as_i64()
                    .unwrap()
            },
            |()| 0,
        )
    }

    #[test]
    fn a_stateless_request_repeats_its_version_method_and_name() {
        let call = || stateless(json!({"name": "t"}));
        let method = ("mcp-method", "tools/call");
        let name = ("mcp-name", "t");
        for (headers, expected) in [
            (vec![VERSION, method, name], 0),
            (vec![method, name], -32020),
            (vec![VERSION, name], -32020),
            (vec![VERSION, method], -32020),
            (
                vec![("mcp-protocol-version", "2025-11-25"), method, name],
                -32020,
            ),
            (vec![VERSION, ("mcp-method", "tools/list"), name], -32020),
            (vec![VERSION, ("mcp-method", "TOOLS/CALL"), name], -32020),
            (vec![VERSION, method, ("mcp-name", "T")], -32020),
            (vec![VERSION, method, ("mcp-name", "")], -32020),
        ] {
            assert_eq!(
                code(check_with(&headers, "tools/call", call(), &[])),
                expected,
                "{headers:?}"
            );
        }
        let list = [VERSION, ("mcp-method", "tools/list")];
        assert_eq!(
            code(check_with(&list, "tools/list", stateless(json!({})), &[])),
            0
        );
        let named = [list[0], list[1], name];
        assert_eq!(
            code(check_with(&named, "tools/list", stateless(json!({})), &[])),
            -32020
        );
        for (method, parameter) in [
            ("prompts/get", "name"),
            ("resources/read", "uri"),
            ("tasks/get", "taskId"),
            ("tasks/update", "taskId"),
            ("tasks/cancel", "taskId"),
        ] {
            let headers = [VERSION, ("mcp-method", method)];
            let params = stateless(json!({parameter: "x"}));
            assert_eq!(
                code(check_with(&headers, method, params, &[])),
                -32020,
                "{method}"
            );
        }
    }

    #[test]
    fn a_stateless_request_says_what_it_has_to_of_itself() {
        let headers = [VERSION, ("mcp-method", "tools/list")];
        let mut without_capabilities = stateless(json!({}));
        without_capabilities["_meta"]
            .as_object_mut()
            .unwrap()
            .remove("io.modelcontextprotocol/clientCapabilities");
        for params in [json!({}), json!({"_meta": {}}), without_capabilities] {
            assert_eq!(
                code(check_with(&headers, "tools/list", params, &[])),
                -32602
            );
        }
        let handshake = check_with(
            &[VERSION],
            "initialize",
            json!({"protocolVersion": "2025-11-25"}),
            &[],
        );
        assert_eq!(code(handshake), -32020);
    }

    #[test]
    fn nothing_is_required_of_the_session_era_or_of_notifications_but_what_is_there_agrees() {
        let call = || json!({"name": "t"});
        assert_eq!(code(check_with(&[], "tools/call", call(), &[])), 0);
        assert_eq!(
            code(check_with(
                &[("mcp-protocol-version", "2025-11-25")],
                "tools/call",
                call(),
                &[]
            )),
            0
        );
        assert_eq!(
            code(check_with(&[("mcp-name", "u")], "tools/call", call(), &[])),
            -32020
        );
        assert_eq!(
            code(check_with(
                &[("mcp-method", "ping")],
                "tools/call",
                call(),
                &[]
            )),
            -32020
        );
        let note = "notifications/cancelled";
        assert_eq!(code(check_with(&[VERSION], note, json!({}), &[])), 0);
        assert_eq!(
            code(check_with(
                &[VERSION, ("mcp-method", "ping")],
                note,
                json!({}),
                &[]
            )),
            -32020
        );
    }

    #[test]
    fn names_are_decoded_before_they_are_compared() {
        for (header, body, expected) in [
            ("=?base64?w7w=?=", "ü", 0),
            (" =?base64?SGVsbG8=?= ", "Hello", 0),
            ("\tHello ", "Hello", 0),
            ("=?base64?SGVsbG8?=", "Hello", -32020),
            ("=?base64?SGVs!!!bG8=?=", "Hello", -32020),
            ("=?base64?/w==?=", "ÿ", -32020),
            ("=?BASE64?SGVsbG8=?=", "Hello", -32020),
            ("=?BASE64?SGVsbG8=?=", "=?BASE64?SGVsbG8=?=", 0),
            ("=?base64?SGVsbG8=", "=?base64?SGVsbG8=", 0),
            ("=?base64??=", "x", -32020),
        ] {
            let headers = [VERSION, ("mcp-method", "tools/call"), ("mcp-name", header)];
            let params = stateless(json!({"name": body}));
            assert_eq!(
                code(check_with(&headers, "tools/call", params, &[])),
                expected,
                "{header}"
            );
        }
        let long = format!("=?base64?{}?=", "QUFB".repeat(MAX_VALUE));
        let headers = [VERSION, ("mcp-method", "tools/call"), ("mcp-name", &long)];
        let params = stateless(json!({"name": "A"}));
        assert_eq!(
            code(check_with(&headers, "tools/call", params, &[])),
            -32020
        );
    }

    #[test]
    fn arguments_that_a_tool_wants_repeated_are() {
        let declared = [Declared {
            header: "region".to_owned(),
            path: vec!["where".to_owned(), "region".to_owned()],
        }];
        for (argument, header, expected) in [
            (json!("eu"), Some("eu"), 0),
            (json!("eu"), Some("us"), -32020),
            (json!("eu"), None, -32020),
            (json!("ü"), Some("=?base64?w7w=?="), 0),
            (json!("ü"), Some("=?base64?w7w?="), -32020),
            (json!(42), Some("42"), 0),
            (json!(42), Some("42.0"), 0),
            (json!(42), Some("0x2a"), -32020),
            (json!(42), Some("43"), -32020),
            (json!(1.5), Some("1.5"), 0),
            (json!(1), Some("inf"), -32020),
            (json!("42"), Some("42.0"), -32020),
            (json!(true), Some("true"), 0),
            (json!(true), Some("True"), -32020),
            (json!(null), None, 0),
            (json!(null), Some("null"), -32020),
            (json!(["eu"]), None, 0),
        ] {
            let mut headers = vec![
                VERSION,
                ("mcp-method", "tools/call"),
                ("mcp-name", "t"),
                ("mcp-param-other", "x"),
            ];
            headers.extend(header.map(|value| ("mcp-param-region", value)));
            let params =
                stateless(json!({"name": "t", "arguments": {"where": {"region": argument}}}));
            let result = check_with(&headers, "tools/call", params, &declared);
            assert_eq!(code(result), expected, "{argument} {header:?}");
        }
    }
}
