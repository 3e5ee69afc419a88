//! Spans: begun, added to, and put in the queue when they end.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use writ_core::trace::Context;

use super::now;
use crate::otlp::{any, nanos};

/// What a span is seen as from outside (OpenTelemetry, "SpanKind").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Internal = 1,
    Server = 2,
}

/// Whose span it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// This service's.
    Service,
    /// That of the filter of this gateway.
    Filter(String),
}

/// A span that is over.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) source: Source,
    pub(crate) context: Context,
    /// The id of the span that it is a child of.
    pub(crate) parent: Option<u64>,
    pub(crate) link: Option<Context>,
    /// `tracestate`.
    pub(crate) state: Option<String>,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    pub(crate) attributes: Vec<(&'static str, Value)>,
    pub(crate) failed: bool,
}

impl Span {
    /// One of this service's that begins now.
    pub(crate) fn new(context: Context, name: String, kind: Kind) -> Self {
        let start = now();
        Self {
            source: Source::Service,
            context,
            parent: None,
            link: None,
            state: None,
            name,
            kind,
            start,
            end: start,
            attributes: Vec::new(),
            failed: false,
        }
    }

    /// Says how it went wrong.
    pub(crate) fn fail(&mut self, how: &str) {
        self.attributes.push(("error.type", how.into()));
        self.failed = true;
    }

    /// A span of OTLP.
    pub(crate) fn encode(&self) -> Value {
        let attributes: Vec<_> = self
            .attributes
            .iter()
            .map(|(key, value)| json!({ "key": key, "value": any(value) }))
            .collect();
        let mut span = json!({
            "traceId": self.context.trace_id(),
            "spanId": self.context.span_id(),
            "flags": self.context.flags,
            "name": self.name,
            "kind": self.kind as u8,
            "startTimeUnixNano": nanos(self.start),
            "endTimeUnixNano": nanos(self.end),
            "attributes": attributes,
            "status": if self.failed { json!({ "code": 2 }) } else { json!({}) },
        });
        let links = self.link.map(|link| {
            json!([{ "traceId": link.trace_id(), "spanId": link.span_id(), "flags": link.flags }])
        });
        let more = [
            (
                "parentSpanId",
                self.parent.map(|id| json!(format!("{id:016x}"))),
            ),
            ("traceState", self.state.as_ref().map(|state| json!(state))),
            ("links", links),
        ];
        if let Some(span) = span.as_object_mut() {
            let more = more.into_iter();
            span.extend(more.filter_map(|(name, value)| Some((name.to_owned(), value?))));
        }
        span
    }
}

/// A span that goes on. Ends when the last of its clones is dropped, if nobody ends it before.
#[derive(Clone, Debug)]
pub(crate) struct Active(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    context: Context,
    began: Instant,
    /// None when it is over.
    span: Mutex<Option<Span>>,
    queue: mpsc::Sender<Span>,
}

impl Active {
    pub(crate) fn new(span: Span, queue: mpsc::Sender<Span>) -> Self {
        Self(Arc::new(Shared {
            context: span.context,
            began: Instant::now(),
            span: Mutex::new(Some(span)),
            queue,
        }))
    }

    fn change(&self, change: impl FnOnce(&mut Span)) {
        let mut span = self.0.span.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(span) = span.as_mut() {
            change(span);
        }
    }

    /// Says more about it.
    pub(crate) fn note(&self, name: &'static str, value: impl Into<Value>) {
        self.change(|span| span.attributes.push((name, value.into())));
    }

    /// Says how it went wrong.
    pub(crate) fn fail(&self, how: &str) {
        self.change(|span| span.fail(how));
    }

    /// A part of it, which begins now.
    pub(crate) fn child(&self, name: &'static str) -> Self {
        let context = self.0.context.child(new_id());
        let mut span = Span::new(context, name.to_owned(), Kind::Internal);
        span.parent = Some(self.0.context.span);
        Self::new(span, self.0.queue.clone())
    }

    /// It is over.
    pub(crate) fn end(&self) {
        self.0.end();
    }
}

impl Shared {
    fn end(&self) {
        let span = self
            .span
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(mut span) = span {
            let took = SignedDuration::try_from(self.began.elapsed()).unwrap_or_default();
            span.end = span.start.saturating_add(took).unwrap_or(span.start);
            queue(&self.queue, span);
        }
    }
}

impl Drop for Shared {
    /// The request was given up: nobody waits for its end.
    fn drop(&mut self) {
        self.end();
    }
}

/// A part of a request: over when it is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Child(Option<Active>);

impl Child {
    pub(crate) fn new(span: Option<Active>) -> Self {
        Self(span)
    }

    /// It is over.
    pub(crate) fn end(self) {}
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(span) = &self.0 {
            span.end();
        }
    }
}

/// Puts a span where it is sent from; where there are too many it is dropped.
pub(super) fn queue(queue: &mpsc::Sender<Span>, span: Span) {
    if queue.try_send(span).is_err() {
        metrics::counter!("writ_spans_dropped_total", "why" => "full").increment(1);
    }
}

/// The id of a span.
pub(super) fn new_id() -> u64 {
    rand::random_range(1..=u64::MAX)
}
