//! The time, as a parameter, so that every rule about time can be tested without sleeping.

use jiff::Timestamp;

/// Tells the time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Now, in UTC.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// RFC 3339 in UTC with microseconds: the form of every time in the store, so that text order is time order.
#[must_use]
pub fn rfc3339(at: Timestamp) -> String {
    format!("{at:.6}")
}

/// Seconds since the epoch: the form of every time in a token (RFC 7519 section 2, NumericDate).
#[must_use]
pub fn unix(at: Timestamp) -> u64 {
    u64::try_from(at.as_second()).unwrap_or(0)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    /// A clock that stands still unless it is moved.
    #[derive(Debug, Default)]
    pub(crate) struct Moved(AtomicI64);

    impl Moved {
        pub(crate) fn pass(&self, seconds: i64) {
            self.0.fetch_add(seconds, Ordering::Relaxed);
        }
    }

    impl Clock for Moved {
        fn now(&self) -> Timestamp {
            let seconds = 1_800_000_000 + self.0.load(Ordering::Relaxed);
            Timestamp::from_second(seconds).unwrap()
        }
    }

    #[test]
    fn times_are_written_so_that_text_order_is_time_order() {
        let whole = Timestamp::from_second(1_700_000_000).unwrap();
        let later = Timestamp::from_microsecond(1_700_000_000_000_001).unwrap();
        assert_eq!(rfc3339(whole), "2023-11-14T22:13:20.000000Z");
        assert!(rfc3339(whole) < rfc3339(later));
    }
}
