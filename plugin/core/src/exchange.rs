//! One request's way through the filter, and its response's way back.
//!
//! Headers (route, identity) → body (message) → decision → mint → swap → upstream → outcome. Every step that is not
//! understood, allowed and recorded ends in an answer of the filter's own; nothing goes on by default.

mod answer;
mod forwarded;
mod minting;
mod session;
mod verdict;
mod way_back;

use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use writ_policy::event::{Call, Event, Span};

use self::forwarded::Forwarded;
use self::minting::Minting;
use self::session::Session;
use crate::admit::{http_method, no_snapshot, route, source_ip};
use crate::agree;
use crate::config::Mode;
use crate::egress::Leaving;
use crate::gateway::Gateway;
use crate::guard::Visit;
use crate::headers::Headers;
use crate::host::{CallId, Host, Reply, answer_status};
use crate::identity::{self, Caller};
use crate::message::{self, Form, Id, Message};
use crate::refuse::{Challenge, Refusal, Scheme};
use crate::reports::Reports;
use crate::rules::{ServerRule, WELL_KNOWN};
use crate::trace::Trace;

/// What the proxy is to do with the request or response at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Let it pass.
    Continue,
    /// Hold it: an answer has been given, or something is awaited.
    Pause,
}

/// One request.
#[derive(Debug)]
pub struct Exchange {
    context: u32,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// Nothing has come yet.
    Start,
    /// Headers are good; the body is awaited.
    Body(Box<Asked>),
    /// The record of a denial is awaited; then this is the answer.
    Recording(CallId, Box<Recording>),
    /// A token is awaited.
    Minting(CallId, Box<Minting>),
    /// Upstream.
    Forwarded(Box<Forwarded>),
    /// At the door of a server that this filter guards.
    Visit(Box<Visit>),
    /// On its way out of where agents are.
    Leaving(Leaving),
    /// Answered, or not ours to watch any longer.
    Over,
}

/// A request whose headers are good.
#[derive(Debug)]
struct Asked {
    headers: Headers,
    server: Rc<ServerRule>,
    caller: Caller,
    /// The session at the server that the request names.
    session: Option<Session>,
    source_ip: String,
    now: Duration,
    /// The same as text (RFC 3339).
    time: String,
    /// The trace that it belongs to, once its message is known.
    trace: Trace,
}

/// What a request asks.
#[derive(Debug)]
struct Question<'a> {
    message: Message,
    body: &'a [u8],
}

/// A denial on its way into the audit trail.
#[derive(Debug)]
struct Recording {
    event: Event,
    /// What is answered then.
    told: Told,
    /// What is answered where it does not get there.
    instead: Told,
}

/// An answer, and its part of the trace where that is told of.
#[derive(Debug)]
struct Told {
    reply: Reply,
    span: Option<Box<Span>>,
}

impl Exchange {
    /// A request that the proxy knows as `context`.
    #[must_use]
    pub fn new(context: u32) -> Self {
        Self {
            context,
            phase: Phase::Start,
        }
    }

