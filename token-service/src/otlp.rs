//! What messages of OTLP are made of, as JSON (OTLP 1.x, "JSON Protobuf Encoding").

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    audit::{clip, printable},
    clock,
};

/// What a receiver answers when it has taken a request, or not all of it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Taken {
    partial_success: Option<Partial>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Partial {
    /// A 64-bit number, which JSON has as text.
    #[serde(alias = "rejectedLogRecords", alias = "rejectedDataPoints")]
    rejected_spans: Value,
    error_message: String,
}

/// How much a receiver says that it dropped, and why: that must not be sent again ("Partial Success").
pub(crate) fn dropped(answer: &[u8]) -> Option<(u64, String)> {
    let taken: Taken = serde_json::from_slice(answer).ok()?;
    let partial = taken.partial_success?;
    let count = match &partial.rejected_spans {
        Value::String(text) => text.parse().ok(),
        number => number.as_u64(),
    };
    let count = count.filter(|count| *count > 0)?;
    Some((count, printable(&clip(&partial.error_message, 256))))
}

/// Who sends: `service`, and which one of several, where there are.
pub(crate) fn resource(service: &str, instance: Option<&str>) -> Value {
    let all = [
        ("service.name", Some(service)),
        ("service.version", Some(env!("CARGO_PKG_VERSION"))),
        ("service.instance.id", instance),
    ];
    json!({ "attributes": attributes(all) })
}

/// What part of it.
pub(crate) fn scope(name: &str) -> Value {
    json!({ "name": name, "version": env!("CARGO_PKG_VERSION") })
}

/// Attributes that are text; those without value are left out.
pub(crate) fn attributes<'k, 'v>(
    all: impl IntoIterator<Item = (&'k str, Option<&'v str>)>,
) -> Vec<Value> {
    all.into_iter()
        .filter_map(|(key, value)| Some(json!({ "key": key, "value": { "stringValue": value? } })))
        .collect()
}

/// A call by the names of the conventions.
pub(crate) fn call<'a>(
    method: &'a str,
    target: Option<&'a str>,
) -> impl Iterator<Item = (&'static str, Option<&'a str>)> {
    let target = |of: &[&str]| target.filter(|_| of.contains(&method));
    let tool = target(&["tools/call"]);
    [
        ("mcp.method.name", Some(method)),
        ("gen_ai.operation.name", tool.map(|_| "execute_tool")),
        ("gen_ai.tool.name", tool),
        ("gen_ai.prompt.name", target(&["prompts/get"])),
        (
            "mcp.resource.uri",
            target(&[
                "resources/read",
                "resources/subscribe",
                "resources/unsubscribe",
            ]),
        ),
    ]
    .into_iter()
}

/// An `AnyValue`.
pub(crate) fn any(value: &Value) -> Value {
    match value {
        Value::Null => json!({}),
        Value::Bool(value) => json!({ "boolValue": value }),
        // 64-bit numbers are text.
        Value::Number(number) if number.is_i64() => json!({ "intValue": number.to_string() }),
        Value::Number(number) => json!({ "doubleValue": number.as_f64() }),
        Value::String(text) => json!({ "stringValue": text }),
        Value::Array(items) => {
            let values: Vec<_> = items.iter().map(any).collect();
            json!({ "arrayValue": { "values": values } })
        }
        Value::Object(members) => {
            let values: Vec<_> = members
                .iter()
                .map(|(key, value)| json!({ "key": key, "value": any(value) }))
                .collect();
            json!({ "kvlistValue": { "values": values } })
        }
    }
}

/// A time.
pub(crate) fn nanos(at: Timestamp) -> String {
    clock::unix(at)
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(at.subsec_nanosecond()).unwrap_or(0))
        .to_string()
}
