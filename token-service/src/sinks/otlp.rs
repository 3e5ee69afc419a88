//! OpenTelemetry logs over OTLP/HTTP, as JSON (OTLP 1.x, "JSON Protobuf Encoding"), with the names of the conventions for MCP and GenAI.

use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Failure, Lost, answer, batch::Message, http::Http};
use crate::{
    audit::{Finding, Kind, Record, Verdict, clip, printable},
    clock,
};

/// Where a receiver takes logs.
const PATH: &str = "/v1/logs";

#[derive(Debug)]
pub(super) struct Otlp {
    http: Http,
    /// The log's name.
    log: String,
}

/// What a receiver answers when it has taken a batch, or not all of it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Taken {
    partial_success: Option<Partial>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Partial {
    /// A 64-bit number, which JSON has as text.
    rejected_log_records: Value,
    error_message: String,
}

impl Otlp {
    pub(super) fn new(mut http: Http, log: String) -> Self {
        if http.endpoint.url.path() == "/" {
            http.endpoint.url.set_path(PATH);
        }
        Self { http, log }
    }

    pub(super) async fn send(&self, batch: &[Message]) -> Result<Lost, Failure> {
        let body = serde_json::to_vec(&self.request(batch)).map_err(Failure::later)?;
        let url = &self.http.endpoint.url;
        let mut request = self.http.post(url, "application/json", body)?;
        if let Some(token) = &self.http.endpoint.token {
            request = request.bearer_auth(token.expose_secret());
        }
        let answer = answer::to(request).await?;
        answer.judge()?;
        let taken: Option<Taken> = serde_json::from_slice(&answer.body).ok();
        // What was not taken must not be sent again ("Partial Success").
        Ok(taken
            .and_then(|taken| taken.partial_success)
            .and_then(|partial| partial.lost())
            .unwrap_or_default())
    }

    fn request(&self, batch: &[Message]) -> Value {
        let now = nanos(jiff::Timestamp::now());
        let records: Vec<_> = batch
            .iter()
            .map(|message| self.record(message, &now))
            .collect();
        let resource = attributes([
            ("service.name", Some("writ")),
            ("service.version", Some(env!("CARGO_PKG_VERSION"))),
        ]);
        json!({
            "resourceLogs": [{
                "resource": { "attributes": resource },
                "scopeLogs": [{
                    "scope": { "name": "writ.audit", "version": env!("CARGO_PKG_VERSION") },
                    "logRecords": records,
                }],
            }],
        })
    }

    fn record(&self, message: &Message, now: &str) -> Value {
        let record = &message.entry.record;
        let (number, text) = severity(record);
        let time = record.time.parse().unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let body = serde_json::from_str(&message.text).unwrap_or(Value::Null);
        let mut attributes = attributes(self.attributes(record));
        attributes.push(json!({ "key": "writ.log.index", "value": any(&json!(message.leaf)) }));
        json!({
            "timeUnixNano": nanos(time),
            "observedTimeUnixNano": now,
            "severityNumber": number,
            "severityText": text,
            "eventName": format!("writ.{}", record.kind.as_str()),
            "body": any(&body),
            "attributes": attributes,
        })
    }

    /// By the names of the conventions, where there is one.
    fn attributes<'a>(&'a self, record: &'a Record) -> [(&'static str, Option<&'a str>); 13] {
        let method = record.method.as_deref().filter(|_| is_call(record.kind));
        let target = |of: &[&str]| {
            let ours = method.is_some_and(|method| of.contains(&method));
            record.target.as_deref().filter(|_| ours)
        };
        let tool = target(&["tools/call"]);
        [
            ("mcp.method.name", method),
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
            ("gen_ai.agent.id", record.agent.as_deref()),
            ("user.id", record.subject.as_deref()),
            ("client.address", record.source_ip.as_deref()),
            ("error.type", failure(record)),
            ("writ.record.id", Some(&record.id)),
            ("writ.log.name", Some(&self.log)),
            ("writ.server", record.server.as_deref()),
            ("writ.decision", record.decision.map(Verdict::as_str)),
        ]
    }
}

impl Partial {
    fn lost(&self) -> Option<Lost> {
        let records = match &self.rejected_log_records {
            Value::String(text) => text.parse().ok(),
            number => number.as_u64(),
        };
        Some(Lost {
            records: records.filter(|records| *records > 0)?,
            problem: printable(&clip(&self.error_message, 256)),
        })
    }
}

fn is_call(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Mint
            | Kind::Denied
            | Kind::Outcome
            | Kind::DiscoveryUse
            | Kind::Evaluation
            | Kind::PinChanged
    )
}

/// Data model of logs, "SeverityNumber".
fn severity(record: &Record) -> (u32, &'static str) {
    match (record.kind, record.decision) {
        (Kind::Rogue, _) if Finding::on(record).is_some_and(Finding::is_news) => (9, "INFO"),
        (Kind::Rogue | Kind::PinChanged, _) | (_, Some(Verdict::Deny)) => (13, "WARN"),
        _ => (9, "INFO"),
    }
}

/// What a call ended with, where that is not what was wanted.
fn failure(record: &Record) -> Option<&str> {
    let result = record.detail.as_ref()?.get("result")?.as_str()?;
    (!matches!(result, "ok" | "task" | "input_required")).then_some(result)
}

fn attributes<'a>(all: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> Vec<Value> {
    all.into_iter()
        .filter_map(|(key, value)| Some(json!({ "key": key, "value": { "stringValue": value? } })))
        .collect()
}

/// An `AnyValue` of the protocol.
fn any(value: &Value) -> Value {
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

fn nanos(at: jiff::Timestamp) -> String {
    clock::unix(at)
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(at.subsec_nanosecond()).unwrap_or(0))
        .to_string()
}
