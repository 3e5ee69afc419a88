//! OpenTelemetry logs over OTLP/HTTP, as JSON (OTLP 1.x, "JSON Protobuf Encoding"), with the names of the conventions for MCP and GenAI.

use serde_json::{Value, json};

use super::{Failure, Lost, answer, batch::Message, http::Http};
use crate::{
    audit::{Finding, Kind, Record, Verdict},
    otlp::{self, any, attributes, nanos},
};

/// Where a receiver takes logs.
const PATH: &str = "/v1/logs";

#[derive(Debug)]
pub(super) struct Otlp {
    http: Http,
    /// The log's name.
    log: String,
}

impl Otlp {
    pub(super) fn new(mut http: Http, log: String) -> Self {
        if http.endpoint.url.path() == "/" {
            http.endpoint.url.set_path(PATH);
        }
        Self { http, log }
    }

    pub(super) async fn send(&self, batch: &[Message]) -> Result<Lost, Failure> {
        let body = self.request(batch).to_string();
        let answer = answer::post(&self.http, &self.http.endpoint.url, &body).await?;
        let dropped = otlp::dropped(&answer.body);
        let lost = dropped.map(|(records, problem)| Lost { records, problem });
        Ok(lost.unwrap_or_default())
    }

    fn request(&self, batch: &[Message]) -> Value {
        let now = nanos(jiff::Timestamp::now());
        let records: Vec<_> = batch
            .iter()
            .map(|message| self.record(message, &now))
            .collect();
        json!({
            "resourceLogs": [{
                "resource": otlp::resource("writ", None),
                "scopeLogs": [{
                    "scope": otlp::scope("writ.audit"),
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
            "traceId": record.trace_id().unwrap_or_default(),
        })
    }

    /// By the names of the conventions, where there is one.
    fn attributes<'a>(
        &'a self,
        record: &'a Record,
    ) -> impl Iterator<Item = (&'static str, Option<&'a str>)> {
        let method = record.method.as_deref().filter(|_| is_call(record.kind));
        let target = record.target.as_deref();
        let call = method.into_iter();
        call.flat_map(move |method| otlp::call(method, target))
            .chain([
                ("gen_ai.agent.id", record.agent.as_deref()),
                ("user.id", record.subject.as_deref()),
                ("client.address", record.source_ip.as_deref()),
                ("error.type", failure(record)),
                ("writ.record.id", Some(&*record.id)),
                ("writ.log.name", Some(&*self.log)),
                ("writ.server", record.server.as_deref()),
                ("writ.decision", record.decision.map(Verdict::as_str)),
            ])
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