    /// The headers have come, and with `end_of_stream` the whole request.
    pub fn on_request_headers(
        &mut self,
        gateway: &mut Gateway,
        host: &dyn Host,
        end_of_stream: bool,
    ) -> Flow {
        if matches!(gateway.config.mode, Mode::Guard(_)) {
            let mut visit = Box::new(Visit::new(self.context));
            let flow = visit.on_headers(gateway, host, end_of_stream);
            self.phase = Phase::Visit(visit);
            return flow;
        }
        if matches!(gateway.config.mode, Mode::Egress(_)) {
            let (leaving, flow) = Leaving::begin(self.context, gateway, host, end_of_stream);
            self.phase = Phase::Leaving(leaving);
            return flow;
        }
        let now = host.now();
        gateway.clock = now;
        gateway.expire();
        let headers = match Headers::read(host.request_headers(), &gateway.config.policy_headers) {
            Ok(headers) => headers,
            Err(error) => {
                return self.refuse(gateway, host, &error.into(), &Refused::default());
            }
        };
        let request_id = headers.request_id.clone();
        let refused = Refused {
            request_id: &request_id,
            ..Refused::default()
        };
        if headers.path_only().starts_with(WELL_KNOWN) {
            return self.describe(gateway, host, &headers);
        }
        let server = match route(gateway, host, &headers) {
            Ok(server) => server,
            Err(refusal) => return self.refuse(gateway, host, &refusal, &refused),
        };
        let source_ip = source_ip(host);
        let scheme = headers.authorization.as_deref().and_then(Scheme::of);
        let refused = Refused {
            server: Some(&server),
            source_ip: &source_ip,
            scheme: scheme.unwrap_or_default(),
            ..refused
        };
        let bodiless = match http_method(&headers, gateway.config.max_body, end_of_stream) {
            Ok(bodiless) => bodiless,
            Err(refusal) => return self.refuse(gateway, host, &refusal, &refused),
        };
        if gateway.open.is_full() {
            let refusal =
                Refusal::Unavailable("too many requests are under way here; try again".to_owned());
            return self.refuse(gateway, host, &refusal, &refused);
        }
        let Some(rules) = &gateway.rules else {
            return self.refuse(gateway, host, &no_snapshot(), &refused);
        };
        let caller = match identity::check(
            &headers,
            &server,
            rules,
            (&mut gateway.verifier, &mut gateway.proofs),
            now.as_secs(),
        ) {
            Ok(caller) => caller,
            Err(refusal) => return self.refuse(gateway, host, &refusal, &refused),
        };
        if let Err(refusal) = gateway.open.admit(self.context, &caller.accepted.claims) {
            return self.refuse(gateway, host, &refusal, &refused);
        }
        let mut asked = Asked {
            headers,
            server: Rc::clone(&server),
            caller,
            session: None,
            source_ip: source_ip.clone(),
            now,
            time: rfc3339(now),
            trace: Trace::default(),
        };
        match bodiless {
            Some(method) => {
                let message = Message::bodiless(method);
                asked.join_trace(gateway, host, &message);
                let question = Question { message, body: b"" };
                self.decide(gateway, host, asked, question)
            }
            None => {
                gateway.held.begin(self.context, host);
                self.phase = Phase::Body(Box::new(asked));
                Flow::Pause
            }
        }
    }

