//! One request at the guarded server's door: headers, token, body, message, token spent, in.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use writ_policy::credential::Credential;
use writ_policy::event;
use writ_policy::input::Status;

use super::{
    Admitted, Difference, Guarded, NotSpent, Passed, Presented, Refusal, Request, Rogue, metadata,
};
use crate::admit::{http_method, no_snapshot, source_ip};
use crate::agree;
use crate::config::{Guard, Mode, Signature, SingleUse, TokenService, UpstreamToken};
use crate::exchange::{Flow, rfc3339};
use crate::gateway::Gateway;
use crate::headers::Headers;
use crate::host::{Call, CallId, CallRefused, Host, answer_status};
use crate::message::Message;
use crate::open::Open;
use crate::refuse::{self, Challenge, Scheme};
use crate::rules::{Agents, Rules, ServerRule};
use crate::token::{Accepted, Claims, Stopped};
use crate::trace::Trace;

/// The longest that what was let in may last, in seconds: as long as callers' tokens may live, which a guard does not see.
/// The token that is presented to it is good for arriving, and lives for seconds.
const LONGEST_S: u64 = 60 * 60;

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 4 * 1024;

/// One request.
#[derive(Debug)]
pub(crate) struct Visit {
    context: u32,
    request_id: String,
    source_ip: String,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Nothing has come yet.
    Start,
    /// The token is good; the body is awaited.
    Body(Box<Waiting>),
    /// The service is asked to spend the token.
    Spending(CallId, Box<Passed>),
    /// Upstream.
    In,
    /// Answered.
    Over,
}

/// A request whose token is good.
#[derive(Debug)]
struct Waiting {
    headers: Headers,
    admitted: Admitted,
}

impl Visit {
    /// A request that the proxy knows as `context`.
    pub(crate) fn new(context: u32) -> Self {
        Self {
            context,
            request_id: String::new(),
            source_ip: String::new(),
            stage: Stage::Start,
        }
    }

    /// The headers have come, and with `end_of_stream` the whole request.
    pub(crate) fn on_headers(
        &mut self,
        gateway: &mut Gateway,
        host: &dyn Host,
        end_of_stream: bool,
    ) -> Flow {
        gateway.clock = host.now();
        gateway.expire();
        if gateway.open.is_full() {
            let told = "too many requests are under way here; try again".to_owned();
            return self.answer(gateway, host, &refuse::Refusal::Unavailable(told), None);
        }
        let raw = host.request_headers();
        self.source_ip = source_ip(host);
        let admitted = match self.admit(gateway, host, &raw) {
            Ok(admitted) => admitted,
            Err(flow) => return flow,
        };
        let headers = match Headers::read(raw, &[]) {
            Ok(headers) => headers,
            Err(error) => {
                let refusal = refuse::Refusal::Headers(error.to_string());
                return self.answer(gateway, host, &refusal, None);
            }
        };
        let bodiless = match http_method(&headers, gateway.config.max_body, end_of_stream) {
            Ok(bodiless) => bodiless,
            Err(refusal) => return self.answer(gateway, host, &refusal, None),
        };
        let claims = &admitted.accepted().claims;
        if let Err(refusal) = gateway.open.admit(self.context, claims) {
            return self.answer(gateway, host, &refusal, None);
        }
        let waiting = Waiting { headers, admitted };
        match bodiless {
            Some(method) => self.pass(gateway, host, waiting, Request::Bodiless(method)),
            None => {
                gateway.held.begin(self.context, host);
                self.stage = Stage::Body(Box::new(waiting));
                Flow::Pause
            }
        }
    }

