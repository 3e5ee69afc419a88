//! One trace from the client to the server: Envoy's spans, the filter's, the token service's, and what the server is told.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use writ_tests::binaries::workspace;
use writ_tests::deployment::{Deployment, Options};
use writ_tests::mcp;
use writ_tests::process::Process;
use writ_tests::scratch::Scratch;
use writ_tests::wait::{PATIENCE, until};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENTS: &str = "00f067aa0ba902b7";

/// A collector that reads by the official definitions.
struct Collector {
    process: Process,
    port: u16,
}

impl Collector {
    async fn start(scratch: &Scratch) -> Self {
        let python: PathBuf = workspace().join(".venv/bin/python");
        let mut command = Command::new(python);
        command.arg(workspace().join("tests/clients/python/otlp.py"));
        let mut process = Process::spawn("collector", command, scratch.path()).unwrap();
        let port = process
            .until("the collector's port", PATIENCE, async |process| {
                process.log().lines().next()?.parse().ok()
            })
            .await
            .unwrap();
        Self { process, port }
    }

    fn received(&self, kind: &str) -> Vec<Value> {
        let log = self.process.log();
        // What comes after the last newline is still being written.
        let (whole, _) = log.rsplit_once('\n').unwrap_or_default();
        let said = whole.lines().skip(1);
        said.map(|line| serde_json::from_str::<Value>(line).unwrap())
            .inspect(|said| assert!(said.get("error").is_none(), "{said}"))
            .filter_map(|mut said| said.get_mut(kind).map(Value::take))
            .collect()
    }

    /// All spans so far, each with the name of its service.
    fn spans(&self) -> Vec<(String, Value)> {
        let mut all = Vec::new();
        for resource in self
            .received("traces")
            .iter()
            .flat_map(|said| list(said, "resourceSpans"))
        {
            let service = attribute(&resource["resource"], "service.name").unwrap();
            for scope in list(resource, "scopeSpans") {
                let spans = list(scope, "spans").iter().cloned();
                all.extend(spans.map(|span| (service.clone(), span)));
            }
        }
        all
    }

    /// The span of this service and name whose parent is this one, once it is there.
    async fn span(&self, service: &str, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let what = format!("{service}'s span {name}");
        let found = until(&what, PATIENCE, async || {
            let mut spans = self.spans().into_iter();
            let found =
                spans.find(|(of, span)| of == service && span["name"] == name && wanted(span));
            found.map(|(_, span)| span)
        });
        found
            .await
            .unwrap_or_else(|error| panic!("{error}: {:#?}", self.spans()))
    }
}

fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of[name].as_array().map_or(&[], Vec::as_slice)
}

fn attribute(of: &Value, name: &str) -> Option<String> {
    let found = list(of, "attributes")
        .iter()
        .find(|one| one["key"] == name)?;
    let value = &found["value"];
    let text = value["stringValue"].as_str().or(value["intValue"].as_str());
    text.map(str::to_owned)
}

/// The YAML of the page about telemetry, with this collector.
fn tracing(port: u16) -> Vec<(String, String)> {
    let page = std::fs::read_to_string(workspace().join("docs/telemetry.md")).unwrap();
    let blocks: Vec<_> = page.split("```yaml ").skip(1).collect();
    let block = |info: &str| {
        let block = blocks
            .iter()
            .find_map(|block| block.strip_prefix(info))
            .unwrap();
        let block = block.split("```").next().unwrap().trim_matches('\n');
        block.replace("4318", &port.to_string())
    };
    let indented = |text: &str, by: usize| -> String {
        let lines = text
            .lines()
            .map(|line| format!("{}{line}\n", " ".repeat(by)));
        lines.collect()
    };
    let before = |anchor: &str, info: &str, by| {
        let anchor = format!("{}{anchor}", " ".repeat(by));
        (
            anchor.clone(),
            format!("{}{anchor}", indented(&block(info), by)),
        )
    };
    vec![
        before("http_filters:\n", "tracing", 16),
        before("- name: writ\n", "filter", 18),
        before("- name: writ\n      type:", "cluster", 4),
        (
            "static_resources:".to_owned(),
            "layered_runtime: { layers: [ { name: now, static_layer: { tracing.opentelemetry.min_flush_spans: 1 } } ] }\nstatic_resources:"
                .to_owned(),
        ),
    ]
}

