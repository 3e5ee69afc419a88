//! Who decides about what comes back: the policy, asked with what it was asked with on the way up.

use writ_policy::Value;
use writ_policy::decision::{Decision, DenialCause};
use writ_policy::event::{Denied, Event, PinChanged};
use writ_policy::input::{Document, During, Input, Kind, Listing, Mcp, RequestContext, Task};
use writ_policy::kept::{Carried, KeptInput, MOST_REPORTED};
use writ_policy::release::Release;

use super::{Asked, rfc3339};
use crate::config::Mode;
use crate::gateway::{Gateway, Stats};
use crate::message::{Id, Message};
use crate::pins::{Definitions, Standing};
use crate::response::{Entry, Judge};
use crate::seal::SealError;

/// What went upstream, as far as it is asked about again.
#[derive(Debug)]
pub(super) struct Sent {
    method: String,
    target: Option<String>,
    /// All of it, where the policy has a rule about results.
    message: Option<Message>,
    task: Option<Document<Task>>,
}

impl Sent {
    pub(super) fn new(gateway: &Gateway, asked: &Asked, message: Message) -> Self {
        let looks = gateway
            .rules
            .as_ref()
            .is_some_and(|rules| rules.evaluator.releases());
        Self {
            method: message.method().to_owned(),
            target: message.target().map(str::to_owned),
            message: looks.then_some(message),
            task: asked.task(gateway),
        }
    }

    /// What was asked: the method, and what of.
    pub(super) fn into_asked(self) -> (String, Option<String>) {
        (self.method, self.target)
    }

    fn during(&self) -> During<'_> {
        During {
            method: &self.method,
            target: self.target.as_deref(),
        }
    }
}

/// Judges what comes back to one request.
#[derive(Debug)]
pub(super) struct WayBack<'a> {
    gateway: &'a mut Gateway,
    asked: &'a Asked,
    sent: &'a Sent,
    listing: Option<Listing>,
}

impl<'a> WayBack<'a> {
    pub(super) fn new(gateway: &'a mut Gateway, asked: &'a Asked, sent: &'a Sent) -> Self {
        Self {
            gateway,
            asked,
            sent,
            listing: None,
        }
    }

    /// What a list says of a tool.
    fn learn(&mut self, entry: Entry<'_>) -> Standing {
        let (gateway, server) = (&mut *self.gateway, &self.asked.server);
        (gateway.tool_headers).learn(&server.id, entry.name, entry.text, gateway.clock);
        let (standing, news) = gateway.definitions.see(server, entry.name, entry.text);
        if standing == Standing::Changed {
            gateway.stats.pins_changed += 1;
        }
        if let (Some(shown), Some(pin)) = (news, server.pins.get(entry.name)) {
            gateway.reports.add(Event::PinChanged(PinChanged {
                server: server.id.clone(),
                tool: entry.name.to_owned(),
                pinned: pin.digest.to_string(),
                shown: shown.to_string(),
                request_id: self.asked.headers.request_id.clone(),
                time: rfc3339(gateway.clock),
            }));
        }
        standing
    }
}

