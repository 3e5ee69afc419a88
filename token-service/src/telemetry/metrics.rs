//! What `/metrics` says, pushed to the collector: the same numbers under the same names, but for those that the conventions
//! have a name for.
//!
//! Read from the text itself, so that both can only say the same, and nothing is counted twice while calls are served.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use tokio::{sync::watch, time::MissedTickBehavior};

use super::{now, operations};
use crate::{
    config::telemetry::Telemetry,
    otlp::{self, nanos},
    serve::told_to_stop,
    sinks::{Failure, answer, http::Http},
};

/// What is counted from the start on (OpenTelemetry, "AggregationTemporality").
const CUMULATIVE: u8 = 2;

/// Sends metrics.
pub(crate) struct Exporter {
    http: Http,
    config: Telemetry,
    handle: PrometheusHandle,
    since: Timestamp,
}

impl Exporter {
    pub(crate) fn new(http: Http, config: Telemetry, handle: PrometheusHandle) -> Self {
        Self {
            http,
            config,
            handle,
            since: now(),
        }
    }

    /// Sends them now and then until it is told to stop, and then once more.
    pub(crate) async fn run(self, mut stopped: watch::Receiver<bool>) {
        let period: Duration = self.config.metrics_interval;
        let mut due = tokio::time::interval(period);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_failing = false;
        loop {
            let stops = tokio::select! {
                _ = due.tick() => false,
                () = told_to_stop(&mut stopped) => true,
            };
            let sent = self.send().await;
            match &sent {
                Err(Failure::Rejected { problem } | Failure::Later { problem, .. }) => {
                    // What is sent next says all of it.
                    metrics::counter!("writ_metrics_pushes_failed_total").increment(1);
                    if !is_failing {
                        tracing::warn!(
                            "metrics cannot be sent: the collector of `telemetry.url` {problem}"
                        );
                    }
                }
                Ok(()) if is_failing => tracing::info!("metrics are sent again"),
                Ok(()) => {}
            }
            is_failing = sent.is_err();
            if stops {
                return;
            }
        }
    }

    async fn send(&self) -> Result<(), Failure> {
        let times = (nanos(self.since), nanos(now()));
        let all = encode(&self.handle.render(), &times);
        let body = json!({
            "resourceMetrics": [{
                "resource": otlp::resource(&self.config.service_name, None),
                "scopeMetrics": [{ "scope": otlp::scope("writ.service"), "metrics": all }],
            }],
        });
        let url = self.config.metrics_url();
        answer::post(&self.http, &url, &body.to_string()).await?;
        Ok(())
    }
}

/// The labels of a line, in their order.
type Labels = Vec<(String, String)>;

/// What lines say of one metric.
#[derive(Default)]
struct Series<'a> {
    kind: &'a str,
    numbers: Vec<(Labels, f64)>,
    histograms: BTreeMap<Labels, Histogram>,
}

/// What lines say of one series of a histogram.
#[derive(Default)]
struct Histogram {
    /// Upper bounds, and how many were not above.
    buckets: Vec<(f64, u64)>,
    sum: f64,
    count: u64,
}

/// The metrics of the text format (Prometheus 0.0.4), as OTLP has them.
fn encode(text: &str, times: &(String, String)) -> Vec<Value> {
    let mut all: BTreeMap<&str, Series<'_>> = BTreeMap::new();
    let (mut family, mut kind) = ("", "");
    for line in text.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            (family, kind) = declared.split_once(' ').unwrap_or_default();
            all.entry(family).or_default().kind = kind;
        } else if let Some((name, labels, value)) = sample(line)
            && let Some(series) = all.get_mut(family)
        {
            match kind {
                "counter" | "gauge" => series.numbers.push((labels, value)),
                "histogram" => series.add(name.strip_prefix(family), labels, value),
                _ => {}
            }
        }
    }
    let all = all.into_iter();
    all.filter_map(|(name, series)| series.encode(name, times))
        .collect()
}

impl Series<'_> {
    fn add(&mut self, part: Option<&str>, mut labels: Labels, value: f64) {
        let bound = labels.iter().position(|(name, _)| name == "le");
        let bound = bound.map(|at| labels.remove(at).1);
        let histogram = self.histograms.entry(labels).or_default();
        match (part, bound) {
            (Some("_sum"), None) => histogram.sum = value,
            (Some("_count"), None) => histogram.count = whole(value),
            (Some("_bucket"), Some(bound)) => {
                if let Ok(bound) = bound.parse::<f64>() {
                    histogram.buckets.push((bound, whole(value)));
                }
            }
            _ => {}
        }
    }

    fn encode(self, name: &str, (since, now): &(String, String)) -> Option<Value> {
        let (name, unit) = match name {
            operations::NAME => ("mcp.server.operation.duration", "s"),
            name if name.ends_with("_seconds") => (name, "s"),
            name => (name, ""),
        };
        let point = |labels: &Labels, more: Value| {
            let mut point = json!({
                "attributes": attributes(labels),
                "startTimeUnixNano": since,
                "timeUnixNano": now,
            });
            if let (Some(point), Value::Object(more)) = (point.as_object_mut(), more) {
                point.extend(more);
            }
            point
        };
        let numbers = || -> Vec<_> {
            let numbers = self.numbers.iter();
            numbers
                .map(|(labels, value)| point(labels, json!({ "asDouble": value })))
                .collect()
        };
        let (field, data) = match self.kind {
            "counter" => (
                "sum",
                json!({
                    "aggregationTemporality": CUMULATIVE,
                    "isMonotonic": true,
                    "dataPoints": numbers(),
                }),
            ),
            "gauge" => ("gauge", json!({ "dataPoints": numbers() })),
            "histogram" => {
                let histograms = self.histograms.iter();
                let points: Vec<_> = histograms
                    .map(|(labels, histogram)| point(labels, histogram.encode()))
                    .collect();
                let data = json!({ "aggregationTemporality": CUMULATIVE, "dataPoints": points });
                ("histogram", data)
            }
            _ => return None,
        };
        Some(json!({ "name": name, "unit": unit, field: data }))
    }
}

