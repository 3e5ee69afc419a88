//! How often something may be done, at all services on one database together.
//!
//! [`Quota`] is the arithmetic. A [`Limiter`] counts one kind of thing for one service, and [`Sharing`] adds what a service's
//! limiters counted to what the others did.

mod limiter;
mod quota;
mod sharing;

use std::{num::NonZeroU32, time::Duration};

use hmac_sha256::HMAC;

pub use limiter::{Limiter, NotCounted};
pub use quota::{Nanos, Quota, nanos};
pub use sharing::Sharing;

/// A number of requests in a time, all of which may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub requests: NonZeroU32,
    /// In how long.
    pub period: Duration,
}

/// Somebody has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// For how many seconds, at least one.
    pub retry_after_s: u64,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Counter {
    /// Requests of an address.
    Address,
    /// Requests of a client that has proved who it is.
    Client,
    /// Passwords tried for a user from an address.
    Password,
    /// Passwords tried from an address, whoever for.
    PasswordsOfAddress,
}

impl Counter {
    /// As the database has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Client => "client",
            Self::Password => "password",
            Self::PasswordsOfAddress => "passwords_of_address",
        }
    }
}

/// How something is counted by a service.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// What.
    pub counter: Counter,
    /// Against what.
    pub quota: Quota,
    /// How many requests are shared at a time.
    pub part: u32,
}

/// Where somebody is counted.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// How.
    pub kind: Kind,
    /// In which cell.
    pub cell: i64,
}

/// Whose cell is which, by a key that the services share and nobody else knows. Another rate has other cells.
#[derive(Clone)]
pub struct Spread([u8; 32]);

/// A day in nanoseconds.
const DAY: Nanos = 86_400_000_000_000;

impl Spread {
    /// By this key.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The cell of somebody. Of requests of addresses there are 65,536 cells, so that what is kept is bounded, whoever asks; nobody
    /// can choose whom they share one with, and from midnight (UTC) on, when counting begins anew, it is somebody else. Otherwise each
    /// has a cell of their own.
    #[must_use]
    pub fn cell(&self, kind: Kind, whose: &[u8], now: Nanos) -> i64 {
        match kind.counter {
            Counter::Address => self.digest(kind, now / DAY, whose) & i64::from(u16::MAX),
            _ => self.digest(kind, 0, whose) & i64::MAX,
        }
    }

    fn digest(&self, kind: Kind, day: i64, whose: &[u8]) -> i64 {
        let mut mac = HMAC::new(self.0);
        mac.update(kind.counter.as_str());
        mac.update([0]);
        mac.update(kind.quota.cost(1).to_le_bytes());
        mac.update(day.to_le_bytes());
        mac.update(whose);
        let [a, b, c, d, e, f, g, h, ..] = mac.finalize();
        i64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn kind(counter: Counter, requests: u32) -> Kind {
        let rate = Rate {
            requests: NonZeroU32::new(requests).unwrap(),
            period: Duration::from_secs(60),
        };
        Kind {
            counter,
            quota: Quota::of(rate),
            part: 1,
        }
    }

    #[test]
    fn addresses_have_few_cells_and_others_tomorrow_and_users_have_their_own() {
        let spread = Spread::new([7; 32]);
        let cells = |kind, now| {
            let all = (0..200_000_u32).map(|n| spread.cell(kind, &n.to_le_bytes(), now));
            all.collect::<Vec<_>>()
        };
        let addresses = kind(Counter::Address, 60);
        let today = cells(addresses, 20_000 * DAY);
        assert_eq!(today, cells(addresses, 20_001 * DAY - 1));
        assert_ne!(today, cells(addresses, 20_001 * DAY));
        assert_ne!(today, cells(kind(Counter::Address, 30), 20_000 * DAY));
        let distinct = today.into_iter().collect::<HashSet<_>>().len();
        assert!((60_000..=65_536).contains(&distinct), "{distinct}");
        let users = kind(Counter::Password, 60);
        let all = cells(users, 20_000 * DAY);
        assert_eq!(all, cells(users, 20_001 * DAY));
        assert_eq!(all.into_iter().collect::<HashSet<_>>().len(), 200_000);
    }
}
