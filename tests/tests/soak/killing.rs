//! Who is killed when: random, and the same again for the same seed.

use std::time::Duration;

/// What can be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// The first token service.
    Service,
    /// The second.
    OtherService,
    /// PostgreSQL.
    Database,
    /// The Envoy that agents call.
    Gateway,
    /// The Envoy before the MCP server.
    Guard,
}

const ALL: [Victim; 5] = [
    Victim::Service,
    Victim::OtherService,
    Victim::Database,
    Victim::Gateway,
    Victim::Guard,
];
/// The longest that something stays away.
const LONGEST: Duration = Duration::from_millis(600);

/// Everybody comes once a round, each round in another order.
#[derive(Debug)]
pub struct Order {
    state: u64,
    left: Vec<Victim>,
}

impl Order {
    /// The one of this seed.
    pub fn of(seed: u64) -> Self {
        Self {
            state: seed,
            left: Vec::new(),
        }
    }

    /// Who is next.
    pub fn next_victim(&mut self) -> Victim {
        if self.left.is_empty() {
            self.left = ALL.into();
        }
        let at = usize::try_from(self.random()).unwrap_or(0) % self.left.len();
        self.left.swap_remove(at)
    }

    /// How long it stays away.
    pub fn next_pause(&mut self) -> Duration {
        let share = u32::try_from(self.random() % 100).unwrap_or(0);
        LONGEST * share / 100
    }

    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
