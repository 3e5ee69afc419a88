//! Where agents' traffic leaves: MCP is looked for in any HTTP, and what goes to a server past its gateway, or to one that
//! nobody has registered, is on record.
//!
//! A message is known by its headers, or by the beginning of its body. What is no MCP passes as it comes: a body is looked at
//! while it passes, and held, up to [`LOOK`] bytes of it, only where MCP would be refused. This sees what does not hide; it is
//! no boundary for who wants to get past it.

mod address;
mod look;

use std::time::Duration;

use writ_policy::event;

pub use address::Address;
pub(crate) use look::{Seen, clip};

use crate::admit::source_ip;
use crate::config::{Mode, Unknown};
use crate::exchange::{Flow, rfc3339};
use crate::gateway::Gateway;
use crate::headers::MAX_REQUEST_ID;
use crate::host::Host;
use crate::message::{SESSION_CLOSE, STREAM_OPEN};
use crate::refuse::Refusal;
use crate::rules::Rules;

/// How much of a body is looked at, in bytes.
const LOOK: usize = 16 * 1024;

/// One request on its way out.
#[derive(Debug)]
pub(crate) enum Leaving {
    /// Not looked at any longer.
    Passes,
    /// The beginning of its body is awaited.
    Looking(Box<Looking>),
    /// Answered here.
    Refused,
}

/// A request that is MCP, or could be.
#[derive(Debug)]
pub(crate) struct Looking {
    context: u32,
    headers: Headers,
    address: Address,
    /// Whether it may be refused, and therefore waits.
    is_held: bool,
    /// What has come of the body.
    body: Vec<u8>,
    /// How much must have come before it is worth another look.
    next: usize,
}

/// What is read of a request's headers. Anything may stand in them: nothing is refused for that here.
#[derive(Debug, Default)]
struct Headers {
    method: String,
    authority: String,
    path: String,
    request_id: String,
    user_agent: Option<String>,
    is_json: bool,
    is_encoded: bool,
    /// Whether headers of MCP are there.
    is_mcp: bool,
    mcp_method: Option<String>,
    mcp_name: Option<String>,
}

impl Headers {
    fn read(raw: Vec<(String, Vec<u8>)>) -> Self {
        let mut headers = Self::default();
        for (name, value) in raw {
            let text = String::from_utf8_lossy(&value);
            match name.as_str() {
                ":method" => headers.method = text.into_owned(),
                ":authority" => headers.authority = text.into_owned(),
                ":path" => headers.path = text.into_owned(),
                "x-request-id" if text.len() <= MAX_REQUEST_ID => {
                    headers.request_id = text.into_owned();
                }
                "user-agent" => headers.user_agent = Some(clip(&text)),
                "content-type" => headers.is_json = is_json(&text),
                "content-encoding" => headers.is_encoded = !text.eq_ignore_ascii_case("identity"),
                "mcp-method" => {
                    headers.is_mcp = true;
                    headers.mcp_method = Some(clip(&text));
                }
                "mcp-name" => headers.mcp_name = Some(clip(&text)),
                "mcp-protocol-version" | "mcp-session-id" => headers.is_mcp = true,
                _ => {}
            }
        }
        headers
    }

    /// What the message is called when there is no body to tell.
    fn called(&self) -> Option<String> {
        match self.method.as_str() {
            "GET" => Some(STREAM_OPEN.to_owned()),
            "DELETE" => Some(SESSION_CLOSE.to_owned()),
            _ => self.mcp_method.clone(),
        }
    }
}

/// Whether a body may be JSON, whichever dialect of it.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    let names = ["application/json", "application/json-rpc", "text/json"];
    names.contains(&essence.as_str()) || essence.ends_with("+json")
}

/// What the registry says of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// A gateway has a server there.
    Gateway,
    /// A registered server is there itself.
    Server,
    Unknown,
}

fn standing(rules: Option<&Rules>, address: &Address) -> Standing {
    let mut servers = rules.iter().flat_map(|rules| rules.servers.values());
    let mut is_upstream = false;
    let is_public = servers.any(|server| {
        is_upstream |= server.is_in_use() && server.upstream.as_ref() == Some(address);
        server.public.as_ref() == Some(address)
    });
    match (is_public, is_upstream) {
        (true, _) => Standing::Gateway,
        (false, true) => Standing::Server,
        (false, false) => Standing::Unknown,
    }
}

