//! How much is measured.

/// Rounds and requests.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Interleaved rounds of every row.
    pub rounds: usize,
    /// Requests in a round.
    pub requests: u64,
    /// Requests before the first round.
    pub warm_up: u64,
    /// Requests after which the filter's memory is looked at.
    pub memory_requests: u64,
    /// Rounds of mints.
    pub mint_rounds: usize,
    /// Mints in a round.
    pub mints: u64,
    /// Records in a large trail on SQLite.
    pub records: u64,
    /// And on PostgreSQL; 0 where that is left out.
    pub postgres_records: u64,
    /// Large messages of a kind in a round.
    pub messages: u64,
    /// Agents that are disabled, or enabled again.
    pub changes: usize,
    /// Policies that are published.
    pub publishes: usize,
}

/// `make bench`.
pub const USUAL: Plan = Plan {
    rounds: 7,
    requests: 8_000,
    warm_up: 6_000,
    memory_requests: 100_000,
    mint_rounds: 7,
    mints: 8_000,
    records: 1_000_000,
    postgres_records: 0,
    messages: 20,
    changes: 100,
    publishes: 8,
};

/// `make bench-full`.
pub const FULL: Plan = Plan {
    rounds: 21,
    requests: 20_000,
    warm_up: 20_000,
    memory_requests: 1_000_000,
    mint_rounds: 7,
    mints: 8_000,
    records: 10_000_000,
    postgres_records: 10_000_000,
    messages: 60,
    changes: 400,
    publishes: 24,
};

/// Whether everything runs.
pub const SMOKE: Plan = Plan {
    rounds: 1,
    requests: 200,
    warm_up: 100,
    memory_requests: 1_000,
    mint_rounds: 1,
    mints: 100,
    records: 2_000,
    postgres_records: 2_000,
    messages: 2,
    changes: 2,
    publishes: 2,
};
