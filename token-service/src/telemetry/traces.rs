//! From the queue of spans to the collector, in batches.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::{Source, Span};
use crate::{
    config::telemetry::Telemetry,
    otlp,
    serve::told_to_stop,
    sinks::{Failure, answer, backoff::Backoff, http::Http},
};

/// How many spans are sent at a time, at most.
const BATCH: usize = 512;
/// How long a span waits for others to be sent with.
const LINGER: Duration = Duration::from_millis(500);
/// How often a batch is tried: spans are worth little when they are old, and others wait.
const TRIES: u32 = 4;

/// Sends spans.
#[derive(Debug)]
pub(crate) struct Exporter {
    http: Http,
    config: Telemetry,
    queue: mpsc::Receiver<Span>,
}

impl Exporter {
    pub(crate) fn new(http: Http, config: Telemetry, queue: mpsc::Receiver<Span>) -> Self {
        Self {
            http,
            config,
            queue,
        }
    }

    /// Sends what comes until it is told to stop, and then what is left.
    pub(crate) async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                _ = self.queue.recv_many(&mut batch, BATCH) => {}
                () = told_to_stop(&mut stopped) => break,
            }
            if batch.len() < BATCH {
                tokio::select! {
                    () = tokio::time::sleep(LINGER) => {}
                    () = told_to_stop(&mut stopped) => break,
                }
            }
            self.fill(&mut batch);
            self.send(&mut batch, &mut stopped).await;
        }
        loop {
            self.fill(&mut batch);
            if batch.is_empty() {
                return;
            }
            self.send(&mut batch, &mut stopped).await;
        }
    }

    fn fill(&mut self, batch: &mut Vec<Span>) {
        while batch.len() < BATCH
            && let Ok(span) = self.queue.try_recv()
        {
            batch.push(span);
        }
    }

    /// Sends a batch, or gives it up; at the end there is one try.
    async fn send(&self, batch: &mut Vec<Span>, stopped: &mut watch::Receiver<bool>) {
        let spans = std::mem::take(batch);
        let count = spans.len() as u64;
        let body = request(&self.config.service_name, &spans).to_string();
        let mut backoff = Backoff::default();
        for tried in 1..=TRIES {
            let (problem, pause, why) = match self.post(&body).await {
                Ok(lost) => {
                    metrics::counter!("writ_spans_sent_total").increment(count - lost.min(count));
                    return;
                }
                Err(Failure::Rejected { problem }) => (problem, None, "refused"),
                Err(Failure::Later { problem, after }) => {
                    (problem, Some(backoff.next(after)), "unreachable")
                }
            };
            let pause = pause.filter(|_| tried < TRIES && !*stopped.borrow());
            let Some(pause) = pause else {
                tracing::warn!(
                    spans = count,
                    "spans are given up: the collector of `telemetry.url` {problem}"
                );
                metrics::counter!("writ_spans_dropped_total", "why" => why).increment(count);
                return;
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = told_to_stop(stopped) => {}
            }
        }
    }

    /// How many the collector dropped of what it took.
    async fn post(&self, body: &str) -> Result<u64, Failure> {
        let answer = answer::post(&self.http, &self.config.traces_url(), body).await?;
        Ok(match otlp::dropped(&answer.body) {
            Some((count, problem)) => {
                tracing::warn!(
                    spans = count,
                    "the collector of `telemetry.url` has dropped spans: {problem}"
                );
                metrics::counter!("writ_spans_dropped_total", "why" => "refused").increment(count);
                count
            }
            None => 0,
        })
    }
}

/// An `ExportTraceServiceRequest`. The filters are services of their own.
fn request(service: &str, spans: &[Span]) -> Value {
    let mut by_source: BTreeMap<&Source, Vec<Value>> = BTreeMap::new();
    for span in spans {
        by_source
            .entry(&span.source)
            .or_default()
            .push(span.encode());
    }
    let filter = format!("{service}-filter");
    let all = by_source.into_iter().map(|(source, spans)| {
        let (resource, scope) = match source {
            Source::Service => (otlp::resource(service, None), "writ.service"),
            Source::Filter(id) => (otlp::resource(&filter, Some(id)), "writ.filter"),
        };
        json!({
            "resource": resource,
            "scopeSpans": [{ "scope": otlp::scope(scope), "spans": spans }],
        })
    });
    json!({ "resourceSpans": all.collect::<Vec<_>>() })
}