    /// Looks at the credentials.
    fn admit(
        &mut self,
        gateway: &mut Gateway,
        host: &dyn Host,
        raw: &[(String, Vec<u8>)],
    ) -> Result<Admitted, Flow> {
        let (Mode::Guard(guard), Some(rules)) = (&gateway.config.mode, &gateway.rules) else {
            return Err(self.answer(gateway, host, &no_snapshot(), None));
        };
        let server = match guarded(guard, rules) {
            Ok(server) => server,
            Err(refusal) => return Err(self.answer(gateway, host, &refusal, None)),
        };
        let named = |(name, value): &'_ (String, Vec<u8>)| {
            (name.as_str() == "x-request-id").then(|| value.clone())
        };
        let request_id = raw.iter().find_map(named).unwrap_or_default();
        self.request_id = String::from_utf8(request_id)
            .ok()
            .filter(|id| id.len() <= crate::headers::MAX_REQUEST_ID)
            .unwrap_or_default();
        let headers = raw
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()));
        let presented = Presented::read(headers);
        let now = gateway.clock.as_secs();
        let at = Guarded {
            server: &server.id,
            audience: &server.upstream_audience,
            issuer: &rules.issuer,
        };
        let verifier = &mut gateway.verifier;
        let admitted = super::admit(&presented, &at, |token| match &guard.signature {
            Signature::Here => verifier.verify(token, now),
            Signature::JwtAuthn(key) => verifier.verify_signed(token, now, |claims| {
                metadata::has_verified(host, key, claims)
            }),
        });
        let admitted = admitted.and_then(|admitted| {
            match standing(rules, &guard.server, &admitted.accepted().claims) {
                None => Ok(admitted),
                Some(credential) => {
                    let rogue = Rogue::of(credential, &admitted.accepted().claims);
                    Err(Refusal::NotMinted(rogue))
                }
            }
        });
        admitted.map_err(|refusal| self.refuse(gateway, host, refusal))
    }

    /// `size` bytes of the body are buffered, and with `end_of_stream` all of it.
    pub(crate) fn on_body(
        &mut self,
        gateway: &mut Gateway,
        host: &dyn Host,
        size: usize,
        end_of_stream: bool,
    ) -> Flow {
        let waiting = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Body(waiting) => *waiting,
            stage => {
                let is_in = matches!(stage, Stage::In);
                self.stage = stage;
                return if is_in { Flow::Continue } else { Flow::Pause };
            }
        };
        gateway.held.delivered();
        let limit = gateway.config.max_body;
        if size > limit {
            return self.answer(gateway, host, &refuse::Refusal::TooLarge(limit), None);
        }
        if !end_of_stream {
            self.stage = Stage::Body(Box::new(waiting));
            return Flow::Pause;
        }
        let body = host.request_body(size).unwrap_or_default();
        if body.len() != size {
            let told = "the proxy did not hand over the whole body".to_owned();
            let refusal = refuse::Refusal::Unavailable(told);
            return self.answer(gateway, host, &refusal, None);
        }
        if let Err(flow) = self.stands(gateway, host, waiting.admitted.accepted(), None) {
            return flow;
        }
        self.pass(gateway, host, waiting, Request::Message(&body))
    }

    /// Looks again at whose token it is: what was good when the headers came may not be any more.
    fn stands(
        &mut self,
        gateway: &mut Gateway,
        host: &dyn Host,
        accepted: &Accepted,
        passed: Option<&Passed>,
    ) -> Result<(), Flow> {
        let (Mode::Guard(guard), Some(rules)) = (&gateway.config.mode, &gateway.rules) else {
            return Err(self.answer(gateway, host, &no_snapshot(), passed));
        };
        if let Err(refusal) = guarded(guard, rules) {
            return Err(self.answer(gateway, host, &refusal, passed));
        }
        let claims = &accepted.claims;
        let in_time = claims.check_time(gateway.clock.as_secs(), gateway.config.skew_s);
        let now = match in_time {
            Err(_) => Some(Credential::Expired),
            Ok(()) => standing(rules, &guard.server, claims),
        };
        let Some(credential) = now else {
            return Ok(());
        };
        let refusal = Refusal::NotMinted(Rogue::of(credential, claims));
        self.report(gateway, host.now(), &refusal);
        Err(self.tell(gateway, host, refusal, passed))
    }

    /// The body ended in trailers, which no MCP client sends.
    pub(crate) fn on_trailers(&mut self, gateway: &mut Gateway, host: &dyn Host) -> Flow {
        match &self.stage {
            Stage::Body(_) | Stage::Start => {
                let refusal = refuse::Refusal::Headers("trailers are not accepted".to_owned());
                self.answer(gateway, host, &refusal, None)
            }
            Stage::In => Flow::Continue,
            Stage::Spending(..) | Stage::Over => Flow::Pause,
        }
    }

    /// Holds the message against the token, and has the token spent.
    fn pass(
        &mut self,
        gateway: &mut Gateway,
        host: &dyn Host,
        waiting: Waiting,
        request: Request<'_>,
    ) -> Flow {
        let passed = match waiting.admitted.check(request) {
            Ok(passed) => passed,
            Err(refusal) => return self.refuse(gateway, host, refusal),
        };
        if let Err(refusal) = agree::check(&waiting.headers, &passed.message, &[]) {
            return self.answer(gateway, host, &refusal, Some(&passed));
        }
        let Mode::Guard(guard) = &gateway.config.mode else {
            return self.answer(gateway, host, &no_snapshot(), Some(&passed));
        };
        let Some(token) = &passed.spend else {
            return self.enter(gateway, host, passed);
        };
        match (guard.single_use, &gateway.ring) {
            (SingleUse::Local { .. }, Some(ring)) => {
                match ring.spend(host, token, gateway.clock.as_secs()) {
                    Ok(()) => {
                        gateway.stats.spent += 1;
                        self.enter(gateway, host, passed)
                    }
                    Err(NotSpent::Before) => self.replayed(gateway, host, &passed),
                    Err(other) => {
                        let refusal = refuse::Refusal::Unavailable(other.to_string());
                        self.answer(gateway, host, &refusal, Some(&passed))
                    }
                }
            }
            (SingleUse::Global, _) | (SingleUse::Local { .. }, None) => {
                let message = &passed.message;
                match self.ask_to_spend(host, guard, &waiting.headers, message) {
                    Ok(call) => {
                        self.stage = Stage::Spending(call, Box::new(passed));
                        Flow::Pause
                    }
                    Err(CallRefused) => self.answer(gateway, host, &service_away(), Some(&passed)),
                }
            }
        }
    }

    fn ask_to_spend(
        &self,
        host: &dyn Host,
        guard: &Guard,
        headers: &Headers,
        message: &Message,
    ) -> Result<CallId, CallRefused> {
        #[derive(Serialize)]
        struct Asked<'a> {
            server: &'a str,
            token: &'a str,
            source_ip: &'a str,
            request_id: &'a str,
        }
        let authorization = headers.authorization.as_deref().unwrap_or_default();
        let (_, token) = authorization.split_once(' ').unwrap_or_default();
        let asked = Asked {
            server: &guard.server,
            token: token.trim_matches(' '),
            source_ip: &self.source_ip,
            request_id: &self.request_id,
        };
        let TokenService {
            cluster,
            credential,
            timeout,
            ..
        } = &guard.service;
        // The gateway's filter says what became of the call.
        let trace = Trace::of(headers, message);
        let sent = trace.told_with(&[
            (":method", "POST"),
            (":path", "/gateway/v1/consume"),
            (":authority", "writ"),
            ("authorization", credential),
            ("content-type", "application/json"),
        ]);
        host.call(&Call {
            cluster,
            headers: &sent,
            body: &serde_json::to_vec(&asked).unwrap_or_default(),
            timeout: *timeout,
        })
    }

    /// The answer to a call of this request has come.
    pub(crate) fn on_answer(&mut self, gateway: &mut Gateway, host: &dyn Host, call: CallId) {
        #[derive(Deserialize)]
        struct Spent {
            active: bool,
            credential: Option<Credential>,
        }
        let passed = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Spending(awaited, passed) if awaited == call => passed,
            other => {
                self.stage = other;
                return;
            }
        };
        let status = answer_status(host);
        let body = host.answer_body(MAX_ANSWER).unwrap_or_default();
        let spent = match status {
            Some(200) => serde_json::from_slice::<Spent>(&body).ok(),
            _ => None,
        };
        match spent {
            Some(Spent { active: true, .. }) => {
                gateway.stats.spent += 1;
                let accepted = Arc::clone(&passed.accepted);
                if self.stands(gateway, host, &accepted, Some(&passed)).is_ok() {
                    self.enter(gateway, host, *passed);
                    host.resume_request();
                }
            }
            Some(Spent { credential, .. }) => {
                // The service has it on record already.
                gateway.stats.rogue += 1;
                let credential = credential.unwrap_or(Credential::Replay);
                let refusal = match credential {
                    Credential::Replay => {
                        Refusal::not_for_this(&passed.accepted, Difference::Spent)
                    }
                    other => Refusal::NotMinted(Rogue::of(other, &passed.accepted.claims)),
                };
                self.tell(gateway, host, refusal, Some(&passed));
            }
            None => {
                let hint = match status {
                    Some(403) => {
                        "; `writ gateway list` must show this guard's id with kind guard and this server"
                    }
                    _ => "",
                };
                log::error!(
                    "a token could not be spent: the token service answered {status:?}; the call was refused{hint}"
                );
                self.answer(gateway, host, &service_away(), Some(&passed));
            }
        }
    }

    /// Lets the request through to the server.
    fn enter(&mut self, gateway: &mut Gateway, host: &dyn Host, passed: Passed) -> Flow {
        let Mode::Guard(guard) = &gateway.config.mode else {
            return self.answer(gateway, host, &no_snapshot(), Some(&passed));
        };
        gateway.stats.allowed += 1;
        if guard.upstream_token == UpstreamToken::Strip {
            host.remove_request_header("authorization");
        }
        let open = Open {
            server: guard.server.clone(),
            session: None,
            id: passed.message.reply_id().cloned(),
            request_id: self.request_id.clone(),
            expires: gateway.clock.as_secs().saturating_add(LONGEST_S),
            is_stream: true,
            over: None,
            accepted: passed.accepted,
        };
        gateway.open.begin(self.context, open);
        self.stage = Stage::In;
        Flow::Continue
    }

    fn replayed(&mut self, gateway: &mut Gateway, host: &dyn Host, passed: &Passed) -> Flow {
        let refusal = Refusal::not_for_this(&passed.accepted, Difference::Spent);
        self.report(gateway, host.now(), &refusal);
        self.tell(gateway, host, refusal, Some(passed))
    }

    /// Refuses what should not have come here, and reports it.
    fn refuse(&mut self, gateway: &mut Gateway, host: &dyn Host, refusal: Refusal) -> Flow {
        self.report(gateway, host.now(), &refusal);
        self.tell(gateway, host, refusal, None)
    }

    fn report(&self, gateway: &mut Gateway, now: Duration, refusal: &Refusal) {
        let (Some(rogue), Mode::Guard(guard)) = (refusal.rogue(), &gateway.config.mode) else {
            return;
        };
        gateway.stats.rogue += 1;
        let owner = rogue.owner.clone();
        let (subject, agent, token_id) = match owner {
            Some(owner) => (Some(owner.subject), Some(owner.agent), owner.token_id),
            None => (None, None, None),
        };
        let reason = match refusal {
            Refusal::NotForThis { difference, .. } => difference.to_string(),
            Refusal::NotMinted(_) | Refusal::Message(_) => rogue.credential.sentence().to_owned(),
        };
        let time = rfc3339(now);
        let rogue = event::Rogue {
            server: guard.server.clone(),
            credential: rogue.credential,
            reason,
            issuer: rogue.issuer.clone(),
            subject,
            agent,
            token_id,
            source_ip: self.source_ip.clone(),
            request_id: self.request_id.clone(),
            first: time.clone(),
            last: time,
            count: 1,
        };
        gateway.reports.count_rogue(rogue, now);
    }

    /// Answers in the protocol's own shape.
    fn tell(
        &mut self,
        gateway: &mut Gateway,
        host: &dyn Host,
        refusal: Refusal,
        passed: Option<&Passed>,
    ) -> Flow {
        let told = refusal.to_string();
        let refusal = match refusal {
            Refusal::NotMinted(rogue) if rogue.credential == Credential::None => {
                refuse::Refusal::NoToken
            }
            Refusal::NotMinted(rogue) => refuse::Refusal::NotAccepted {
                kind: rogue.credential.word(),
                description: told,
            },
            Refusal::NotForThis { .. } => refuse::Refusal::NotForThis(format!(
                "{told}; call the server through its gateway, which gets a token for each call"
            )),
            Refusal::Message(error) => refuse::Refusal::Message(error),
        };
        self.answer(gateway, host, &refusal, passed)
    }

    fn answer(
        &mut self,
        gateway: &mut Gateway,
        host: &dyn Host,
        refusal: &refuse::Refusal,
        passed: Option<&Passed>,
    ) -> Flow {
        match refusal {
            refuse::Refusal::Unavailable(_) => gateway.stats.unavailable += 1,
            refuse::Refusal::NotForThis(_) => {}
            refusal if refusal.unauthenticated().is_some() => gateway.stats.unauthenticated += 1,
            _ => gateway.stats.malformed += 1,
        }
        let server = match (&gateway.config.mode, &gateway.rules) {
            (Mode::Guard(guard), Some(rules)) => rules.servers.get(&guard.server),
            _ => None,
        };
        let challenge = server.map(|server| Challenge {
            metadata: &server.metadata_url,
            scope: &server.scope,
            scheme: Scheme::Bearer,
        });
        let id = passed.and_then(|passed| passed.message.id());
        self.stage = Stage::Over;
        host.respond(&refusal.reply(id, &self.request_id, challenge));
        Flow::Pause
    }
}

