//! What goes upstream, and the way back: headers swapped, the answer shown as far as it may be, the outcome reported.

use std::sync::Arc;
use std::time::Duration;

use writ_policy::event::{Event, Outcome, Span};

use super::way_back::{Sent, WayBack};
use super::{Asked, Exchange, Flow, Phase, micros, rfc3339};
use crate::gateway::Gateway;
use crate::host::Host;
use crate::message::Message;
use crate::mint::Minted;
use crate::open::Open;
use crate::response::{Answer, Limits};

/// How long a list may be kept: a policy is in force within a fraction of a second.
const LIST_TTL: Duration = Duration::from_secs(1);

/// The same where a policy changes with the configuration only.
const STATIC_LIST_TTL: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Forwarded {
    /// Whose call it is.
    asked: Asked,
    /// What was asked.
    sent: Sent,
    /// What is to be reported when it is over; nothing without token service.
    use_of: Option<TokenUse>,
    /// The same for those who trace it.
    span: Option<Box<Span>>,
    answer: Answer,
}

/// What a request goes upstream with.
#[derive(Debug)]
pub(super) struct Upward<'a> {
    pub(super) minted: &'a Minted,
    pub(super) content_digest: &'a str,
    pub(super) request_bytes: u64,
}

/// The use of a minted token.
#[derive(Debug)]
struct TokenUse {
    token_id: String,
    request_bytes: u64,
}

impl Exchange {
    /// Sends the request on with the minted token in place of everything the caller brought.
    pub(super) fn forward(
        &mut self,
        gateway: &mut Gateway,
        host: &dyn Host,
        asked: Asked,
        message: Message,
        upward: Upward<'_>,
    ) {
        let Upward {
            minted,
            content_digest,
            request_bytes,
        } = upward;
        gateway.stats.allowed += 1;
        host.set_request_header("authorization", &format!("Bearer {}", minted.token));
        host.set_request_header("content-digest", content_digest);
        if asked.headers.accepts_encodings {
            host.set_request_header("accept-encoding", "identity");
        }
        asked.headers.remove_private(host);
        asked.trace.forward(&asked.headers.trace, host);
        asked.name_session_upstream(host);
        let use_of = TokenUse {
            token_id: minted.id.clone(),
            request_bytes,
        };
        self.go_up(gateway, asked, message, Some(use_of));
    }

    /// Sends the request on in static mode.
    pub(super) fn forward_plainly(
        &mut self,
        gateway: &mut Gateway,
        host: &dyn Host,
        asked: Asked,
        message: Message,
        keep_token: bool,
    ) -> Flow {
        gateway.stats.allowed += 1;
        if !keep_token {
            host.remove_request_header("authorization");
        }
        asked.headers.remove_private(host);
        asked.trace.forward(&asked.headers.trace, host);
        asked.name_session_upstream(host);
        if asked.headers.accepts_encodings {
            host.set_request_header("accept-encoding", "identity");
        }
        self.go_up(gateway, asked, message, None);
        Flow::Continue
    }

    /// The response's headers have come.
    pub fn on_response_headers(
        &mut self,
        gateway: &mut Gateway,
        host: &dyn Host,
        end_of_stream: bool,
    ) {
        if let Phase::Forwarded(forwarded) = &mut self.phase {
            forwarded.asked.seal_session(host);
            forwarded.answer.on_headers(host, end_of_stream);
            if forwarded.answer.is_stream() {
                gateway.open.streams(self.context);
            }
        }
    }

    /// `size` bytes of the response pass.
    ///
    /// Of an answer that is held, `size` is what has come so far.
    pub fn on_response_body(
        &mut self,
        gateway: &mut Gateway,
        host: &dyn Host,
        size: usize,
        end_of_stream: bool,
    ) -> Flow {
        let Phase::Forwarded(forwarded) = &mut self.phase else {
            return Flow::Continue;
        };
        let Forwarded {
            asked,
            sent,
            answer,
            ..
        } = &mut **forwarded;
        if !answer.is_complete(size, end_of_stream) {
            return Flow::Pause;
        }
        let mut way_back = WayBack::new(gateway, asked, sent);
        answer.on_body(host, size, end_of_stream, &mut way_back)
    }

