//! What a worker's requests share: rules, verified tokens, discovery tokens, reports. Lives as long as the
//! configuration, and does its own work on a timer.

mod follow;

use std::time::Duration;

use serde::Serialize;
use writ_policy::decision::DenialCause;
use writ_policy::event::{Event, Span};

use crate::config::{Config, ConfigError, Mode, SingleUse, TokenService};
use crate::guard::Ring;
use crate::held::Held;
use crate::host::{Call, CallId, CallRefused, Host, answer_status};
use crate::identity::Proofs;
use crate::mint::Minted;
use crate::open::OpenRequests;
use crate::pins::Definitions;
use crate::reports::Reports;
use crate::rules::{Rules, RulesError};
use crate::shared_key;
use crate::token::Verifier;
use crate::token::cache::Cache;
use crate::tool_headers::ToolHeaders;
use follow::Following;

/// Tokens whose signature is remembered, per worker.
const REMEMBERED_TOKENS: usize = 4096;

/// DPoP proofs remembered, per worker: so many requests on bound tokens may come within a proof's life.
const REMEMBERED_PROOFS: usize = 32 * 1024;

/// Discovery tokens kept, per worker.
const DISCOVERY_TOKENS: usize = 2048;

/// How often [`Gateway::on_tick`] wants to be called.
pub const TICK: Duration = Duration::from_millis(100);

/// Why the filter does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The static policy is wrong.
    #[error("Writ's configuration: field `policy`: {0}")]
    Policy(RulesError),
}

/// Numbers for the proxy's metrics, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests that went upstream.
    pub allowed: u64,
    /// Requests that policy denied.
    pub denied: u64,
    /// Requests without a good token.
    pub unauthenticated: u64,
    /// Requests that were malformed.
    pub malformed: u64,
    /// Requests refused because a decision could not be had or carried out.
    pub unavailable: u64,
    /// Tokens minted for single messages.
    pub minted: u64,
    /// Discovery tokens used again.
    pub discovery_reused: u64,
    /// Signatures that were known.
    pub signature_hits: u64,
    /// Signatures that had to be checked.
    pub signature_misses: u64,
    /// Decisions that the policy failed at: it ran on past its limit, broke off, or answered something that is none.
    pub policy_failures: u64,
    /// Times that a list had a tool that is not defined as it was approved.
    pub pins_changed: u64,
    /// Times that no snapshot was to be had.
    pub snapshot_errors: u64,
    /// Answers that were refused: what is in force stays.
    pub snapshot_refused: u64,
    /// The revision in force; 0 for none.
    pub snapshot_revision: u64,
    /// How long ago the token service said so, in seconds.
    pub snapshot_age_s: u64,
    /// Audit events given up.
    pub events_lost: u64,
    /// Requests with what should not have reached the guarded server.
    pub rogue: u64,
    /// Tokens spent at the guard's door.
    pub spent: u64,
    /// Messages of MCP that left past their gateway.
    pub shadow_servers: u64,
}

impl Stats {
    /// A decision was a no of this cause.
    pub(crate) fn said_no(&mut self, cause: DenialCause) {
        if cause.is_failure() {
            self.policy_failures += 1;
        }
    }
}

/// Which requests may share a discovery token.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct DiscoveryKey {
    /// SHA-256 of the caller's token.
    pub(crate) caller: [u8; 32],
    /// Server id.
    pub(crate) server: String,
    /// The task that the request belongs to.
    pub(crate) task: Option<String>,
}

/// The state of one worker.
#[derive(Debug)]
pub struct Gateway {
    pub(crate) config: Config,
    pub(crate) rules: Option<Rules>,
    pub(crate) verifier: Verifier,
    pub(crate) proofs: Proofs,
    pub(crate) discovery: Cache<DiscoveryKey, Minted>,
    pub(crate) tool_headers: ToolHeaders,
    pub(crate) definitions: Definitions,
    pub(crate) reports: Reports,
    pub(crate) stats: Stats,
    /// Requests whose headers are held until their body has come.
    pub held: Held,
    /// A guard's own memory of spent tokens.
    pub(crate) ring: Option<Ring>,
    /// The requests that are upstream.
    pub(crate) open: OpenRequests,
    /// When the latest request or tick was: near enough to check a token that was minted just now.
    pub(crate) clock: Duration,
    following: Option<Following>,
}

