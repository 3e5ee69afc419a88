//! One request's way through the filter, and its response's way back.
//!
//! Headers (route, identity) → body (message) → decision → mint → swap → upstream → outcome. Every step that is not
//! understood, allowed and recorded ends in an answer of the filter's own; nothing goes on by default.

mod answer;
mod forwarded;
mod session;
mod way_back;

use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use writ_policy::decision::{Decision, DenialCause, Obligations};
use writ_policy::event::{Call, Denied, DiscoveryUse, Event};

use self::forwarded::{Forwarded, Upward};
use self::session::Session;
use self::way_back::shows;
use crate::admit::{http_method, no_snapshot, route, source_ip};
use crate::agree;
use crate::config::{CallerToken, Mode};
use crate::gateway::{DiscoveryKey, Gateway, report};
use crate::guard::Visit;
use crate::headers::Headers;
use crate::host::{CallId, Host, Reply, answer_status};
use crate::identity::{self, Caller};
use crate::message::{self, Form, Message, Travel, content_digest};
use crate::mint::{self, Context, Expected, MintError};
use crate::refuse::{Challenge, Refusal, Scheme};
use crate::rules::{ServerRule, WELL_KNOWN};

/// A discovery token is used again only if it lives at least this many seconds longer.
const DISCOVERY_MARGIN_S: u64 = 2;

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
    reply: Reply,
}

