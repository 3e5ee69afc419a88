//! Which tokens were used at this process, for where nobody else is asked: bounded, and never forgetting one that is still good.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Mutex, PoisonError},
};

use writ_core::guard::Spend;

/// Tokens that are remembered: so many calls may come within a token's life.
const MOST: usize = 64 * 1024;

/// How much longer than it is good a token is remembered, in seconds.
const MARGIN_S: u64 = 60;

/// Why a token is not spent here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotSpent {
    /// It was before.
    Before,
    /// It could have been, before this process was there.
    TooOld,
    /// There is no room to remember it.
    Full,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Spent {
    /// Seconds since 1970.
    since: u64,
    skew: u64,
    most: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    ids: HashSet<String>,
    /// By the time from which nobody takes them any more.
    by_end: BTreeSet<(u64, String)>,
}

impl Spent {
    /// From `since` on (seconds since 1970), with `skew` seconds between clocks.
    pub(super) fn new(since: u64, skew: u64) -> Self {
        Self {
            since,
            skew,
            most: MOST,
            held: Mutex::default(),
        }
    }

    /// Spends a token at `now`, once.
    pub(super) fn spend(&self, token: &Spend, now: u64) -> Result<(), NotSpent> {
        // In the second of the start there may have been another process, and whoever mints may have another clock.
        if token.issued <= self.since.saturating_add(self.skew) {
            return Err(NotSpent::TooOld);
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        while held.by_end.first().is_some_and(|(end, _)| *end <= now) {
            if let Some((_, id)) = held.by_end.pop_first() {
                held.ids.remove(&id);
            }
        }
        if held.ids.contains(&token.token_id) {
            return Err(NotSpent::Before);
        }
        if held.ids.len() >= self.most {
            return Err(NotSpent::Full);
        }
        // Longer than it is good for, so that no step of the clock makes it good again.
        let end = token.expires.saturating_add(self.skew + MARGIN_S);
        held.ids.insert(token.token_id.clone());
        held.by_end.insert((end, token.token_id.clone()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(id: &str, issued: u64) -> Spend {
        Spend {
            token_id: id.to_owned(),
            issued,
            expires: issued + 30,
        }
    }

    #[test]
    fn a_token_is_spent_once_for_as_long_as_it_is_good() {
        let spent = Spent::new(100, 5);
        assert_eq!(spent.spend(&token("a", 110), 110), Ok(()));
        let forgotten = 140 + 5 + MARGIN_S;
        assert_eq!(
            spent.spend(&token("a", 110), forgotten - 1),
            Err(NotSpent::Before)
        );
        assert_eq!(spent.spend(&token("b", forgotten), forgotten), Ok(()));
        assert_eq!(
            spent.held.lock().unwrap().ids.len(),
            1,
            "what nobody takes any more is forgotten"
        );
    }

    #[test]
    fn a_token_from_before_the_start_may_have_been_spent_by_another_process() {
        let spent = Spent::new(100, 5);
        for issued in [0, 99, 100, 105] {
            assert_eq!(
                spent.spend(&token("a", issued), 106),
                Err(NotSpent::TooOld),
                "{issued}"
            );
        }
        assert_eq!(spent.spend(&token("a", 106), 106), Ok(()));
    }

    #[test]
    fn with_no_room_left_nothing_is_spent() {
        let spent = Spent {
            most: 2,
            ..Spent::new(0, 0)
        };
        assert_eq!(spent.spend(&token("a", 10), 10), Ok(()));
        assert_eq!(spent.spend(&token("b", 10), 10), Ok(()));
        assert_eq!(spent.spend(&token("c", 10), 10), Err(NotSpent::Full));
        assert_eq!(spent.spend(&token("a", 10), 10), Err(NotSpent::Before));
        let forgotten = 40 + MARGIN_S;
        assert_eq!(spent.spend(&token("c", forgotten), forgotten), Ok(()));
    }
}
