//! What the filter adds to large messages, and what it may add.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::noise::Spread;
use crate::report::{Bound, Limit, Memory};

/// What the filter adds to one kind of message, per message, round by round against plain Envoy.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Added {
    pub plain_cpu_us: Spread,
    /// CPU time of the Envoy process over plain Envoy's.
    pub cpu_us: Spread,
    /// Wall time over plain Envoy's.
    pub wall_us: Spread,
    /// CPU time as a multiple of plain Envoy's.
    pub cpu_over_plain: Spread,
}

impl Added {
    /// Of one of the `parts` of a message.
    #[must_use]
    pub fn divided(self, parts: u64) -> Self {
        let each = |spread: Spread| Spread {
            median: spread.median / parts as f64,
            min: spread.min / parts as f64,
            max: spread.max / parts as f64,
        };
        Self {
            plain_cpu_us: each(self.plain_cpu_us),
            cpu_us: each(self.cpu_us),
            wall_us: each(self.wall_us),
            ..self
        }
    }
}

/// Large messages.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Messages {
    /// Lists filtered, by number of entries.
    pub lists: BTreeMap<u64, Added>,
    /// Asking the policy about an entry: a list of hidden entries over one of entries that it is not asked about.
    pub policy_per_entry_us: Spread,
    /// An event of a stream.
    pub event: Added,
    /// A call with 1 MiB of arguments: parsed and decided.
    pub body_decided: Added,
    /// The same with digest and mint, the message being sent to the token service.
    pub body_governed: Added,
    /// The filter's memory over those calls.
    pub body_memory: Memory,
}

impl Messages {
    fn list(&self, entries: u64) -> f64 {
        self.lists
            .get(&entries)
            .map_or(f64::NAN, |added| added.cpu_us.median)
    }

    /// An entry's cost in the longer half of the longest list over that in a shorter one: 1 where cost is linear.
    fn list_growth(&self) -> f64 {
        let each = |from, to| (self.list(to) - self.list(from)) / (to - from) as f64;
        each(500, 1_000) / each(100, 500)
    }
}

impl Messages {
    /// What the issue asks of them.
    pub fn limits(&self) -> [Limit; 6] {
        let settled = self
            .body_memory
            .at_the_end
            .saturating_sub(self.body_memory.after_half);
        [
            Limit::new(
                "ms added to a list of 1,000 tools",
                self.list(1_000) / 1e3,
                Bound::AtMost(12.0),
            ),
            Limit::new(
                "cost of an entry in long lists over short ones",
                self.list_growth(),
                Bound::AtMost(1.25),
            ),
            Limit::new(
                "µs of policy per list entry",
                self.policy_per_entry_us.median,
                Bound::AtMost(6.0),
            ),
            Limit::new(
                "µs added to a streamed event",
                self.event.wall_us.median,
                Bound::AtMost(100.0),
            ),
            Limit::new(
                "ms added to a call with 1 MiB of arguments",
                self.body_governed.cpu_us.median / 1e3,
                Bound::AtMost(20.0),
            ),
            Limit::new(
                "VM MB that such calls add once it has settled",
                settled as f64 / 1024.0 / 1024.0,
                Bound::AtMost(0.0),
            ),
        ]
    }

    /// The rest, for people.
    pub fn also(&self) -> Vec<(String, String)> {
        let added = |what: String, added: &Added| {
            let (cpu, wall, ratio) = (added.cpu_us, added.wall_us, added.cpu_over_plain);
            let value = format!(
                "CPU {:.0} ({:.0}-{:.0}), wall {:.0} ({:.0}-{:.0}); plain CPU {:.0}, x{:.1} ({:.1}-{:.1})",
                cpu.median,
                cpu.min,
                cpu.max,
                wall.median,
                wall.min,
                wall.max,
                added.plain_cpu_us.median,
                ratio.median,
                ratio.min,
                ratio.max
            );
            (format!("added µs, {what}"), value)
        };
        let mut also: Vec<_> = self
            .lists
            .iter()
            .map(|(entries, list)| added(format!("list of {entries}"), list))
            .collect();
        let policy = self.policy_per_entry_us;
        also.push((
            "µs of policy per entry".to_owned(),
            format!("{:.1} ({:.1}-{:.1})", policy.median, policy.min, policy.max),
        ));
        also.push(added("streamed event".to_owned(), &self.event));
        also.push(added("1 MiB, decided".to_owned(), &self.body_decided));
        also.push(added("1 MiB, minted for".to_owned(), &self.body_governed));
        let mb = |bytes: u64| bytes as f64 / 1024.0 / 1024.0;
        let memory = self.body_memory;
        also.push((
            format!("VM MB, {} calls with 1 MiB", memory.requests),
            format!(
                "{:.1} at start, {:.1} half way, {:.1} at the end",
                mb(memory.after_start),
                mb(memory.after_half),
                mb(memory.at_the_end)
            ),
        ));
        also
    }
}
