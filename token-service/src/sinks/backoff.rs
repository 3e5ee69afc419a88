//! How long to leave a sink alone that does not take what it is sent.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(60);
/// No sink is left alone for longer, whatever it asks for.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// Twice as long each time, with a random part, so that services that failed together do not come back together.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// After a failure; `asked` is what the sink wants (RFC 9110 section 10.2.3).
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let most = FIRST
            .saturating_mul(2_u32.saturating_pow(self.failures))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let pause = most.mul_f64(rand::random_range(0.5..1.0));
        asked.unwrap_or_default().min(LONGEST_ASKED).max(pause)
    }

    /// After a success; answers whether there were failures before it.
    pub(super) fn succeed(&mut self) -> bool {
        std::mem::take(&mut self.failures) > 0
    }

    /// Whether the last try failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failures > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute_and_a_success_ends_them() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..40).map(|_| backoff.next(None)).collect();
        assert!(pauses[0] <= FIRST);
        assert!(pauses[39] >= LONGEST / 2 && pauses[39] <= LONGEST);
        assert!(backoff.succeed());
        assert!(!backoff.succeed());
        assert!(backoff.next(None) <= FIRST);
    }

    #[test]
    fn a_sink_is_left_alone_for_as_long_as_it_asks_and_no_longer_than_an_hour() {
        let mut backoff = Backoff::default();
        let minutes = Duration::from_secs(120);
        assert_eq!(backoff.next(Some(minutes)), minutes);
        assert_eq!(backoff.next(Some(LONGEST_ASKED * 9)), LONGEST_ASKED);
        assert!(backoff.next(Some(Duration::ZERO)) > Duration::ZERO);
    }
}