#[tokio::test]
async fn client_envoy_filter_service_and_server_are_one_trace() {
    let collecting = Scratch::new("collector").unwrap();
    let collector = Collector::start(&collecting).await;
    let config = format!(
        "[telemetry]\nurl = \"http://127.0.0.1:{}\"\nsample = 0.0\nmetrics_interval = \"1s\"\n",
        collector.port
    );
    let writ = Deployment::start(Options {
        yaml: tracing(collector.port),
        service_config: Some(config),
        open_ledger: true,
        ..Options::named("traces")
    })
    .await
    .unwrap();
    let token = writ.batch_token().await.unwrap();
    let named = format!("00-{TRACE}-{CLIENTS}-01");

    // An HTTP client that traces its requests.
    let call = writ.post_call(&token, "getAccount", &json!({"account": "ops"}));
    let answer = call.header("traceparent", &named).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let heard = writ.ledger.tap().last_call("getAccount").unwrap();
    let told = heard.headers["traceparent"].to_str().unwrap().to_owned();
    let of_client = |span: &Value| span["parentSpanId"] == CLIENTS;
    let filters = collector
        .span("writ-filter", "tools/call getAccount", of_client)
        .await;
    let filter = filters["spanId"].as_str().unwrap().to_owned();
    assert_eq!(
        told,
        format!("00-{TRACE}-{filter}-01"),
        "the server's parent is the filter's span"
    );
    let envoys = collector.span("envoy", "ingress", of_client).await;
    let of_filter = |span: &Value| span["parentSpanId"] == filter.as_str();
    let exchange = collector.span("writ", "POST /oauth/token", of_filter).await;
    let of_exchange = |span: &Value| span["parentSpanId"] == exchange["spanId"];
    let commit = collector.span("writ", "commit", of_exchange).await;
    for span in [&filters, &envoys, &exchange, &commit] {
        assert_eq!(span["traceId"], TRACE, "{span}");
    }
    let record = writ
        .service
        .cli(&["audit", "list", "--trace", TRACE])
        .unwrap();
    assert_eq!(record[0]["kind"], "mint", "{record:?}");
    assert_eq!(
        attribute(&exchange, "writ.record.id").unwrap(),
        record[0]["id"]
    );

    // An MCP client that says so in the message only: what Envoy began without knowing is linked, and the bytes stay.
    let mut message = mcp::call_message("getAccount", &json!({"account": "ops"}));
    let other = named.replace(TRACE, &TRACE.replace('4', "5"));
    message["params"]["_meta"]["traceparent"] = other.into();
    let told = post(&writ, &token, &message).await;
    let trace = TRACE.replace('4', "5");
    let of_message = |span: &Value| span["traceId"] == trace.as_str();
    let filters = collector
        .span("writ-filter", "tools/call getAccount", of_message)
        .await;
    assert_eq!(
        told,
        format!("00-{trace}-{}-01", filters["spanId"].as_str().unwrap())
    );
    let linked = filters["links"][0]["spanId"].clone();
    collector
        .span("envoy", "ingress", |span| span["spanId"] == linked)
        .await;
    collector
        .span("writ", "POST /oauth/token", of_message)
        .await;

    // Nobody traces but Envoy: the rest is part of what it began.
    let mut message = mcp::call_message("getAccount", &json!({"account": "ops"}));
    message["id"] = 9.into();
    let told = post(&writ, &token, &message).await;
    let id = |span: &Value| attribute(span, "jsonrpc.request.id");
    let nine = |span: &Value| id(span).as_deref() == Some("9");
    let filters = collector
        .span("writ-filter", "tools/call getAccount", nine)
        .await;
    assert!(told.contains(filters["traceId"].as_str().unwrap()));
    let parent = filters["parentSpanId"].clone();
    let envoys = collector
        .span("envoy", "ingress", |span| span["spanId"] == parent)
        .await;
    assert_eq!(envoys["traceId"], filters["traceId"]);

    let durations = until("the calls' durations", PATIENCE, async || {
        let said = collector.received("metrics");
        let metrics = said.iter().flat_map(|said| list(said, "resourceMetrics"));
        let metrics = metrics.flat_map(|one| list(&one["scopeMetrics"][0], "metrics"));
        let mut named = metrics.filter(|metric| metric["name"] == "mcp.server.operation.duration");
        named.find_map(|metric| {
            let points = list(&metric["histogram"], "dataPoints").iter();
            let mut called = points.filter(|point| attribute(point, "gen_ai.tool.name").is_some());
            called.find(|point| point["count"] == "3").cloned()
        })
    });
    let durations = durations.await.unwrap();
    assert_eq!(
        attribute(&durations, "mcp.method.name").unwrap(),
        "tools/call"
    );
    assert_eq!(list(&durations, "explicitBounds").len(), 14);
    let exported = collector.received("metrics").pop().unwrap().to_string();
    assert!(exported.contains("writ_exchanges_total"), "{exported}");
}

/// Sends a message; the `traceparent` that the server got with the same bytes.
async fn post(writ: &Deployment, token: &str, message: &Value) -> String {
    let before = writ.ledger.tap().count();
    let call = writ.post_call(token, "getAccount", &json!({}));
    let answer = call.body(message.to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let heard = writ.ledger.tap().heard().split_off(before).remove(0);
    assert_eq!(heard.json(), *message);
    heard.headers["traceparent"].to_str().unwrap().to_owned()
}