impl Gateway {
    /// Reads the configuration; `env` reads the VM's environment variables.
    pub fn start(
        configuration: &[u8],
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, StartError> {
        let mut config = Config::read(configuration, env)?;
        let mut verifier = Verifier::new(config.skew_s, REMEMBERED_TOKENS);
        let mut rules = None;
        if let Mode::Static(fixed) = &mut config.mode {
            for (issuer, keys, types) in fixed.issuers.drain(..) {
                let types: Vec<_> = types.iter().map(String::as_str).collect();
                verifier.trust(&issuer, keys, &types);
            }
            rules = Some(Rules::from_static(fixed).map_err(StartError::Policy)?);
        }
        let ring = match &config.mode {
            Mode::Guard(guard) => match guard.single_use {
                SingleUse::Local { entries } => {
                    Some(Ring::new(&guard.server, entries, config.skew_s))
                }
                SingleUse::Global => None,
            },
            Mode::Gateway(_) | Mode::Static(_) | Mode::Egress(_) => None,
        };
        let following = config.mode.service().map(Following::new);
        Ok(Self {
            config,
            rules,
            verifier,
            proofs: Proofs::new(REMEMBERED_PROOFS),
            discovery: Cache::new(DISCOVERY_TOKENS),
            tool_headers: ToolHeaders::default(),
            definitions: Definitions::default(),
            reports: Reports::default(),
            stats: Stats::default(),
            held: Held::default(),
            open: OpenRequests::default(),
            ring,
            clock: Duration::ZERO,
            following,
        })
    }

    /// The numbers so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (signature_hits, signature_misses) = self.verifier.cache_use();
        let (snapshot_revision, snapshot_age_s) = self.snapshot_in_force();
        Stats {
            signature_hits,
            signature_misses,
            events_lost: self.reports.lost,
            snapshot_revision,
            snapshot_age_s,
            ..self.stats
        }
    }

    /// Asks for a newer snapshot when it is time, and sends what is to be reported; agrees on a key where there is no token
    /// service.
    pub fn on_tick(&mut self, host: &dyn Host) {
        let now = host.now();
        self.clock = now;
        if let Some(ring) = &self.ring {
            ring.begin(host);
        }
        self.follow(host);
        let Some(service) = self.config.mode.service() else {
            if let Some(rules) = &self.rules {
                rules.seal_with(|| shared_key::agreed(host));
            }
            return;
        };
        self.reports.add_counted(now);
        send_reports(host, service, &mut self.reports);
    }

    /// Ends the requests that may not go on. `enter` makes the host see a request, and says whether it still exists.
    pub fn end_requests(&mut self, host: &dyn Host, enter: impl Fn(u32) -> bool) {
        let now = host.now().as_secs();
        self.open.look(host, self.rules.as_ref(), now, enter);
    }

    /// Takes the answer to a call that [`Gateway::on_tick`] made.
    pub fn on_answer(&mut self, call: CallId, host: &dyn Host) {
        let status = answer_status(host);
        if self.is_about_snapshot(call) {
            self.on_snapshot(status, host);
        } else if self.reports.settle(call, status)
            && let Some(service) = self.config.mode.service()
            && matches!(status, Some(200..=299))
            && self.reports.is_behind()
        {
            send_reports(host, service, &mut self.reports);
        }
    }
}

fn send_reports(host: &dyn Host, service: &TokenService, reports: &mut Reports) {
    let Some(batch) = reports.next_batch() else {
        return;
    };
    match report(host, service, &batch.events, &batch.spans) {
        Ok(call) => reports.sent(call, batch),
        Err(_) => reports.put_back(batch.events),
    }
}

/// Sends events to the audit trail, and spans to whoever collects them.
pub(crate) fn report(
    host: &dyn Host,
    service: &TokenService,
    events: &[Event],
    spans: &[Span],
) -> Result<CallId, CallRefused> {
    /// An `EventBatch` that does not own what is in it.
    #[derive(Serialize)]
    struct Batch<'a> {
        events: &'a [Event],
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        spans: &'a [Span],
    }
    let body = serde_json::to_vec(&Batch { events, spans }).unwrap_or_default();
    host.call(&Call {
        cluster: &service.cluster,
        headers: &[
            (":method", "POST"),
            (":path", "/gateway/v1/events"),
            (":authority", "writ"),
            ("authorization", &service.credential),
            ("content-type", "application/json"),
        ],
        body: &body,
        timeout: service.timeout,
    })
}