impl Leaving {
    /// The headers have come, and with `is_all` the whole request.
    pub(crate) fn begin(
        context: u32,
        gateway: &mut Gateway,
        host: &dyn Host,
        is_all: bool,
    ) -> (Self, Flow) {
        gateway.clock = host.now();
        gateway.expire();
        let headers = Headers::read(host.request_headers());
        let can_look =
            headers.method == "POST" && headers.is_json && !headers.is_encoded && !is_all;
        if !headers.is_mcp && !can_look {
            return (Self::Passes, Flow::Continue);
        }
        let address = Address::new(&headers.authority, &headers.path);
        let standing = standing(gateway.rules.as_ref(), &address);
        if standing == Standing::Gateway {
            return (Self::Passes, Flow::Continue);
        }
        let refuses = match &gateway.config.mode {
            Mode::Egress(egress) => egress.unknown == Unknown::Refuse,
            _ => false,
        };
        let looking = Looking {
            context,
            headers,
            address,
            is_held: refuses && standing == Standing::Unknown,
            body: Vec::new(),
            next: 1,
        };
        if !can_look {
            return looking.found(gateway, host, Seen::default());
        }
        if looking.is_held {
            gateway.held.begin(context, host);
        }
        let flow = looking.waiting();
        (Self::Looking(Box::new(looking)), flow)
    }

    /// More of the body has come, and with `is_all` the rest of it.
    pub(crate) fn on_body(&mut self, gateway: &mut Gateway, host: &dyn Host, is_all: bool) -> Flow {
        let looking = match std::mem::replace(self, Self::Passes) {
            Self::Passes => return Flow::Continue,
            Self::Refused => {
                *self = Self::Refused;
                return Flow::Pause;
            }
            Self::Looking(mut looking) => {
                looking.take(host);
                looking
            }
        };
        if looking.is_held {
            gateway.held.delivered();
        }
        let is_enough = is_all || looking.body.len() >= LOOK;
        if !is_enough && looking.body.len() < looking.next {
            let flow = looking.waiting();
            *self = Self::Looking(looking);
            return flow;
        }
        let flow;
        (*self, flow) = looking.look(gateway, host, is_enough);
        flow
    }

    /// The body ended in trailers.
    pub(crate) fn on_trailers(&mut self, gateway: &mut Gateway, host: &dyn Host) -> Flow {
        let flow;
        (*self, flow) = match std::mem::replace(self, Self::Passes) {
            Self::Passes => (Self::Passes, Flow::Continue),
            Self::Refused => (Self::Refused, Flow::Pause),
            Self::Looking(looking) => looking.look(gateway, host, true),
        };
        flow
    }
}

impl Looking {
    fn waiting(&self) -> Flow {
        match self.is_held {
            true => Flow::Pause,
            false => Flow::Continue,
        }
    }

    /// Takes what is at hand of the body: of one that is held, all of it so far; else what passes now.
    fn take(&mut self, host: &dyn Host) {
        if self.is_held {
            self.body.clear();
        }
        let room = LOOK.saturating_sub(self.body.len());
        let more = host.request_body(room).unwrap_or_default();
        self.body.extend(more);
    }

    /// Looks at what has come; `is_enough` when no more will.
    fn look(
        mut self: Box<Self>,
        gateway: &mut Gateway,
        host: &dyn Host,
        is_enough: bool,
    ) -> (Leaving, Flow) {
        let seen = Seen::of(&self.body);
        if seen.is_open && !is_enough {
            // However small the pieces are that it comes in, it is read a few times only.
            self.next = self.body.len() * 2;
            let flow = self.waiting();
            return (Leaving::Looking(self), flow);
        }
        if self.headers.is_mcp || seen.is_mcp() {
            return self.found(gateway, host, seen);
        }
        gateway.held.end(self.context);
        (Leaving::Passes, Flow::Continue)
    }

    /// It is MCP.
    fn found(self, gateway: &mut Gateway, host: &dyn Host, seen: Seen) -> (Leaving, Flow) {
        let Self {
            context,
            headers,
            address,
            is_held,
            ..
        } = self;
        gateway.held.end(context);
        gateway.stats.shadow_servers += 1;
        let now = host.now();
        let shown = address.shown();
        let refusal = Refusal::Unregistered {
            address: format!("{}{}", shown.host, shown.path),
        };
        report(gateway, host, now, shown, &headers, &seen, is_held);
        if !is_held {
            return (Leaving::Passes, Flow::Continue);
        }
        gateway.stats.denied += 1;
        host.respond(&refusal.reply(seen.id.as_ref(), &headers.request_id, None));
        (Leaving::Refused, Flow::Pause)
    }
}

fn report(
    gateway: &mut Gateway,
    host: &dyn Host,
    now: Duration,
    shown: Address,
    headers: &Headers,
    seen: &Seen,
    refused: bool,
) {
    let time = rfc3339(now);
    let shadow = event::ShadowServer {
        host: shown.host,
        path: shown.path,
        method: seen.method.clone().or_else(|| headers.called()),
        target: seen.target.clone().or_else(|| headers.mcp_name.clone()),
        client: seen.client.clone(),
        user_agent: headers.user_agent.clone(),
        refused,
        source_ip: source_ip(host),
        request_id: headers.request_id.clone(),
        first: time.clone(),
        last: time,
        count: 1,
    };
    gateway.reports.count_shadow(shadow, now);
}