    /// `size` bytes of the body are buffered, and with `end_of_stream` all of it.
    pub fn on_request_body(
        &mut self,
        gateway: &mut Gateway,
        host: &dyn Host,
        size: usize,
        end_of_stream: bool,
    ) -> Flow {
        let mut asked = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Body(asked) => *asked,
            // A request without a body that brings one after all, or a body after an answer.
            phase @ (Phase::Recording(..) | Phase::Minting(..)) => {
                self.phase = phase;
                return Flow::Pause;
            }
            phase @ Phase::Forwarded(_) => {
                self.phase = phase;
                return Flow::Continue;
            }
            Phase::Visit(mut visit) => {
                let flow = visit.on_body(gateway, host, size, end_of_stream);
                self.phase = Phase::Visit(visit);
                return flow;
            }
            Phase::Leaving(mut leaving) => {
                let flow = leaving.on_body(gateway, host, end_of_stream);
                self.phase = Phase::Leaving(leaving);
                return flow;
            }
            Phase::Start | Phase::Over => return Flow::Pause,
        };
        gateway.held.delivered();
        let limit = gateway.config.max_body;
        if size > limit {
            return self.refuse(
                gateway,
                host,
                &Refusal::TooLarge(limit),
                &Refused::of(&asked),
            );
        }
        if !end_of_stream {
            self.phase = Phase::Body(Box::new(asked));
            return Flow::Pause;
        }
        let body = host.request_body(size).unwrap_or_default();
        if body.len() != size {
            let refusal =
                Refusal::Unavailable("the proxy did not hand over the whole body".to_owned());
            return self.refuse(gateway, host, &refusal, &Refused::of(&asked));
        }
        if let Err(refusal) = asked.may_still_call(gateway) {
            return self.refuse(gateway, host, &refusal, &Refused::of(&asked));
        }
        let message = match message::parse(&body) {
            Ok(message) => message,
            Err(error) => {
                return self.refuse(
                    gateway,
                    host,
                    &Refusal::Message(error),
                    &Refused::of(&asked),
                );
            }
        };
        asked.join_trace(gateway, host, &message);
        let declared = match message.target() {
            Some(tool) => gateway.tool_headers.of(&asked.server.id, tool, asked.now),
            None => Rc::default(),
        };
        if let Err(refusal) = agree::check(&asked.headers, &message, &declared) {
            let body = &body;
            let question = Question { message, body };
            return self.turn_away(gateway, host, &asked, question, refusal);
        }
        if message.form() == Form::Response {
            return match asked.open_answer(host, &message, &body) {
                Ok((message, body)) => {
                    let body = &body;
                    self.decide(gateway, host, asked, Question { message, body })
                }
                Err(refusal) => {
                    let body = &body;
                    let question = Question { message, body };
                    self.turn_away(gateway, host, &asked, question, refusal)
                }
            };
        }
        let question = Question {
            message,
            body: &body,
        };
        self.decide(gateway, host, asked, question)
    }

    /// The body ended in trailers, which no MCP client sends.
    pub fn on_request_trailers(&mut self, gateway: &mut Gateway, host: &dyn Host) -> Flow {
        match &mut self.phase {
            Phase::Body(_) | Phase::Start => {
                let refusal = Refusal::Headers("trailers are not accepted".to_owned());
                self.refuse(gateway, host, &refusal, &Refused::default())
            }
            Phase::Forwarded(_) => Flow::Continue,
            Phase::Visit(visit) => visit.on_trailers(gateway, host),
            Phase::Leaving(leaving) => leaving.on_trailers(gateway, host),
            Phase::Recording(..) | Phase::Minting(..) | Phase::Over => Flow::Pause,
        }
    }

    /// The answer to a call of this request has come.
    pub fn on_answer(&mut self, gateway: &mut Gateway, host: &dyn Host, call: CallId) {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Recording(awaited, recording) if awaited == call => {
                let Recording {
                    event,
                    told,
                    instead,
                } = *recording;
                match answer_status(host) {
                    Some(200..=299) => self.answer_told(gateway, host, told),
                    _ => self.answer_unrecorded(gateway, host, event, instead),
                };
            }
            Phase::Minting(awaited, minting) if awaited == call => {
                self.on_token(gateway, host, *minting)
            }
            Phase::Visit(mut visit) => {
                visit.on_answer(gateway, host, call);
                self.phase = Phase::Visit(visit);
            }
            other => self.phase = other,
        }
    }

    /// Answers a request for protected-resource metadata (RFC 9728).
    fn describe(&mut self, gateway: &mut Gateway, host: &dyn Host, headers: &Headers) -> Flow {
        let refused = Refused {
            request_id: &headers.request_id,
            ..Refused::default()
        };
        let Some(rules) = &gateway.rules else {
            return self.refuse(gateway, host, &no_snapshot(), &refused);
        };
        let Some(server) = rules.described_at(&headers.authority, headers.path_only()) else {
            let refusal = Refusal::NoServer("no MCP server is registered for this path".to_owned());
            return self.refuse(gateway, host, &refusal, &refused);
        };
        let reply = Reply {
            status: 200,
            headers: vec![
                ("content-type", "application/json".to_owned()),
                ("cache-control", "max-age=60".to_owned()),
                ("access-control-allow-origin", "*".to_owned()),
            ],
            body: server.metadata.clone(),
        };
        self.answer(host, &reply)
    }

    fn refuse(
        &mut self,
        gateway: &mut Gateway,
        host: &dyn Host,
        refusal: &Refusal,
        refused: &Refused<'_>,
    ) -> Flow {
        let server = refused
            .server
            .map(|server| server.id.as_str())
            .unwrap_or_default();
        match (refusal, refusal.unauthenticated()) {
            (_, Some(kind)) => {
                gateway.stats.unauthenticated += 1;
                if matches!(gateway.config.mode, Mode::Gateway(_)) {
                    gateway
                        .reports
                        .count(kind, refused.source_ip, server, rfc3339(host.now()));
                }
            }
            (Refusal::Unavailable(_), None) => gateway.stats.unavailable += 1,
            (Refusal::Denied(_) | Refusal::NeedsScope { .. }, None) => {}
            _ => gateway.stats.malformed += 1,
        }
        let id = refused.message.and_then(Message::reply_id);
        let reply = refusal.reply(id, refused.request_id, refused.challenge());
        if let (Some(asked), Some(message)) = (refused.asked, refused.message) {
            asked.report_refused(&mut gateway.reports, message, refusal, reply.status, host);
        }
        self.answer(host, &reply)
    }

    fn answer(&mut self, host: &dyn Host, reply: &Reply) -> Flow {
        self.phase = Phase::Over;
        host.respond(reply);
        Flow::Pause
    }
}

