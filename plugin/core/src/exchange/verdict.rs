//! The verdict on a message: what the policy says, and the record of a no before anybody hears it.

use writ_policy::Value;
use writ_policy::decision::{Decision, DenialCause};
use writ_policy::event::{Denied, Event};
use writ_policy::kept::{Carried, KeptInput, MOST_REPORTED};

use super::way_back::shows;
use super::{Asked, Exchange, Flow, Phase, Question, Recording, Refused, Told};
use crate::admit::no_snapshot;
use crate::config::{CallerToken, Mode};
use crate::gateway::{Gateway, report};
use crate::host::Host;
use crate::message::content_digest;
use crate::pins::Standing;
use crate::refuse::Refusal;

/// A no, and what the policy was asked where that was its own.
struct Denial {
    cause: DenialCause,
    refusal: Refusal,
    input: Option<Value>,
}

impl Exchange {
    /// Asks the policy, then denies, mints or (without token service) forwards.
    pub(super) fn decide(
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
        let standing = asked.standing(&gateway.definitions, message);
        if standing == Standing::Changed {
            let refusal = Refusal::Redefined {
                server: server.id.clone(),
                tool: message.target().unwrap_or_default().to_owned(),
            };
            return self.turn_away(gateway, host, &asked, question, refusal);
        }
        let task = asked.task(gateway);
        let mcp = asked.mcp(message, standing);
        let Some(rules) = &mut gateway.rules else {
            return self.refuse(gateway, host, &no_snapshot(), &Refused::of(&asked));
        };
        let (decision, input) = asked.ask(&mcp, task.as_ref(), |input| {
            let input = input.to_value();
            (rules.evaluator.call_with(input.clone()), input)
        });
        let (decision, input) = match (decision, question.message.completes()) {
            (Decision::Allow { .. }, Some(entry)) if !shows(gateway, &asked, entry) => {
                let told = format!("{} is not visible to you", entry.name);
                (Decision::deny(DenialCause::Policy, told), None)
            }
            (decision, _) => (decision, Some(input)),
        };
        match decision {
            Decision::Deny {
                cause,
                reason,
                scopes,
            } => {
                gateway.stats.said_no(cause);
                let denial = Denial {
                    cause,
                    refusal: Refusal::denied(reason, &scopes),
                    input,
                };
                self.deny(gateway, host, &asked, question, denial)
            }
            Decision::Allow { obligations, .. } => match &gateway.config.mode {
                Mode::Static(config) => {
                    let keep = config.caller_token == CallerToken::Keep;
                    self.forward_plainly(gateway, host, asked, question.message, keep)
                }
                Mode::Gateway(_) | Mode::Guard(_) | Mode::Egress(_) => {
                    self.obtain(gateway, host, asked, question, &obligations)
                }
            },
        }
    }

    /// Refuses what no policy has to be asked about. What somebody tries with others' names, or beyond what is known, is on
    /// record as a denial is.
    pub(super) fn turn_away(
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
            Refusal::Redefined { .. } => DenialCause::Pin,
            Refusal::Disagreement(_) => DenialCause::Disagreement,
            _ => {
                let refused = Refused {
                    message: Some(&question.message),
                    ..Refused::of(asked)
                };
                return self.refuse(gateway, host, &refusal, &refused);
            }
        };
        let denial = Denial {
            cause,
            refusal,
            input: None,
        };
        self.deny(gateway, host, asked, question, denial)
    }

    /// Records a denial, then answers with it.
    fn deny(
        &mut self,
        gateway: &mut Gateway,
        host: &dyn Host,
        asked: &Asked,
        question: Question<'_>,
        denial: Denial,
    ) -> Flow {
        let Denial {
            cause,
            refusal,
            input,
        } = denial;
        gateway.stats.denied += 1;
        let (message, request_id) = (&question.message, &asked.headers.request_id);
        let challenge = Refused::of(asked).challenge();
        let reply = refusal.reply(message.reply_id(), request_id, challenge);
        let Mode::Gateway(service) = &gateway.config.mode else {
            return self.answer(host, &reply);
        };
        let told = Told {
            span: asked.span_of_refusal(message, &refusal, reply.status, host),
            reply,
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
            input: input.map(|input| KeptInput::of(&input, Carried::Kept, MOST_REPORTED)),
        });
        let unrecorded = Refusal::Unavailable(
            "the call is refused, and that could not be put on record; nothing was forwarded, try again"
                .to_owned(),
        );
        let reply = unrecorded.reply(message.reply_id(), request_id, None);
        let instead = Told {
            span: asked.span_of_refusal(message, &unrecorded, reply.status, host),
            reply,
        };
        match report(host, service, std::slice::from_ref(&event), &[]) {
            Ok(call) => {
                let recording = Recording {
                    event,
                    told,
                    instead,
                };
                self.phase = Phase::Recording(call, Box::new(recording));
                Flow::Pause
            }
            Err(_) => self.answer_unrecorded(gateway, host, event, instead),
        }
    }

    /// Answers, and queues its part of the trace.
    pub(super) fn answer_told(
        &mut self,
        gateway: &mut Gateway,
        host: &dyn Host,
        told: Told,
    ) -> Flow {
        if let Some(span) = told.span {
            gateway.reports.add_span(*span);
        }
        self.answer(host, &told.reply)
    }

    /// Nobody is told of a denial that is not on record; it goes there as soon as it can.
    pub(super) fn answer_unrecorded(
        &mut self,
        gateway: &mut Gateway,
        host: &dyn Host,
        event: Event,
        instead: Told,
    ) -> Flow {
        log::error!("a denial could not be recorded at once; it is reported again");
        gateway.stats.unavailable += 1;
        gateway.reports.add(event);
        self.answer_told(gateway, host, instead)
    }
}
