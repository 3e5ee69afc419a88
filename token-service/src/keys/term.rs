//! When a key is published and when it signs, and what has to be done about that now.
//!
//! A key is announced, signs from a moment on until its successor does, and goes when nothing that it signed can be
//! alive. All of it follows from times that are written down, so that replicas need not talk to each other.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Algorithm;

/// The times of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// Published since.
    pub announced_at: Timestamp,
    /// Signs from then on.
    pub signs_from: Timestamp,
    /// Signs no more from then on: its successor does.
    pub signs_until: Option<Timestamp>,
    /// How long it stays published after it has signed last: longer than anything it signed lives.
    pub overlap: Duration,
}

/// What a key does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Published ahead of its time.
    Next,
    /// It signs.
    Active,
    /// What it signed is still good.
    Retiring,
}

impl State {
    /// The word people read.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retiring => "retiring",
        }
    }
}

impl Term {
    /// The state at `now`.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> State {
        if self.signs_until.is_some_and(|until| until <= now) {
            State::Retiring
        } else if self.signs_from <= now {
            State::Active
        } else {
            State::Next
        }
    }

    /// From when on nothing that it signed is alive.
    #[must_use]
    pub fn gone_at(&self) -> Option<Timestamp> {
        Some(later(self.signs_until?, self.overlap))
    }
}

/// How keys follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// How long a key signs.
    pub rotate_every: Duration,
    /// How long a key is published before it signs.
    pub announce_ahead: Duration,
    /// How long a key is published after it has signed last.
    pub overlap: Duration,
}

/// What has to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Due<'a> {
    /// A key has to be announced.
    Announce {
        /// Of this algorithm.
        alg: Algorithm,
        /// To sign from then on.
        signs_from: Timestamp,
    },
    /// Nothing that the key signed is alive.
    Remove(&'a str),
}

/// What is due, given all keys with their names and terms.
pub(super) fn due<'a>(
    keys: &[(&'a str, Algorithm, Term)],
    schedule: &Schedule,
    now: Timestamp,
) -> Vec<Due<'a>> {
    let announced = Algorithm::ALL.into_iter().filter_map(|alg| {
        let newest = keys
            .iter()
            .filter(|(_, of, _)| *of == alg)
            .map(|(_, _, term)| term.signs_from)
            .max();
        let Some(newest) = newest else {
            return Some(Due::Announce {
                alg,
                signs_from: now,
            });
        };
        let ends = later(newest, schedule.rotate_every);
        let earliest = later(now, schedule.announce_ahead);
        (ends <= earliest).then_some(Due::Announce {
            alg,
            signs_from: earliest,
        })
    });
    let removed = keys
        .iter()
        .filter(|(_, _, term)| term.gone_at().is_some_and(|gone| gone <= now))
        .map(|(kid, _, _)| Due::Remove(kid));
    announced.chain(removed).collect()
}

/// A moment later; the end of time where that is past it.
pub(super) fn later(from: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by)
        .ok()
        .and_then(|by| from.checked_add(by).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: Schedule = Schedule {
        rotate_every: Duration::from_secs(1000),
        announce_ahead: Duration::from_secs(100),
        overlap: Duration::from_secs(50),
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn term(from: i64, until: Option<i64>) -> Term {
        Term {
            announced_at: at(from),
            signs_from: at(from),
            signs_until: until.map(at),
            overlap: SCHEDULE.overlap,
        }
    }

    #[test]
    fn a_key_is_next_then_active_then_retiring() {
        let term = Term {
            announced_at: at(0),
            ..term(10, Some(20))
        };
        let states = [0, 9, 10, 19, 20, 69].map(|s| term.state(at(s)).as_str());
        assert_eq!(
            states,
            ["next", "next", "active", "active", "retiring", "retiring"]
        );
        assert_eq!(term.gone_at(), Some(at(70)));
    }

    #[test]
    fn every_algorithm_has_a_key_from_the_start() {
        let due = due(&[], &SCHEDULE, at(7));
        let expected = Algorithm::ALL.map(|alg| Due::Announce {
            alg,
            signs_from: at(7),
        });
        assert_eq!(due, expected);
    }

    #[test]
    fn a_successor_is_announced_ahead_of_its_time_and_once() {
        let others = |first| {
            [
                ("e", Algorithm::EdDsa, first),
                ("p", Algorithm::Es256, term(900, None)),
                ("r", Algorithm::Rs256, term(900, None)),
            ]
        };
        let keys = others(term(0, None));
        assert_eq!(due(&keys, &SCHEDULE, at(899)), []);
        let announced = Due::Announce {
            alg: Algorithm::EdDsa,
            signs_from: at(1000),
        };
        assert_eq!(due(&keys, &SCHEDULE, at(900)), [announced]);
        let mut keys = others(term(0, Some(1000))).to_vec();
        keys.push(("next", Algorithm::EdDsa, term(1000, None)));
        assert_eq!(due(&keys, &SCHEDULE, at(900)), []);
    }

    #[test]
    fn a_service_that_slept_through_a_rotation_still_announces_ahead() {
        let keys = Algorithm::ALL.map(|alg| ("k", alg, term(0, None)));
        for one in due(&keys, &SCHEDULE, at(5000)) {
            assert!(matches!(one, Due::Announce { signs_from, .. } if signs_from == at(5100)));
        }
    }

    #[test]
    fn a_key_goes_only_when_nothing_it_signed_is_alive() {
        let mut keys = Algorithm::ALL
            .map(|alg| ("k", alg, term(100, None)))
            .to_vec();
        keys.push(("old", Algorithm::EdDsa, term(0, Some(100))));
        assert_eq!(due(&keys, &SCHEDULE, at(149)), []);
        assert_eq!(due(&keys, &SCHEDULE, at(150)), [Due::Remove("old")]);
    }
}
