//! What one decision costs in the request path, by the number of tool rules, and what the rules take in memory.
//!
//! Two figures that do not depend on each other. The difference: Envoy's CPU per request with a policy, less
//! that with a policy that allows everything without looking, round by round; all else is the same. It leaves
//! out what both have to do: building the input and entering the engine.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::filter;
use crate::measure::Row;
use crate::noise::Spread;
use crate::report::Memory;

/// An Envoy with a policy of this many tool rules.
#[derive(Debug)]
pub struct Rules {
    /// How many.
    pub rules: u64,
    /// The Envoy.
    pub row: Row,
    /// Its memory so far.
    pub memory: Memory,
}

/// Interleaves rounds over all of them; the trivial policy is one of the rows.
pub async fn rounds(
    trivial: &mut Row,
    all: &mut [Rules],
    rounds: usize,
    requests: u64,
) -> Result<()> {
    for _ in 0..rounds {
        trivial.round(requests).await?;
        for one in all.iter_mut() {
            one.row.round(requests).await?;
        }
    }
    Ok(())
}

/// CPU per request over the trivial policy's, by number of rules.
pub fn differences(trivial: &Row, all: &[Rules]) -> BTreeMap<String, Spread> {
    let difference = |one: &Rules| {
        let rounds = one.row.cpu_us_by_round().zip(trivial.cpu_us_by_round());
        Spread::of(rounds.map(|(with, without)| with - without))
    };
    all.iter()
        .map(|one| (one.rules.to_string(), difference(one)))
        .collect()
}

/// Sends requests until this many have gone through, and looks at the filter's memory half way and at the end.
pub async fn grow(one: &mut Rules, requests: u64) -> Result<()> {
    for (goal, at_the_end) in [(requests / 2, false), (requests, true)] {
        one.row.warm_up(goal.saturating_sub(one.row.sent())).await?;
        let bytes = filter::memory(&one.row.envoy).await?;
        if at_the_end {
            one.memory.at_the_end = bytes;
        } else {
            one.memory.after_half = bytes;
        }
    }
    one.memory.requests = requests;
    Ok(())
}
