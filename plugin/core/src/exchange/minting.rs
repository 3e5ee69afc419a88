//! The swap, from the question to the token service to the request going on: a token for this message alone, or a discovery
//! token that is still good.

use writ_policy::decision::Obligations;
use writ_policy::event::{DiscoveryUse, Event};

use super::forwarded::Upward;
use super::{Asked, Exchange, Flow, Phase, Question, Refused};
use crate::admit::no_snapshot;
use crate::config::Mode;
use crate::gateway::{DiscoveryKey, Gateway};
use crate::host::Host;
use crate::message::{Message, Travel, content_digest};
use crate::mint::{self, Context, Expected, MintError};
use crate::refuse::Refusal;

/// A discovery token is used again only if it lives at least this many seconds longer.
const DISCOVERY_MARGIN_S: u64 = 2;

/// A request whose token is awaited.
#[derive(Debug)]
pub(super) struct Minting {
    asked: Asked,
    expected: Expected,
    message: Message,
    request_bytes: u64,
}

impl Exchange {
    /// Gets the token that the message may go upstream on.
    pub(super) fn obtain(
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
            trace: &asked.trace,
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

    /// The token service has answered.
    pub(super) fn on_token(&mut self, gateway: &mut Gateway, host: &dyn Host, minting: Minting) {
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
        // What has been taken back while the service minted may have reached it too late.
        if let Err(refusal) = asked.may_still_call(gateway) {
            self.refuse(gateway, host, &refusal, &refused(&asked));
            return;
        }
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
            Err(MintError::NeedsScope { reason, scope }) => {
                gateway.stats.denied += 1;
                let refusal = Refusal::NeedsScope { reason, scope };
                self.refuse(gateway, host, &refusal, &refused(&asked));
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
}

impl Asked {
    fn discovery_key(&self) -> DiscoveryKey {
        DiscoveryKey {
            caller: self.caller.accepted.digest,
            server: self.server.id.clone(),
            task: self.headers.task.clone(),
        }
    }
}
