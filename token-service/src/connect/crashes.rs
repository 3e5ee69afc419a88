//! How long to wait before a server is started again that keeps ending.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The first pause; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);
/// A process that lived so long did not fail to start.
const HEALTHY: Duration = Duration::from_secs(60);
/// The longest that a request waits for a process.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Ends that nobody asked for, one after the other.
#[derive(Debug, Default)]
pub(super) struct Crashes(Mutex<Row>);

#[derive(Debug, Default)]
struct Row {
    length: u32,
    not_before: Option<Instant>,
}

impl Crashes {
    fn row(&self) -> MutexGuard<'_, Row> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A process has ended at `now` that had lived for `lived`; answers how long to wait.
    pub(super) fn note(&self, lived: Duration, now: Instant) -> Duration {
        let mut row = self.row();
        if lived >= HEALTHY {
            row.length = 0;
        }
        let pause = FIRST
            .saturating_mul(2_u32.saturating_pow(row.length))
            .min(LONGEST);
        row.length = row.length.saturating_add(1);
        row.not_before = Some(now + pause);
        pause
    }

    /// How long no process is to be started at `now`.
    pub(super) fn pause(&self, now: Instant) -> Duration {
        self.row()
            .not_before
            .map_or(Duration::ZERO, |then| then.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_begin_anew_after_a_healthy_life() {
        let crashes = Crashes::default();
        let now = Instant::now();
        assert_eq!(crashes.pause(now), Duration::ZERO);
        let pauses: Vec<u128> = (0..12)
            .map(|_| crashes.note(Duration::from_secs(1), now).as_millis())
            .collect();
        assert_eq!(pauses[..4], [100, 200, 400, 800]);
        assert_eq!(pauses[11], LONGEST.as_millis());
        assert_eq!(crashes.pause(now), LONGEST);
        assert_eq!(crashes.pause(now + LONGEST), Duration::ZERO);
        assert_eq!(crashes.note(HEALTHY, now), FIRST);
    }
}
