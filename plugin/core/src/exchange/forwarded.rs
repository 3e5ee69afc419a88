//! What goes upstream, and the way back: headers swapped, the answer shown as far as it may be, the outcome reported.

use std::time::Duration;

use writ_policy::decision::Decision;
use writ_policy::event::{CallResult, Event, Outcome};
use writ_policy::input::{Input, Listing, Mcp, RequestContext};

use super::{Asked, Exchange, Flow, Phase, rfc3339};
use crate::gateway::Gateway;
use crate::host::Host;
use crate::message::Message;
use crate::mint::Minted;
use crate::outcome::Watch;
use crate::response::{Entry, Limits, Revealing};

/// How long a list may be kept where a policy changes with the configuration only.
const STATIC_LIST_TTL: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Forwarded {
    /// Whose call it is.
    asked: Asked,
    /// What is to be reported when it is over; nothing without token service.
    use_of: Option<TokenUse>,
    watch: Option<Watch>,
    ended: bool,
    /// The answer, where it can hold lists.
    revealing: Option<Revealing>,
}

/// What a request goes upstream with.
#[derive(Debug)]
pub(super) struct Upward<'a> {
    pub(super) minted: &'a Minted,
    pub(super) content_digest: &'a str,
    pub(super) request_bytes: u64,
    pub(super) revealing: Option<Revealing>,
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
        upward: Upward<'_>,
    ) {
        let Upward {
            minted,
            content_digest,
            request_bytes,
            revealing,
        } = upward;
        gateway.stats.allowed += 1;
        host.set_request_header("authorization", &format!("Bearer {}", minted.token));
        host.set_request_header("content-digest", content_digest);
        if asked.headers.accepts_encodings {
            host.set_request_header("accept-encoding", "identity");
        }
        asked.headers.remove_private(host);
        asked.name_session_upstream(host);
        self.phase = Phase::Forwarded(Box::new(Forwarded {
            asked,
            use_of: Some(TokenUse {
                token_id: minted.id.clone(),
                request_bytes,
            }),
            watch: None,
            ended: false,
            revealing,
        }));
    }

    /// Sends the request on in static mode.
    pub(super) fn forward_plainly(
        &mut self,
        gateway: &mut Gateway,
        host: &dyn Host,
        asked: Asked,
        message: &Message,
        keep_token: bool,
    ) -> Flow {
        gateway.stats.allowed += 1;
        if !keep_token {
            host.remove_request_header("authorization");
        }
        asked.headers.remove_private(host);
        asked.name_session_upstream(host);
        let revealing = revealing(gateway, &asked, message);
        if revealing.is_some() && asked.headers.accepts_encodings {
            host.set_request_header("accept-encoding", "identity");
        }
        self.phase = Phase::Forwarded(Box::new(Forwarded {
            asked,
            use_of: None,
            watch: None,
            ended: false,
            revealing,
        }));
        Flow::Continue
    }

    /// The response's headers have come.
    pub fn on_response_headers(&mut self, host: &dyn Host, end_of_stream: bool) {
        if let Phase::Forwarded(forwarded) = &mut self.phase {
            forwarded.asked.seal_session(host);
            let status = host.response_header(":status");
            let status = status
                .as_deref()
                .and_then(|s| std::str::from_utf8(s).ok())
                .and_then(|s| s.parse().ok());
            forwarded.watch = Some(Watch::new(
                status,
                host.response_header("content-type").as_deref(),
            ));
            forwarded.ended = end_of_stream;
            if let Some(revealing) = &mut forwarded.revealing {
                revealing.on_headers(host, end_of_stream);
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
            watch,
            ended,
            revealing,
            ..
        } = &mut **forwarded;
        if let Some(revealing) = revealing
            && !revealing.is_complete(size, end_of_stream)
        {
            return Flow::Pause;
        }
        if let Some(watch) = watch {
            if watch.wants_bytes() {
                watch.see(&host.response_body(size).unwrap_or_default());
            } else {
                watch.pass(size);
            }
            *ended |= end_of_stream;
        }
        if let Some(revealing) = revealing {
            revealing.on_body(host, size, &mut shown(gateway, asked));
        }
        Flow::Continue
    }

    /// The response ended in trailers.
    pub fn on_response_trailers(&mut self, gateway: &mut Gateway, host: &dyn Host) {
        let held = match &self.phase {
            Phase::Forwarded(forwarded) => forwarded.revealing.as_ref().and_then(Revealing::held),
            _ => None,
        };
        if let Some(most) = held {
            let size = host.response_body(most).map_or(0, |body| body.len());
            self.on_response_body(gateway, host, size, true);
        }
        if let Phase::Forwarded(forwarded) = &mut self.phase {
            forwarded.ended = true;
        }
    }

    /// The request and its response are over, well or not.
    pub fn on_end(&mut self, gateway: &mut Gateway, host: &dyn Host) {
        gateway.held.end(self.context);
        let forwarded = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Forwarded(forwarded) => forwarded,
            Phase::Recording(_, recording) => {
                // The caller left first. Whether the record arrived is not known; twice the same is kept once.
                return gateway.reports.add(recording.event);
            }
            _ => return,
        };
        let Forwarded {
            asked,
            use_of:
                Some(TokenUse {
                    token_id,
                    request_bytes,
                }),
            watch,
            ended,
            ..
        } = *forwarded
        else {
            return;
        };
        let (status, response_bytes) = watch
            .as_ref()
            .map_or((None, 0), |watch| (watch.status(), watch.bytes()));
        let now = host.now();
        gateway.reports.add(Event::Outcome(Outcome {
            token_id,
            request_id: asked.headers.request_id,
            time: rfc3339(now),
            status,
            result: match watch {
                Some(watch) if ended => watch.end(),
                Some(watch) => watch.cut_off(),
                None => CallResult::CutOff,
            },
            duration_us: u64::try_from(now.saturating_sub(asked.now).as_micros())
                .unwrap_or(u64::MAX),
            request_bytes,
            response_bytes,
        }));
    }
}