    /// The response ended in trailers.
    pub fn on_response_trailers(&mut self, gateway: &mut Gateway, host: &dyn Host) -> Flow {
        let held = match &mut self.phase {
            Phase::Forwarded(forwarded) => {
                forwarded.answer.watch().ended();
                forwarded.answer.held()
            }
            _ => 0,
        };
        match held {
            0 => Flow::Continue,
            size => self.on_response_body(gateway, host, size, true),
        }
    }

    /// The request and its response are over, well or not.
    pub fn on_end(&mut self, gateway: &mut Gateway, host: &dyn Host) {
        gateway.held.end(self.context);
        let over = gateway.open.end(self.context);
        let forwarded = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Forwarded(forwarded) => forwarded,
            Phase::Recording(_, recording) => {
                // The caller left first. Whether the record arrived is not known; twice the same is kept once.
                if let Some(span) = recording.told.span {
                    gateway.reports.add_span(*span);
                }
                return gateway.reports.add(recording.event);
            }
            _ => return,
        };
        let Forwarded {
            asked,
            sent,
            span,
            use_of:
                Some(TokenUse {
                    token_id,
                    request_bytes,
                }),
            mut answer,
        } = *forwarded
        else {
            return;
        };
        if let Some(over) = over {
            answer.watch().over(over);
        }
        let ending = answer.end(host);
        let now = host.now();
        let duration_us = micros(now.saturating_sub(asked.now));
        if let Some(mut span) = span {
            let failed = (!ending.result.is_good()).then(|| ending.result.as_str().to_owned());
            (span.duration_us, span.status, span.error) = (duration_us, ending.status, failed);
            gateway.reports.add_span(*span);
        }
        let (method, target) = sent.into_asked();
        let session = asked.session_name().map(str::to_owned);
        gateway.reports.add(Event::Outcome(Outcome {
            token_id,
            request_id: asked.headers.request_id,
            time: rfc3339(now),
            status: ending.status,
            result: ending.result,
            duration_us,
            request_bytes,
            response_bytes: ending.bytes,
            result_digest: ending.digest,
            masked: (ending.masked.into_iter())
                .map(|(kind, count)| (kind.to_owned(), count))
                .collect(),
            reason: ending.reason,
            method,
            target,
            trace: asked.trace.id(),
            session,
        }));
    }
}

impl Exchange {
    fn go_up(
        &mut self,
        gateway: &mut Gateway,
        asked: Asked,
        message: Message,
        use_of: Option<TokenUse>,
    ) {
        let service = gateway.config.mode.service();
        let kept = service.map_or(STATIC_LIST_TTL, |_| LIST_TTL);
        let limits = Limits {
            list: gateway.config.max_list,
            result: gateway.config.max_result,
            ttl_ms: u64::try_from(kept.as_millis()).unwrap_or(0),
        };
        let answer = Answer::new(&message, &asked.headers.request_id, limits);
        let open = Open {
            accepted: Arc::clone(&asked.caller.accepted),
            server: asked.server.id.clone(),
            session: asked.session_id().map(str::to_owned),
            id: message.reply_id().cloned(),
            request_id: asked.headers.request_id.clone(),
            expires: (asked.caller.accepted.claims.expires).saturating_add(gateway.config.skew_s),
            is_stream: false,
            over: None,
        };
        if let Some(id) = message.cancels() {
            gateway.open.cancel(&open, &id);
        }
        gateway.open.begin(self.context, open);
        self.phase = Phase::Forwarded(Box::new(Forwarded {
            span: asked.span(&message),
            sent: Sent::new(gateway, &asked, message),
            asked,
            use_of,
            answer,
        }));
    }
}
