//! Telemetry: traces and metrics, sent to a collector of OpenTelemetry (OTLP over HTTP).
//!
//! What a request causes here is a [`span`] of the trace that the request names, with children for what takes time. A
//! filter's spans come with its reports ([`filter`]). Spans wait in a bounded queue that [`traces`] empties: nobody waits for
//! a collector, and what is too much is dropped and counted. [`metrics`] sends what `/metrics` says.

pub(crate) mod filter;
pub(crate) mod metrics;
mod operations;
mod span;
pub(crate) mod traces;

use std::sync::{Mutex, PoisonError};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, Method},
    middleware::Next,
    response::Response,
};
use jiff::Timestamp;
use tokio::sync::mpsc;
use writ_core::trace::{Context, is_state};

pub(crate) use operations::{NAME as OPERATIONS, Operations, SECONDS as OPERATION_SECONDS};
pub(crate) use span::{Active, Child, Kind, Source, Span};

use crate::{app::SharedApp, config::telemetry};

/// How many spans may wait to be sent.
const QUEUE: usize = 8192;

tokio::task_local! {
    static CURRENT: Current;
}

/// The trace of the request that is served.
struct Current {
    /// Its id.
    trace: Option<String>,
    /// The request's own span, where it is kept.
    span: Option<Active>,
}

/// Where spans go.
#[derive(Debug)]
pub struct Telemetry {
    spans: Option<Spans>,
    /// The operations that gateways tell of.
    pub(crate) operations: Operations,
}

#[derive(Debug)]
struct Spans {
    queue: mpsc::Sender<Span>,
    waiting: Mutex<Option<mpsc::Receiver<Span>>>,
    sample: f64,
}

impl Telemetry {
    /// As configured; without a collector, nothing is kept.
    #[must_use]
    pub fn new(config: Option<&telemetry::Telemetry>) -> Self {
        let spans = config.map(|config| {
            let (queue, waiting) = mpsc::channel(QUEUE);
            Spans {
                queue,
                waiting: Mutex::new(Some(waiting)),
                sample: config.sample,
            }
        });
        Self {
            spans,
            operations: Operations::default(),
        }
    }

    /// Whether spans are taken.
    #[must_use]
    pub fn takes_spans(&self) -> bool {
        self.spans.is_some()
    }

    /// The queue's other end, once.
    pub(crate) fn waiting(&self) -> Option<mpsc::Receiver<Span>> {
        let waiting = &self.spans.as_ref()?.waiting;
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.take()
    }

    /// Sends a span, unless there are too many.
    pub(crate) fn add(&self, span: Span) {
        if let Some(spans) = &self.spans {
            span::queue(&spans.queue, span);
        }
    }

    /// The trace of a request, begun here where it names none: its id, and the request's own span, where it is kept.
    fn join(&self, headers: &HeaderMap, name: impl FnOnce() -> String) -> Current {
        let text = |name| {
            let mut all = headers.get_all(name).iter();
            let one = all.next().filter(|_| all.next().is_none())?;
            one.to_str().ok()
        };
        let remote = text("traceparent").and_then(Context::parse);
        let (context, parent) = match (remote, &self.spans) {
            (Some(remote), _) => (remote, Some(remote)),
            (None, Some(spans)) => (begun(spans.sample), None),
            (None, None) => {
                return Current {
                    trace: None,
                    span: None,
                };
            }
        };
        let state = text("tracestate").filter(|state| remote.is_some() && is_state(state));
        let span = match &self.spans {
            Some(spans) if context.is_sampled() => {
                let mut span = Span::new(context.child(span::new_id()), name(), Kind::Server);
                span.parent = parent.map(|parent| parent.span);
                span.state = state.map(str::to_owned);
                Some(Active::new(span, spans.queue.clone()))
            }
            _ => None,
        };
        Current {
            // One that nobody keeps, nobody can look up.
            trace: (remote.is_some() || span.is_some()).then(|| context.trace_id()),
            span,
        }
    }
}

/// A new trace, which is kept by chance.
fn begun(sample: f64) -> Context {
    Context {
        trace: rand::random_range(1..=u128::MAX),
        span: span::new_id(),
        // Its id is random (W3C Trace Context Level 2, section 3.2.2.5.2).
        flags: 0b10 | u8::from(rand::random_bool(sample)),
    }
}

/// Serves a request as a span of its trace.
pub(crate) async fn traced(
    State(app): State<SharedApp>,
    path: MatchedPath,
    request: Request,
    next: Next,
) -> Response {
    let method: Method = request.method().clone();
    let name = || format!("{method} {}", path.as_str());
    let current = app.telemetry.join(request.headers(), name);
    let span = current.span.clone();
    if let Some(span) = &span {
        span.note("http.request.method", method.as_str());
        span.note("http.route", path.as_str());
    }
    let response = CURRENT.scope(current, next.run(request)).await;
    if let Some(span) = span {
        let status = response.status();
        span.note("http.response.status_code", status.as_u16());
        // What a client did wrong is no error of a server's span (OpenTelemetry, conventions for HTTP spans).
        if status.is_server_error() {
            span.fail(status.as_str());
        }
        span.end();
    }
    response
}

/// The id of the trace that the request which is served here belongs to.
pub(crate) fn trace_id() -> Option<String> {
    CURRENT.try_with(|current| current.trace.clone()).ok()?
}

/// A part of the request which is served here, from now until it is dropped.
pub(crate) fn child(name: &'static str) -> Child {
    let child = |current: &Current| current.span.as_ref().map(|span| span.child(name));
    Child::new(CURRENT.try_with(child).ok().flatten())
}

/// Says more about the request which is served here.
pub(crate) fn note<'a>(all: impl IntoIterator<Item = (&'static str, Option<&'a str>)>) {
    let note = |current: &Current| {
        if let Some(span) = &current.span {
            for (name, value) in all {
                if let Some(value) = value {
                    span.note(name, value);
                }
            }
        }
    };
    // What is served elsewhere is no part of a trace.
    let _ = CURRENT.try_with(note);
}

/// Now, by the machine's clock: others in the trace know no other.
fn now() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
mod tests;