impl Histogram {
    /// There each bucket counts itself only.
    fn encode(&self) -> Value {
        let (mut bounds, mut counts, mut below) = (Vec::new(), Vec::new(), 0);
        for (bound, count) in &self.buckets {
            if bound.is_finite() {
                bounds.push(*bound);
            }
            counts.push(count.saturating_sub(below).to_string());
            below = *count;
        }
        json!({
            "count": self.count.to_string(),
            "sum": self.sum,
            "bucketCounts": counts,
            "explicitBounds": bounds,
        })
    }
}

fn attributes(labels: &Labels) -> Vec<Value> {
    let named = |label: &str| {
        let known = operations::LABELS.iter().find(|(_, known)| *known == label);
        known.map_or_else(|| label.to_owned(), |(name, _)| (*name).to_owned())
    };
    let labels: Vec<_> = labels
        .iter()
        .map(|(label, value)| (named(label), value))
        .collect();
    otlp::attributes(
        labels
            .iter()
            .map(|(name, value)| (name.as_str(), Some(value.as_str()))),
    )
}

/// The name, labels and value of a line.
fn sample(line: &str) -> Option<(&str, Labels, f64)> {
    if line.starts_with('#') {
        return None;
    }
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at_checked(end)?;
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while let Some((label, text)) = rest.split_once("=\"") {
            let (value, after) = quoted(text)?;
            labels.push((label.to_owned(), value));
            match after.strip_prefix(',') {
                Some(more) => rest = more,
                None => {
                    rest = after.strip_prefix('}')?;
                    break;
                }
            }
        }
    }
    Some((name, labels, rest.trim().parse().ok()?))
}

/// A label's value, and what comes after its closing quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    loop {
        let (at, next) = chars.next()?;
        match next {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
}

/// A count, which the text has as any number.
fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

    use super::*;

    #[test]
    fn what_the_text_says_is_said_to_the_collector() {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &[0.5, 1.0])
            .unwrap();
        let recorder = builder.build_recorder();
        let awkward = "a \"b\", {c}=\\ \n d";
        metrics::with_local_recorder(&recorder, || {
            metrics::counter!("calls_total", "tool" => awkward, "of" => "x").increment(3);
            metrics::counter!("calls_total").increment(1);
            metrics::gauge!("depth").set(-1.5);
            for value in [0.25, 0.25, 0.75, 7.0] {
                metrics::histogram!(operations::NAME, "gen_ai_tool_name" => "echo").record(value);
            }
            metrics::histogram!("wait_seconds").record(0.75);
        });
        let all = encode(
            &recorder.handle().render(),
            &("1".to_owned(), "2".to_owned()),
        );
        let text =
            |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
        let find = |name: &str| all.iter().find(|one| one["name"] == name).unwrap();
        let calls = find("calls_total");
        assert_eq!(calls["sum"]["isMonotonic"], true);
        let points = calls["sum"]["dataPoints"].as_array().unwrap();
        assert_eq!(points.len(), 2);
        let labelled = points
            .iter()
            .find(|point| point["asDouble"] == 3.0)
            .unwrap();
        assert_eq!(
            labelled["attributes"],
            json!([text("tool", awkward), text("of", "x")])
        );
        assert_eq!(
            (&labelled["startTimeUnixNano"], &labelled["timeUnixNano"]),
            (&json!("1"), &json!("2"))
        );
        assert_eq!(find("depth")["gauge"]["dataPoints"][0]["asDouble"], -1.5);
        let durations = find("mcp.server.operation.duration");
        assert_eq!(durations["unit"], "s");
        let point = &durations["histogram"]["dataPoints"][0];
        assert_eq!(
            point["attributes"],
            json!([text("gen_ai.tool.name", "echo")])
        );
        assert_eq!(point["explicitBounds"], json!([0.5, 1.0]));
        assert_eq!(point["bucketCounts"], json!(["2", "1", "1"]));
        assert_eq!(
            (&point["count"], &point["sum"]),
            (&json!("4"), &json!(8.25))
        );
        assert_eq!(
            find("wait_seconds")["histogram"]["dataPoints"][0]["count"],
            "1"
        );
        assert_eq!(all.len(), 4);
    }
}