/// The server that is guarded, where it is to be reached.
fn guarded<'a>(guard: &Guard, rules: &'a Rules) -> Result<&'a Rc<ServerRule>, refuse::Refusal> {
    let id = &guard.server;
    match rules.servers.get(id) {
        None => Err(refuse::Refusal::Unavailable(format!(
            "this guard is not registered for MCP server `{id}`: `writ gateway add … --server {id}` does that"
        ))),
        Some(server) if server.status != Status::Approved => Err(refuse::Refusal::switched_off(id)),
        Some(server) => Ok(server),
    }
}

/// What is wrong by now with whose token it is; nothing when all is well.
fn standing(rules: &Rules, server: &str, claims: &Claims) -> Option<Credential> {
    let approved = match &rules.agents {
        Agents::Any => true,
        Agents::Registered(agents) => agents
            .get(&claims.client_id)
            .is_some_and(|agent| agent.status == Status::Approved),
    };
    let stopped = claims.stopped(&rules.halt.stops, Some(server));
    let revoked = stopped == Some(Stopped::Revoked);
    if !approved
        || rules.halt.disabled_subjects.contains(&claims.subject)
        || stopped == Some(Stopped::LockedOut)
    {
        Some(Credential::Disabled)
    } else if revoked || claims.origins().any(|id| rules.revoked.contains(id)) {
        Some(Credential::Revoked)
    } else {
        None
    }
}

fn service_away() -> refuse::Refusal {
    refuse::Refusal::Unavailable(
        "the token service could not spend this call's token, so the call was not carried out; call again".to_owned(),
    )
}