/// The way back of an answer that can hold lists.
pub(super) fn revealing(gateway: &Gateway, asked: &Asked, message: &Message) -> Option<Revealing> {
    let service = gateway.config.mode.service();
    let kept = service.map_or(STATIC_LIST_TTL, |service| service.snapshot_interval);
    let limits = Limits {
        bytes: gateway.config.max_list,
        ttl_ms: u64::try_from(kept.as_millis()).unwrap_or(0),
    };
    message
        .reveals()
        .then(|| Revealing::new(message.id().cloned(), &asked.headers.request_id, limits))
}

/// Whether the policy shows an entry to who asked.
pub(super) fn shows(gateway: &mut Gateway, asked: &Asked, entry: Entry<'_>) -> bool {
    shown(gateway, asked)(entry)
}

/// Which entries of a list the policy shows to who asked; what it is asked with is put together once for all of them.
fn shown(gateway: &mut Gateway, asked: &Asked) -> impl FnMut(Entry<'_>) -> bool {
    let mut listing = None;
    move |entry| {
        let Some(rules) = &mut gateway.rules else {
            return false;
        };
        let listing = listing.get_or_insert_with(|| asked.listing());
        let decision = rules.evaluator.visible(listing, entry.kind, entry.name);
        matches!(decision, Decision::Allow { .. })
    }
}

impl Asked {
    fn listing(&self) -> Listing {
        let mcp = Mcp {
            version: self.headers.mcp_version.as_deref(),
            method: "",
            tool: None,
            arguments: None,
            prompt: None,
            resource_uri: None,
            session: self.session_name(),
        };
        let input = Input {
            subject: &self.caller.accepted.subject,
            agent: &self.caller.agent,
            server: &self.server.document,
            mcp: &mcp,
            task: None,
            request: &RequestContext {
                id: &self.headers.request_id,
                time: &self.time,
                source_ip: &self.source_ip,
                headers: &self.headers.shown,
            },
        };
        input.listing()
    }
}
