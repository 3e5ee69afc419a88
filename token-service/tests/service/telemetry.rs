//! Traces as a collector has them that reads by the official definitions.

use std::{
    io::{BufRead as _, BufReader, Lines},
    process::{ChildStdout, Stdio},
    time::{Duration, Instant},
};

use reqwest::StatusCode;
use serde_json::{Value, json};
use writ_token_service::{
    config::{Config, remote::Credential, sinks::Endpoint, telemetry::Telemetry},
    store::audit::Filter,
};

use crate::{
    harness::{Form, GUARD, Service, call, python},
    sinks::Reaped,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const FILTERS: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn telemetry(port: &str) -> Telemetry {
    Telemetry {
        endpoint: Endpoint {
            url: format!("http://127.0.0.1:{port}/otlp").parse().unwrap(),
            credential: Credential::authorization("Bearer", &"c0llect".into()).ok(),
            gzip: true,
        },
        service_name: "writ".to_owned(),
        sample: 0.0,
        metrics_interval: Duration::from_secs(60),
    }
}

struct Collector {
    lines: Lines<BufReader<ChildStdout>>,
    port: String,
    _process: Reaped,
}

impl Collector {
    fn start() -> Self {
        let mut child = python("otlp.py").stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap();
        Self {
            lines,
            port,
            _process: Reaped(child),
        }
    }

    /// The spans of what comes until there are so many, each with its resource's attributes.
    fn spans(&mut self, many: usize) -> Vec<(Value, Value)> {
        let mut spans = Vec::new();
        while spans.len() < many {
            let said: Value = serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap();
            assert_eq!(said["path"], "/otlp/v1/traces", "{said}");
            assert_eq!(said["authorization"], "Bearer c0llect");
            for resource in said["traces"]["resourceSpans"].as_array().unwrap() {
                for span in resource["scopeSpans"][0]["spans"].as_array().unwrap() {
                    spans.push((resource["resource"].clone(), span.clone()));
                }
            }
        }
        spans
    }
}

/// An attribute of a span or resource.
fn attribute<'a>(of: &'a Value, name: &str) -> Option<&'a str> {
    let mut all = of["attributes"].as_array()?.iter();
    let found = all.find(|one| one["key"] == name)?;
    let value = &found["value"];
    value["stringValue"].as_str().or(value["intValue"].as_str())
}

async fn exchange_within(service: &Service, traceparent: &str, tool: &str) -> StatusCode {
    let form = Form::new(&service.caller_token(), &call(tool));
    let request = service.http.post(service.gateway_url("/oauth/token"));
    let request = request
        .basic_auth("edge", Some(&service.gateway_secret))
        .header("traceparent", traceparent)
        .header("tracestate", "vendor=1");
    request.form(&form.0).send().await.unwrap().status()
}

