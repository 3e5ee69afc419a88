//! The filter's numbers in the proxy's own metrics. Written on the timer, so that no request pays for them.

use proxy_wasm::hostcalls;
use proxy_wasm::types::MetricType;
use writ_core::gateway::Stats;

/// Where a counter's value is.
type Value = fn(&Stats) -> u64;

const COUNTERS: [(&str, Value); 17] = [
    ("writ.requests.allowed", |stats| stats.allowed),
    ("writ.requests.denied", |stats| stats.denied),
    ("writ.requests.unauthenticated", |stats| {
        stats.unauthenticated
    }),
    ("writ.requests.malformed", |stats| stats.malformed),
    ("writ.requests.unavailable", |stats| stats.unavailable),
    ("writ.tokens.minted", |stats| stats.minted),
    ("writ.tokens.discovery_reused", |stats| {
        stats.discovery_reused
    }),
    ("writ.signatures.hit", |stats| stats.signature_hits),
    ("writ.signatures.miss", |stats| stats.signature_misses),
    ("writ.policy.failures", |stats| stats.policy_failures),
    ("writ.pins.changed", |stats| stats.pins_changed),
    ("writ.snapshot.errors", |stats| stats.snapshot_errors),
    ("writ.snapshot.refused", |stats| stats.snapshot_refused),
    ("writ.events.lost", |stats| stats.events_lost),
    ("writ.rogue", |stats| stats.rogue),
    ("writ.tokens.spent", |stats| stats.spent),
    ("writ.shadow_servers", |stats| stats.shadow_servers),
];

/// What whichever worker wrote last says.
const GAUGES: [(&str, Value); 2] = [
    ("writ.snapshot.revision", |stats| stats.snapshot_revision),
    ("writ.snapshot.age_s", |stats| stats.snapshot_age_s),
];

/// Bytes of a page of WebAssembly memory.
const PAGE: usize = 64 * 1024;

/// The metrics as the proxy knows them.
#[derive(Debug)]
pub struct Metrics {
    counters: Vec<(u32, Value)>,
    gauges: Vec<(u32, Value)>,
    memory: Option<u32>,
    last: Stats,
}

impl Metrics {
    /// Defines the metrics; one that the proxy does not take is left out.
    pub fn define() -> Self {
        let memory = hostcalls::define_metric(MetricType::Gauge, "writ.vm_memory_bytes").ok();
        Self {
            counters: defined(MetricType::Counter, &COUNTERS),
            gauges: defined(MetricType::Gauge, &GAUGES),
            memory,
            last: Stats::default(),
        }
    }

    /// Writes what has changed.
    pub fn write(&mut self, stats: Stats) {
        for (metric, value) in &self.counters {
            let more = value(&stats).saturating_sub(value(&self.last));
            if more > 0
                && let Ok(more) = i64::try_from(more)
                && hostcalls::increment_metric(*metric, more).is_err()
            {
                log::warn!("the proxy did not take a metric");
            }
        }
        for (metric, value) in &self.gauges {
            if value(&stats) != value(&self.last)
                && hostcalls::record_metric(*metric, value(&stats)).is_err()
            {
                log::warn!("the proxy did not take a metric");
            }
        }
        self.last = stats;
        // All workers write one gauge: it shows the largest that any of them has had.
        if let Some(memory) = self.memory
            && hostcalls::get_metric(memory).is_ok_and(|largest| largest < memory_bytes())
            && hostcalls::record_metric(memory, memory_bytes()).is_err()
        {
            log::warn!("the proxy did not take a metric");
        }
    }
}

fn defined(kind: MetricType, all: &[(&str, Value)]) -> Vec<(u32, Value)> {
    let define =
        |(name, value): &(&str, Value)| Some((hostcalls::define_metric(kind, name).ok()?, *value));
    all.iter().filter_map(define).collect()
}

#[cfg(target_arch = "wasm32")]
fn memory_bytes() -> u64 {
    (core::arch::wasm32::memory_size(0) * PAGE) as u64
}

#[cfg(not(target_arch = "wasm32"))]
fn memory_bytes() -> u64 {
    PAGE as u64
}