#[derive(Debug)]
struct Minting {
    asked: Asked,
    expected: Expected,
    message: Message,
    request_bytes: u64,
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
        let now = host.now();
        gateway.clock = now;
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
        let asked = Asked {
            headers,
            server: Rc::clone(&server),
            caller,
            session: None,
            source_ip: source_ip.clone(),
            now,
            time: rfc3339(now),
        };
        match bodiless {
            Some(method) => {
                let question = Question {
                    message: Message::bodiless(method),
                    body: b"",
                };
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
        let declared = match message.target() {
            Some(tool) => gateway.tool_headers.of(&asked.server.id, tool, asked.now),
            None => Rc::default(),
        };
        if let Err(refusal) = agree::check(&asked.headers, &message, &declared) {
            return self.refuse(
                gateway,
                host,
                &refusal,
                &Refused {
                    message: Some(&message),
                    ..Refused::of(&asked)
                },
            );
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
            Phase::Recording(..) | Phase::Minting(..) | Phase::Over => Flow::Pause,
        }
    }

    /// Asks the policy, then denies, mints or (without token service) forwards.
    fn decide(
        &mut self,
        gateway: &mut Gateway,
        host: &dyn Host,
        mut asked: Asked,
        question: Question<'_>,
    ) -> Flow {
        if let Err(refusal) = asked.open_session() {
            return self.turn_away(gateway, host, &asked, question, refusal);
        }
        let (server, message) = (&asked.server, &question.message);
        if let Err(unknown) = message.check_known(&server.id, &server.methods) {
            let refusal = Refusal::UnknownMethod(unknown, asked.headers.era());
            return self.turn_away(gateway, host, &asked, question, refusal);
        }
        let task = asked.task(gateway);
        let mcp = question
            .message
            .mcp(asked.headers.mcp_version.as_deref(), asked.session_name());
        let Some(rules) = &mut gateway.rules else {
            return self.refuse(gateway, host, &no_snapshot(), &Refused::of(&asked));
        };
        let decision = asked.ask(&mcp, task.as_ref(), |input| rules.evaluator.call(input));
        let decision = match (decision, question.message.completes()) {
            (Decision::Allow { .. }, Some(entry)) if !shows(gateway, &asked, entry) => {
                let told = format!("{} is not visible to you", entry.name);
                Decision::deny(DenialCause::Policy, told)
            }
            (decision, _) => decision,
        };
        match decision {
            Decision::Deny { cause, reason } => {
                let denied = (cause, Refusal::Denied(reason));
                self.deny(gateway, host, &asked, question, denied)
            }
            Decision::Allow { obligations, .. } => match &gateway.config.mode {
                Mode::Static(config) => {
                    let keep = config.caller_token == CallerToken::Keep;
                    self.forward_plainly(gateway, host, asked, question.message, keep)
                }
                Mode::Gateway(_) | Mode::Guard(_) => {
                    self.obtain(gateway, host, asked, question, &obligations)
                }
            },
        }
    }

    /// Refuses what no policy has to be asked about. What somebody tries with others' names, or beyond what is known, is on
    /// record as a denial is.
    fn turn_away(
        &mut self,
        gateway: &mut Gateway,
        host: &dyn Host,
        asked: &Asked,
        question: Question<'_>,
        refusal: Refusal,
    ) -> Flow {
        let cause = match &refusal {
            Refusal::UnknownSession => DenialCause::Session,
            Refusal::UnknownQuestion => DenialCause::Question,
            Refusal::UnknownMethod(..) => DenialCause::Method,
            _ => {
                let refused = Refused {
                    message: Some(&question.message),
                    ..Refused::of(asked)
                };
                return self.refuse(gateway, host, &refusal, &refused);
            }
        };
        self.deny(gateway, host, asked, question, (cause, refusal))
    }

    /// Records a denial, then answers with it.
    fn deny(
        &mut self,
        gateway: &mut Gateway,
        host: &dyn Host,
        asked: &Asked,
        question: Question<'_>,
        (cause, refusal): (DenialCause, Refusal),
    ) -> Flow {
        gateway.stats.denied += 1;
        let reply = refusal.reply(question.message.reply_id(), &asked.headers.request_id, None);
        let Mode::Gateway(service) = &gateway.config.mode else {
            return self.answer(host, &reply);
        };
        let policy_revision = gateway
            .rules
            .as_ref()
            .map(|rules| rules.policy_revision.clone())
            .unwrap_or_default();
        let event = Event::Denied(Denied {
            call: asked.call_of(&question.message),
            cause,
            reason: refusal.to_string(),
            policy_revision,
            content_digest: Some(content_digest(question.body)),
        });
        match report(host, service, std::slice::from_ref(&event)) {
            Ok(call) => {
                self.phase = Phase::Recording(call, Box::new(Recording { event, reply }));
                Flow::Pause
            }
            Err(_) => {
                gateway.reports.add(event);
                self.answer(host, &reply)
            }
        }
    }

    /// Gets the token that the message may go upstream on.
    fn obtain(
        &mut self,
        gateway: &mut Gateway,
        host: &dyn Host,
        asked: Asked,
        question: Question<'_>,
        obligations: &Obligations,
    ) -> Flow {
        let (Mode::Gateway(service), Some(rules)) = (&gateway.config.mode, &gateway.rules) else {
            return self.refuse(gateway, host, &no_snapshot(), &Refused::of(&asked));
        };
        let content_digest = content_digest(question.body);
        let request_bytes = question.body.len() as u64;
        if question.message.travel() == Travel::Discovery
            && let Some(minted) = gateway.discovery.get(&asked.discovery_key())
            && minted.expires > asked.now.as_secs() + DISCOVERY_MARGIN_S
        {
            gateway.reports.add(Event::DiscoveryUse(DiscoveryUse {
                call: asked.call_of(&question.message),
                token_id: minted.id.clone(),
                policy_revision: rules.policy_revision.clone(),
            }));
            gateway.stats.discovery_reused += 1;
            let upward = Upward {
                minted: &minted,
                content_digest: &content_digest,
                request_bytes,
            };
            self.forward(gateway, host, asked, question.message, upward);
            return Flow::Continue;
        }
        let Question { message, body } = question;
        let request = mint::Request {
            caller: &asked.caller,
            server: &asked.server,
            message: &message,
            body,
            content_digest: &content_digest,
            obligations,
            context: Context {
                request_id: &asked.headers.request_id,
                time: &asked.time,
                source_ip: &asked.source_ip,
                method: body.is_empty().then(|| message.method()),
                answers: message.answered(),
                protocol_version: asked.headers.mcp_version.as_deref(),
                session: asked.session_name(),
                task: asked.headers.task.as_deref(),
                headers: &asked.headers.shown,
                policy_revision: &rules.policy_revision,
                dpop_proof: asked.caller.proof.as_deref(),
            },
        };
        match request.send(host, service) {
            Ok(call) => {
                let claims = &asked.caller.accepted.claims;
                let expected = Expected {
                    issuer: rules.issuer.clone(),
                    audience: asked.server.upstream_audience.clone(),
                    server: asked.server.id.clone(),
                    subject: claims.subject.clone(),
                    client_id: claims.client_id.clone(),
                    travel: message.travel(),
                    method: message.method().to_owned(),
                    target: message.target().map(str::to_owned),
                    content_digest,
                };
                self.phase = Phase::Minting(
                    call,
                    Box::new(Minting {
                        asked,
                        expected,
                        message,
                        request_bytes,
                    }),
                );
                Flow::Pause
            }
            Err(_) => {
                let refusal = Refusal::Unavailable(
                    "the token service cannot be reached; try again".to_owned(),
                );
                let refused = Refused {
                    message: Some(&message),
                    ..Refused::of(&asked)
                };
                self.refuse(gateway, host, &refusal, &refused)
            }
        }
    }

    /// The answer to a call of this request has come.
    pub fn on_answer(&mut self, gateway: &mut Gateway, host: &dyn Host, call: CallId) {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Recording(awaited, recording) if awaited == call => {
                let Recording { event, reply } = *recording;
                if !matches!(answer_status(host), Some(200..=299)) {
                    log::error!("a denial could not be recorded at once; it is reported again");
                    gateway.reports.add(event);
                }
                self.answer(host, &reply);
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

    fn on_token(&mut self, gateway: &mut Gateway, host: &dyn Host, minting: Minting) {
        let Minting {
            asked,
            expected,
            message,
            request_bytes,
        } = minting;
        let refused = |asked| Refused {
            message: Some(&message),
            ..Refused::of(asked)
        };
        match mint::read(host, &expected, gateway.clock.as_secs()) {
            Ok(minted) => {
                if expected.travel == Travel::Discovery {
                    gateway
                        .discovery
                        .insert(asked.discovery_key(), minted.clone());
                } else {
                    gateway.stats.minted += 1;
                }
                let upward = Upward {
                    minted: &minted,
                    content_digest: &expected.content_digest,
                    request_bytes,
                };
                self.forward(gateway, host, asked, message, upward);
                host.resume_request();
            }
            Err(MintError::Denied(reason)) => {
                gateway.stats.denied += 1;
                self.refuse(gateway, host, &Refusal::Denied(reason), &refused(&asked));
            }
            Err(MintError::Caller(description)) => {
                let refusal = Refusal::NotAccepted {
                    kind: "refused_by_service",
                    description,
                };
                self.refuse(gateway, host, &refusal, &refused(&asked));
            }
            Err(MintError::Failed(problem)) => {
                log::error!("no token for a call to {}: {problem}", asked.server.id);
                let refusal =
                    Refusal::Unavailable(format!("{problem}; nothing was forwarded, try again"));
                self.refuse(gateway, host, &refusal, &refused(&asked));
            }
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
            (Refusal::Denied(_), None) => {}
            _ => gateway.stats.malformed += 1,
        }
        let challenge = refused.server.map(|server| Challenge {
            metadata: &server.metadata_url,
            scope: &server.scope,
            scheme: refused.scheme,
        });
        let id = refused.message.and_then(Message::reply_id);
        self.answer(host, &refusal.reply(id, refused.request_id, challenge))
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
    scheme: Scheme,
}

impl<'a> Refused<'a> {
    fn of(asked: &'a Asked) -> Self {
        Self {
            request_id: &asked.headers.request_id,
            source_ip: &asked.source_ip,
            server: Some(&asked.server),
            message: None,
            scheme: match asked.caller.proof {
                Some(_) => Scheme::Dpop,
                None => Scheme::Bearer,
            },
        }
    }
}

impl Asked {
    fn discovery_key(&self) -> DiscoveryKey {
        DiscoveryKey {
            caller: self.caller.accepted.digest,
            server: self.server.id.clone(),
            task: self.headers.task.clone(),
        }
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
        }
    }
}

pub(crate) fn rfc3339(time: Duration) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + time).to_string()
}

#[cfg(test)]
mod tests;