fn span_of_filter(server: &str) -> Value {
    let call = json!({
        "request_id": "r1", "time": "2026-11-23T18:00:00Z", "server": server, "method": "tools/call", "target": "echo",
        "subject": "alice", "agent": "assistant", "session": "s1",
    });
    json!({
        "call": call, "context": FILTERS, "parent": "00000000000000aa",
        "link": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "state": "vendor=1",
        "start_us": 1_795_000_000_000_001_u64, "duration_us": 1500, "id": "1", "version": "2026-07-28",
        "status": 200, "error": "tool_error", "code": 403,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_one_trace_from_the_filter_to_the_commit_and_the_guard() {
    let mut collector = Collector::start();
    let config = telemetry(&collector.port);
    let service = Service::start_with(|all| all.telemetry = Some(config)).await;
    assert_eq!(
        exchange_within(&service, FILTERS, "echo").await,
        StatusCode::OK
    );
    assert_eq!(
        exchange_within(&service, FILTERS, "delete").await,
        StatusCode::FORBIDDEN
    );
    let consumed = service
        .http
        .post(service.gateway_url("/gateway/v1/consume"));
    let consumed = consumed
        .basic_auth(GUARD, Some(&service.guard_secret))
        .header("traceparent", FILTERS)
        .json(&json!({"server": "ledger", "token": "none", "source_ip": "192.0.2.9", "request_id": "r9"}));
    assert_eq!(consumed.send().await.unwrap().status(), StatusCode::OK);
    let reported = service.http.post(service.gateway_url("/gateway/v1/events"));
    let reported = reported
        .basic_auth("edge", Some(&service.gateway_secret))
        // Of another gateway's server, nothing is taken.
        .json(&json!({"events": [], "spans": [span_of_filter("ledger"), span_of_filter("other")]}));
    assert_eq!(
        reported.send().await.unwrap().status(),
        StatusCode::NO_CONTENT
    );

    let spans = collector.spans(10);
    for (_, span) in &spans {
        assert_eq!(span["traceId"], TRACE);
    }
    let named = |name: &str| -> Vec<&(Value, Value)> {
        spans
            .iter()
            .filter(|(_, span)| span["name"] == name)
            .collect()
    };
    let exchanges = named("POST /oauth/token");
    let [(resource, minted), (_, denied)] = exchanges.as_slice() else {
        panic!("{spans:?}")
    };
    assert_eq!(attribute(resource, "service.name"), Some("writ"));
    assert_eq!(
        (&minted["parentSpanId"], &minted["kind"]),
        (&json!("00f067aa0ba902b7"), &json!("SPAN_KIND_SERVER"))
    );
    assert_eq!(minted["traceState"], "vendor=1");
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/oauth/token"),
        ("http.response.status_code", "200"),
        ("mcp.method.name", "tools/call"),
        ("gen_ai.operation.name", "execute_tool"),
        ("gen_ai.tool.name", "echo"),
        ("gen_ai.agent.id", "assistant"),
        ("writ.server", "ledger"),
        ("writ.decision", "allow"),
    ] {
        assert_eq!(attribute(minted, name), Some(value), "{name}");
    }
    assert_eq!(attribute(denied, "writ.decision"), Some("deny"));
    assert_eq!(attribute(denied, "http.response.status_code"), Some("403"));
    assert_eq!(
        denied["status"],
        json!({}),
        "a client's error is none of a server's span"
    );
    for part in ["verify", "decide", "commit"] {
        let parts = named(part);
        assert_eq!(parts.len(), 2, "{part}");
        assert_eq!(parts[0].1["parentSpanId"], minted["spanId"], "{part}");
        assert_eq!(parts[1].1["parentSpanId"], denied["spanId"], "{part}");
        let nanos = |name: &str| parts[0].1[name].as_str().unwrap().parse::<u64>().unwrap();
        assert!(nanos("startTimeUnixNano") <= nanos("endTimeUnixNano"));
    }
    let [(_, consumed)] = named("POST /gateway/v1/consume")[..] else {
        panic!("{spans:?}")
    };
    assert_eq!(consumed["parentSpanId"], "00f067aa0ba902b7");
    let [(resource, filters)] = named("tools/call echo")[..] else {
        panic!("{spans:?}")
    };
    assert_eq!(attribute(resource, "service.name"), Some("writ-filter"));
    assert_eq!(attribute(resource, "service.instance.id"), Some("edge"));
    assert_eq!(
        (&filters["spanId"], &filters["parentSpanId"]),
        (&json!("00f067aa0ba902b7"), &json!("00000000000000aa"))
    );
    assert_eq!(
        filters["links"][0]["traceId"],
        "0af7651916cd43dd8448eb211c80319c"
    );
    assert_eq!(filters["startTimeUnixNano"], "1795000000000001000");
    assert_eq!(filters["endTimeUnixNano"], "1795000000001501000");
    assert_eq!(filters["status"]["code"], "STATUS_CODE_ERROR");
    for (name, value) in [
        ("mcp.method.name", "tools/call"),
        ("gen_ai.tool.name", "echo"),
        ("jsonrpc.request.id", "1"),
        ("mcp.protocol.version", "2026-07-28"),
        ("mcp.session.id", "s1"),
        ("http.response.status_code", "200"),
        ("rpc.response.status_code", "403"),
        ("error.type", "tool_error"),
    ] {
        assert_eq!(attribute(filters, name), Some(value), "{name}");
    }
    service.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_record_names_its_trace_whoever_keeps_that() {
    let service = Service::start().await;
    let passed_by = FILTERS.replace("-01", "-00");
    assert_eq!(
        exchange_within(&service, &passed_by, "echo").await,
        StatusCode::OK
    );
    assert_eq!(
        exchange_within(&service, "00-nonsense", "echo").await,
        StatusCode::OK
    );
    let (_, answer) = service.mint(&call("echo")).await;
    let call = json!({"request_id": "r1", "time": "2026-11-23T18:00:00Z", "server": "ledger", "method": "tools/call",
        "target": "delete", "subject": "alice", "agent": "assistant", "trace": TRACE});
    let denied = json!({"type": "denied", "call": call, "cause": "policy", "reason": "no", "policy_revision": "p"});
    let outcome = |trace: &str| {
        json!({"type": "outcome", "token_id": answer["jti"], "request_id": "r2", "time": "2026-11-23T18:00:00Z",
            "result": "ok", "duration_us": 7, "request_bytes": 1, "response_bytes": 1, "trace": trace})
    };
    let events = json!([denied, outcome(TRACE), outcome("no trace's id")]);
    assert_eq!(
        service.report(&events).await.status(),
        StatusCode::NO_CONTENT
    );
    let filter = Filter {
        trace: Some(TRACE.to_owned()),
        ..Filter::default()
    };
    let found = service.store().newest_records(&filter, 100).await.unwrap();
    let kinds: Vec<_> = found
        .iter()
        .map(|entry| entry.record.kind.as_str())
        .collect();
    assert_eq!(kinds, ["mint", "denied", "outcome"]);
    for entry in &found {
        assert_eq!(entry.record.trace_id(), Some(TRACE));
    }
    let event = writ_token_service::ocsf::event(&found[0], "log");
    assert_eq!(event["trace"]["uid"], TRACE);
    let traced = service.records().await;
    let traced = traced.iter().filter(|record| record.trace_id().is_some());
    assert_eq!(traced.count(), 3);
    service.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_holds_up_nothing() {
    let config = telemetry("1");
    let service = Service::start_with(|all: &mut Config| all.telemetry = Some(config)).await;
    assert_eq!(
        exchange_within(&service, FILTERS, "echo").await,
        StatusCode::OK
    );
    let ends = Instant::now();
    service.running.stop().await;
    assert!(
        ends.elapsed() < Duration::from_secs(5),
        "{:?}",
        ends.elapsed()
    );
}