/// What is known about a request when it is refused.
#[derive(Clone, Copy, Debug, Default)]
struct Refused<'a> {
    request_id: &'a str,
    source_ip: &'a str,
    server: Option<&'a ServerRule>,
    message: Option<&'a Message>,
    asked: Option<&'a Asked>,
    scheme: Scheme,
}

impl<'a> Refused<'a> {
    /// Where a caller whose token is not enough is sent.
    fn challenge(&self) -> Option<Challenge<'a>> {
        self.server.map(|server| Challenge {
            metadata: &server.metadata_url,
            scope: &server.scope,
            scheme: self.scheme,
        })
    }

    fn of(asked: &'a Asked) -> Self {
        Self {
            request_id: &asked.headers.request_id,
            source_ip: &asked.source_ip,
            server: Some(&asked.server),
            message: None,
            asked: Some(asked),
            scheme: match asked.caller.proof {
                Some(_) => Scheme::Dpop,
                None => Scheme::Bearer,
            },
        }
    }
}

impl Asked {
    /// Whether the caller may still do what it might when the headers came.
    fn may_still_call(&self, gateway: &Gateway) -> Result<(), Refusal> {
        let rules = gateway.rules.as_ref().ok_or_else(no_snapshot)?;
        let clock = (gateway.clock.as_secs(), gateway.config.skew_s);
        identity::may_still_call(&self.caller.accepted.claims, &self.server.id, rules, clock)
    }

    fn call_of(&self, message: &Message) -> Call {
        let target = message.target().map(str::to_owned);
        self.call(message.method().to_owned(), target)
    }

    fn call(&self, method: String, target: Option<String>) -> Call {
        let claims = &self.caller.accepted.claims;
        Call {
            request_id: self.headers.request_id.clone(),
            time: self.time.clone(),
            server: self.server.id.clone(),
            method,
            target,
            source_ip: Some(self.source_ip.clone()),
            subject: claims.subject.clone(),
            agent: claims.client_id.clone(),
            subject_token_id: claims.id.clone(),
            trace: self.trace.id(),
            session: self.session_name().map(str::to_owned),
        }
    }

    /// Finds out which trace the request belongs to, and whether it is a span of its own.
    fn join_trace(&mut self, gateway: &Gateway, host: &dyn Host, message: &Message) {
        self.trace = Trace::of(&self.headers, message);
        let wanted = gateway.rules.as_ref().is_some_and(|rules| rules.spans);
        if wanted
            && self.trace.is_sampled()
            && let Some(random) = host.random()
            && let Some(id) = random.first_chunk()
        {
            self.trace.begin(*id);
        }
    }

    /// The request's span up to here, where it is to be reported.
    fn span(&self, message: &Message) -> Option<Box<Span>> {
        let mut span = self.trace.span(|| self.call_of(message))?;
        span.start_us = micros(self.now);
        span.id = message.reply_id().map(|id| match id {
            Id::Number(number) => number.to_string(),
            Id::String(text) => text.clone(),
        });
        let version = self.headers.mcp_version.as_deref();
        let version = version.or_else(|| message.protocol_version());
        span.version = version.map(str::to_owned);
        Some(span)
    }

    /// The whole span of a request that is refused here.
    fn report_refused(
        &self,
        reports: &mut Reports,
        message: &Message,
        refusal: &Refusal,
        status: u32,
        host: &dyn Host,
    ) {
        if let Some(span) = self.span_of_refusal(message, refusal, status, host) {
            reports.add_span(*span);
        }
    }

    /// Its part of the trace, where that is told of.
    fn span_of_refusal(
        &self,
        message: &Message,
        refusal: &Refusal,
        status: u32,
        host: &dyn Host,
    ) -> Option<Box<Span>> {
        let mut span = self.span(message)?;
        span.duration_us = micros(host.now().saturating_sub(self.now));
        span.status = u16::try_from(status).ok();
        span.error = Some(refusal.kind().to_owned());
        span.code = Some(refusal.code());
        Some(span)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

pub(crate) fn rfc3339(time: Duration) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + time).to_string()
}

#[cfg(test)]
pub(crate) mod tests;
