//! The generic cell rate algorithm (ITU-T I.371): so many at once, and then one each time that its share of the period is over.
//!
//! All that is kept of the past is one moment, the theoretical arrival time: when everything that was admitted would have come,
//! had it come evenly.

use jiff::Timestamp;

use super::{Rate, TooMany};

/// Nanoseconds since the epoch, or of a time.
pub type Nanos = i64;

/// A moment as quotas count.
#[must_use]
pub fn nanos(at: Timestamp) -> Nanos {
    Nanos::try_from(at.as_nanosecond()).unwrap_or(0)
}

/// A rate, as it is counted against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// One request's share of the period.
    interval: Nanos,
    /// How far the theoretical arrival time may be ahead: the period.
    burst: Nanos,
}

impl Quota {
    /// Of a rate.
    #[must_use]
    pub fn of(rate: Rate) -> Self {
        let requests = i64::from(rate.requests.get());
        let period = Nanos::try_from(rate.period.as_nanos()).unwrap_or(Nanos::MAX);
        let interval = (period / requests).max(1);
        Self {
            interval,
            burst: interval.saturating_mul(requests),
        }
    }

    /// What so many requests cost.
    #[must_use]
    pub fn cost(self, requests: u32) -> Nanos {
        self.interval.saturating_mul(i64::from(requests))
    }

    /// The latest arrival time that is believed. A service alone gets no further than one period ahead, and several of them a
    /// little: what is later is of a clock that was wrong, and then nobody waits for more than two periods.
    #[must_use]
    pub fn latest(self, now: Nanos) -> Nanos {
        now.saturating_add(self.burst.saturating_mul(2))
    }

    /// The arrival time `tat` after one request more.
    #[must_use]
    pub fn after(self, tat: Nanos, now: Nanos) -> Nanos {
        tat.clamp(now, self.latest(now))
            .saturating_add(self.interval)
    }

    /// Whether all that an arrival time stands for came more than a period ago: nothing of it counts any more.
    #[must_use]
    pub fn is_over(self, tat: Nanos, now: Nanos) -> bool {
        tat.saturating_add(self.burst) <= now
    }

    /// Whether the last of the requests that led to this arrival time is within the rate.
    ///
    /// # Errors
    /// How long it would have to wait.
    pub fn admits(self, tat: Nanos, now: Nanos) -> Result<(), TooMany> {
        match tat.saturating_sub(now.saturating_add(self.burst)) {
            ..=0 => Ok(()),
            ahead => Err(TooMany {
                retry_after_s: ahead.unsigned_abs().div_ceil(1_000_000_000),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, time::Duration};

    use governor::{
        RateLimiter,
        clock::{Clock as _, FakeRelativeClock},
    };
    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    const SECOND: Nanos = 1_000_000_000;
    const NOW: Nanos = 1_800_000_000 * SECOND;

    fn rate(requests: u32, seconds: u64) -> Rate {
        Rate {
            requests: NonZeroU32::new(requests).unwrap(),
            period: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn a_rate_is_used_at_once_and_comes_back_evenly() {
        let quota = Quota::of(rate(4, 60));
        let mut tat = 0;
        for _ in 0..4 {
            tat = quota.after(tat, NOW);
            assert_eq!(quota.admits(tat, NOW), Ok(()));
        }
        let one_more = quota.after(tat, NOW);
        let wait = TooMany { retry_after_s: 15 };
        assert_eq!(quota.admits(one_more, NOW), Err(wait));
        assert_eq!(quota.admits(one_more, NOW + 15 * SECOND), Ok(()));
        assert!(quota.admits(one_more, NOW + 15 * SECOND - 1).is_err());
    }

    #[test]
    fn nobody_waits_longer_than_two_periods_whatever_a_clock_said() {
        let quota = Quota::of(rate(4, 60));
        for ahead in [120, 121, 86_400] {
            let tat = quota.after(NOW + ahead * SECOND, NOW);
            let wait = TooMany { retry_after_s: 75 };
            assert_eq!(quota.admits(tat, NOW), Err(wait));
        }
    }

    #[test]
    fn the_largest_rate_and_the_end_of_time_do_not_overflow() {
        let quota = Quota::of(rate(u32::MAX, 1));
        for (tat, now) in [
            (Nanos::MAX, Nanos::MAX - 1),
            (Nanos::MAX, 0),
            (0, Nanos::MAX),
        ] {
            assert!(quota.after(tat, now) > now - 1);
            assert!(quota.admits(Nanos::MAX, 0).is_err());
        }
    }

    /// Against another implementation of the same algorithm, whatever the rate and whenever requests come.
    #[test]
    fn what_is_admitted_and_how_long_the_others_wait_is_what_governor_says() {
        let (mut admitted, mut refused) = (0, 0);
        for seed in 0..200 {
            let mut random = StdRng::seed_from_u64(seed);
            let (requests, seconds) = (random.random_range(1..20), random.random_range(1..100));
            let quota = Quota::of(rate(requests, seconds));
            let period = Duration::from_secs(seconds) / requests;
            let clock = FakeRelativeClock::default();
            let theirs = governor::Quota::with_period(period)
                .unwrap()
                .allow_burst(NonZeroU32::new(requests).unwrap());
            let theirs = RateLimiter::direct_with_clock(theirs, clock.clone());
            let (mut now, mut tat) = (NOW, 0);
            for _ in 0..100 {
                let pause = Duration::from_nanos(
                    random.random_range(0..quota.cost(1).unsigned_abs() * 3 / 2),
                );
                clock.advance(pause);
                now += Nanos::try_from(pause.as_nanos()).unwrap();
                let next = quota.after(tat, now);
                match (quota.admits(next, now), theirs.check()) {
                    (Ok(()), Ok(())) => {
                        tat = next;
                        admitted += 1;
                    }
                    (Err(ours), Err(theirs)) => {
                        let wait = theirs.wait_time_from(clock.now());
                        assert_eq!(
                            ours.retry_after_s,
                            wait.as_nanos().div_ceil(1_000_000_000) as u64
                        );
                        refused += 1;
                    }
                    different => panic!("{different:?}"),
                }
            }
        }
        assert!(admitted > 1000 && refused > 1000, "{admitted} {refused}");
    }
}