impl Judge for WayBack<'_> {
    /// What the policy is asked with is put together once for all entries.
    fn shows(&mut self, entry: Entry<'_>) -> bool {
        let standing = match entry.kind {
            Kind::Tool => self.learn(entry),
            Kind::Prompt | Kind::Resource => Standing::Unpinned,
        };
        if standing == Standing::Changed {
            return false;
        }
        let Some(rules) = &mut self.gateway.rules else {
            return false;
        };
        let listing = self.listing.get_or_insert_with(|| self.asked.listing());
        let decision = (rules.evaluator).visible(listing, entry.kind, entry.name, standing.hints());
        allows(&decision, &mut self.gateway.stats)
    }

    fn looks(&self) -> bool {
        let rules = self.gateway.rules.as_ref();
        rules.is_some_and(|rules| rules.evaluator.releases())
    }

    fn release(&mut self, result: Option<Value>) -> Release {
        let (Some(rules), Some(message)) = (&mut self.gateway.rules, &self.sent.message) else {
            return Release::withhold(
                DenialCause::Error,
                "the policy has changed while the call was under way; call again",
            );
        };
        let standing = self.asked.standing(&self.gateway.definitions, message);
        let mcp = self.asked.mcp(message, standing);
        let release = self.asked.ask(&mcp, self.sent.task.as_ref(), |input| {
            rules.evaluator.release(input, result)
        });
        if let Release::Withhold { cause, .. } = &release {
            self.gateway.stats.said_no(*cause);
        }
        release
    }

    fn asks(&mut self, method: &str, params: Value) -> Result<(), String> {
        let Some(rules) = &mut self.gateway.rules else {
            return Err("this gateway has no policy".to_owned());
        };
        let mcp = Mcp {
            arguments: Some(&params),
            during: Some(self.sent.during()),
            ..self.asked.about(method)
        };
        let (decision, input) = self.asked.ask(&mcp, self.sent.task.as_ref(), |input| {
            let input = input.to_value();
            (rules.evaluator.call_with(input.clone()), input)
        });
        let Decision::Deny { cause, reason, .. } = decision else {
            return Ok(());
        };
        self.gateway.stats.denied += 1;
        self.gateway.stats.said_no(cause);
        if matches!(self.gateway.config.mode, Mode::Gateway(_)) {
            let policy_revision = rules.policy_revision.clone();
            self.gateway.reports.add(Event::Denied(Denied {
                call: self.asked.call(method.to_owned(), self.sent.target.clone()),
                cause,
                reason: reason.clone(),
                policy_revision,
                content_digest: None,
                input: Some(KeptInput::of(&input, Carried::Kept, MOST_REPORTED)),
            }));
        }
        Err(reason)
    }

    fn seal(&mut self, method: &str, id: &Id) -> Result<String, SealError> {
        let sealer = self.asked.server.sealer().ok_or(SealError::NoKey)?;
        sealer.seal_question(&self.asked.principal(), self.asked.session_id(), method, id)
    }
}

/// Whether the policy shows an entry to who asked.
pub(super) fn shows(gateway: &mut Gateway, asked: &Asked, entry: Entry<'_>) -> bool {
    let Some(rules) = &mut gateway.rules else {
        return false;
    };
    let decision = rules
        .evaluator
        .visible(&asked.listing(), entry.kind, entry.name, None);
    allows(&decision, &mut gateway.stats)
}

/// Whether a decision is a yes; what the policy failed at is counted.
fn allows(decision: &Decision, stats: &mut Stats) -> bool {
    match decision {
        Decision::Allow { .. } => true,
        Decision::Deny { cause, .. } => {
            stats.said_no(*cause);
            false
        }
    }
}

impl Asked {
    /// How the tool that a message calls is defined.
    pub(super) fn standing(&self, definitions: &Definitions, message: &Message) -> Standing {
        match message.tool() {
            Some(tool) => definitions.of(&self.server, tool),
            None => Standing::Unpinned,
        }
    }

    /// What a policy is asked about a message.
    pub(super) fn mcp<'a>(&'a self, message: &'a Message, standing: Standing) -> Mcp<'a> {
        Mcp {
            pin: standing.hints(),
            ..message.mcp(self.headers.mcp_version.as_deref(), self.session_name())
        }
    }

    /// What a policy is asked about `method`, and nothing else yet.
    fn about<'a>(&'a self, method: &'a str) -> Mcp<'a> {
        Mcp {
            version: self.headers.mcp_version.as_deref(),
            method,
            session: self.session_name(),
            ..Mcp::default()
        }
    }

    /// Asks with everything that is known about the request but what it is for.
    pub(super) fn ask<T>(
        &self,
        mcp: &Mcp<'_>,
        task: Option<&Document<Task>>,
        ask: impl FnOnce(&Input<'_>) -> T,
    ) -> T {
        ask(&Input {
            subject: &self.caller.accepted.subject,
            agent: &self.caller.agent,
            server: &self.server.document,
            mcp,
            task,
            request: &RequestContext {
                id: &self.headers.request_id,
                time: &self.time,
                source_ip: &self.source_ip,
                headers: &self.headers.shown,
            },
        })
    }

    /// The task that the request names. Only the token service knows a task; without one, a client's name for it is no
    /// boundary.
    pub(super) fn task(&self, gateway: &Gateway) -> Option<Document<Task>> {
        let id = self.headers.task.clone()?;
        matches!(gateway.config.mode, Mode::Gateway(_))
            .then(|| Document::from(&Task { id, standing: None }))
    }

    fn listing(&self) -> Listing {
        self.ask(&self.about(""), None, |input| input.listing())
    }
}
