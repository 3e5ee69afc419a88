//! Which trace a request belongs to (W3C Trace Context): read from its headers and from its message, and told to the token
//! service and to the server.
//!
//! All of it is what a caller says. It joins what belongs together for people who look, and decides nothing.

mod context;

use writ_policy::event::{Call, Span};

pub use context::{Context, is_state};
use context::{checked, child, is_sampled, span_id, trace_id};

use crate::headers::Headers;
use crate::host::Host;
use crate::message::Message;

/// The header and the member of `_meta` that name a span.
pub(crate) const PARENT: &str = "traceparent";
/// The same for what tracing systems add to it.
pub(crate) const STATE: &str = "tracestate";

/// What headers say of a trace.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    parent: Option<String>,
    /// Two are none (section 3.2.2).
    repeated: bool,
    state: Option<String>,
}

impl Carried {
    /// A `traceparent` header.
    pub(crate) fn add_parent(&mut self, value: String) {
        self.repeated |= self.parent.replace(value).is_some();
    }

    /// A `tracestate` header; several are one (section 3.3.1).
    pub(crate) fn add_state(&mut self, value: String) {
        match &mut self.state {
            Some(before) => {
                before.push(',');
                before.push_str(&value);
            }
            None => self.state = Some(value),
        }
    }

    fn context(&self) -> Option<String> {
        checked(self.parent.as_deref().filter(|_| !self.repeated)?)
    }
}

/// The trace of one request.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// The span that this request's is, or would be, a child of.
    parent: Option<String>,
    /// The span of another trace that the request came in.
    link: Option<String>,
    state: Option<String>,
    /// As those who come after are told: this request's own span where it has one, else the parent.
    told: Option<String>,
    /// Whether the request has a span of its own, which is to be reported.
    is_own: bool,
}

impl Trace {
    /// Of a request with these headers and this message. The message knows who called; the headers know who brought it. So
    /// where both are of one trace, the headers' span is the nearer one; where they are not, the message's is the parent,
    /// and the headers' is linked to it (OpenTelemetry, conventions for MCP, "Context propagation").
    pub(crate) fn of(headers: &Headers, message: &Message) -> Self {
        let carried = &headers.trace;
        let brought = carried.context();
        let called = message.meta_text(PARENT).and_then(checked);
        let (parent, link, state) = match (called, brought) {
            (Some(called), Some(brought)) if trace_id(&called) == trace_id(&brought) => {
                (Some(brought), None, carried.state.as_deref())
            }
            (Some(called), link) => (Some(called), link, message.meta_text(STATE)),
            (None, brought) => (brought, None, carried.state.as_deref()),
        };
        let state = state.filter(|state| parent.is_some() && is_state(state));
        Self {
            state: state.map(str::to_owned),
            told: parent.clone(),
            is_own: false,
            parent,
            link,
        }
    }

    /// Whether whoever began it keeps it.
    pub(crate) fn is_sampled(&self) -> bool {
        self.parent.as_deref().is_some_and(is_sampled)
    }

    /// Makes the request a span of its own, with this id.
    pub(crate) fn begin(&mut self, id: [u8; 8]) {
        let own = self.parent.as_deref().and_then(|parent| child(parent, id));
        if id != [0; 8] && own.is_some() {
            (self.told, self.is_own) = (own, true);
        }
    }

    /// These headers, and those that tell the next one.
    pub(crate) fn told_with<'a>(
        &'a self,
        headers: &[(&'a str, &'a str)],
    ) -> Vec<(&'a str, &'a str)> {
        let mut headers = headers.to_vec();
        for (name, value) in [(PARENT, &self.told), (STATE, &self.state)] {
            if let Some(value) = value {
                headers.push((name, value));
            }
        }
        headers
    }

    /// Puts it on the request that goes on, where that does not say so already.
    pub(crate) fn forward(&self, carried: &Carried, host: &dyn Host) {
        let all = [
            (PARENT, &self.told, &carried.parent),
            (STATE, &self.state, &carried.state),
        ];
        for (name, value, before) in all {
            match value {
                Some(value) if Some(value) == before.as_ref() && !carried.repeated => {}
                Some(value) => host.set_request_header(name, value),
                None if before.is_some() => host.remove_request_header(name),
                None => {}
            }
        }
    }

    /// The trace's id.
    pub(crate) fn id(&self) -> Option<String> {
        self.parent.as_deref().map(trace_id).map(str::to_owned)
    }

    /// The span of a call, where it is to be reported.
    pub(crate) fn span(&self, call: impl FnOnce() -> Call) -> Option<Box<Span>> {
        let parent = self.parent.as_deref().filter(|_| self.is_own)?;
        Some(Box::new(Span {
            call: call(),
            context: self.told.clone()?,
            parent: span_id(parent).to_owned(),
            link: self.link.clone(),
            state: self.state.clone(),
            id: None,
            version: None,
            start_us: 0,
            duration_us: 0,
            status: None,
            error: None,
            code: None,
        }))
    }
}
