//! Notices a proxy that does not hold headers for the filter.
//!
//! The filter pauses at the headers and goes on when the body has come. Envoy delivers the body meanwhile only with
//! `allow_on_headers_stop_iteration: true` (PluginConfig, Envoy 1.35). Without it such a request would hang until
//! it times out; nothing would leak, but nobody would know why. What gives it away: the request grows, and no
//! body callback comes.

use crate::host::{Host, Reply};
use crate::refuse::Refusal;

/// Requests that are watched at most; one is enough to find out.
const MAX_WATCHED: usize = 64;

/// Ticks a request may have grown without a body callback before it is answered.
const PATIENCE: u32 = 3;

const ADVICE: &str = "this proxy does not hold request headers for the filter: set `allow_on_headers_stop_iteration: true` \
    in the filter's PluginConfig (Envoy 1.35 or later)";

/// The requests of a worker that wait for their body, until one has shown that the proxy delivers it.
#[derive(Debug, Default)]
pub struct Held {
    delivers: bool,
    watched: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    context: u32,
    size: u64,
    ticks: u32,
}

impl Held {
    /// A request's headers are held.
    pub(crate) fn begin(&mut self, context: u32, host: &dyn Host) {
        if !self.delivers && self.watched.len() < MAX_WATCHED {
            self.watched.push(Watched {
                context,
                size: total_size(host),
                ticks: 0,
            });
        }
    }

    /// A body was delivered to a request whose headers are held: the proxy is configured well.
    pub(crate) fn delivered(&mut self) {
        self.delivers = true;
        self.watched = Vec::new();
    }

    /// A request is over.
    pub(crate) fn end(&mut self, context: u32) {
        self.watched.retain(|watched| watched.context != context);
    }

    /// Answers the requests whose bodies came to the proxy and not to the filter. `enter` makes the host see a
    /// request, and says whether it still exists.
    pub fn on_tick(&mut self, host: &dyn Host, enter: impl Fn(u32) -> bool) {
        self.watched.retain_mut(|watched| {
            if !enter(watched.context) {
                return false;
            }
            if total_size(host) > watched.size {
                watched.ticks += 1;
            }
            if watched.ticks < PATIENCE {
                return true;
            }
            log::error!("{ADVICE}");
            let reply: Reply = Refusal::Unavailable(ADVICE.to_owned()).reply(None, "", None);
            host.respond(&reply);
            false
        });
    }
}

/// Bytes of the request that the proxy has received so far.
fn total_size(host: &dyn Host) -> u64 {
    let bytes = host
        .property(&["request", "total_size"])
        .unwrap_or_default();
    bytes.try_into().map_or(0, u64::from_le_bytes)
}
