//! How often a password may be tried: per user and address, and per address.
//!
//! Tries are counted in two generations of a window each; what is older is forgotten as a whole. Memory is bounded by
//! the entries of a generation. Counting begins before the password is looked at, so that many tries at once count too.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use jiff::{SignedDuration, Timestamp};

use crate::http::{Peer, limits::network};

/// Tries for one user from one address.
const PER_USER: u32 = 10;
/// Tries from one address, whoever for.
const PER_ADDRESS: u32 = 100;
/// Half of the longest time that a try is remembered.
const WINDOW: SignedDuration = SignedDuration::from_mins(5);
/// Entries of a generation. To push others out, somebody needs hundreds of addresses.
const ENTRIES: usize = 20_000;

/// Somebody has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyTries {
    /// For how many seconds.
    pub retry_after_s: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    network: Option<IpAddr>,
    user: Option<String>,
}

#[derive(Debug, Default)]
struct Generations {
    since: Timestamp,
    current: HashMap<Key, u32>,
    previous: HashMap<Key, u32>,
}

/// Counts tries.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<Generations>);

impl Throttle {
    /// Counts a try, unless there were too many.
    ///
    /// # Errors
    /// [`TooManyTries`]; the password must not be looked at then.
    pub fn begin(&self, peer: Peer, user: &str, now: Timestamp) -> Result<(), TooManyTries> {
        let [by_user, by_address] = keys(peer, user);
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.turn(now);
        for (key, most) in [(&by_user, PER_USER), (&by_address, PER_ADDRESS)] {
            if held.count(key) >= most {
                return Err(held.wait(key, most, now));
            }
        }
        for key in [by_user, by_address] {
            let tries = held.current.entry(key).or_default();
            *tries = tries.saturating_add(1);
        }
        Ok(())
    }

    /// Takes the tries of a user back who has signed in.
    pub fn succeeded(&self, peer: Peer, user: &str) {
        let [by_user, by_address] = keys(peer, user);
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.current.remove(&by_user);
        held.previous.remove(&by_user);
        if let Some(tries) = held.current.get_mut(&by_address) {
            *tries = tries.saturating_sub(1);
        }
    }
}

impl Generations {
    fn turn(&mut self, now: Timestamp) {
        let age = now.duration_since(self.since);
        if age >= WINDOW || self.current.len() >= ENTRIES {
            let outdated = age >= WINDOW.saturating_mul(2);
            self.previous = std::mem::take(&mut self.current);
            if outdated {
                self.previous.clear();
            }
            self.since = now;
        }
    }

    fn count(&self, key: &Key) -> u32 {
        let in_generation = |g: &HashMap<Key, u32>| g.get(key).copied().unwrap_or(0);
        in_generation(&self.current).saturating_add(in_generation(&self.previous))
    }

    /// Until enough of the tries are forgotten: the older generation goes first, this one a window later.
    fn wait(&self, key: &Key, most: u32, now: Timestamp) -> TooManyTries {
        let turns_in = WINDOW.saturating_sub(now.duration_since(self.since));
        let tried_lately = self.current.get(key).is_some_and(|tries| *tries >= most);
        let left = if tried_lately {
            turns_in.saturating_add(WINDOW)
        } else {
            turns_in
        };
        TooManyTries {
            retry_after_s: u64::try_from(left.as_secs()).unwrap_or(0).max(1),
        }
    }
}

fn keys(peer: Peer, user: &str) -> [Key; 2] {
    let network = peer.0.map(network);
    [
        Key {
            network,
            user: Some(user.to_owned()),
        },
        Key {
            network,
            user: None,
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn from(address: &str) -> Peer {
        Peer(Some(address.parse().unwrap()))
    }

    #[test]
    fn a_user_is_guessed_ten_times_and_then_not_for_a_while() {
        let throttle = Throttle::default();
        let peer = from("192.0.2.1");
        for _ in 0..PER_USER {
            throttle.begin(peer, "alice", at(0)).unwrap();
        }
        let told = |now| {
            throttle
                .begin(peer, "alice", at(now))
                .unwrap_err()
                .retry_after_s
        };
        assert_eq!(told(1), 599);
        assert!(
            throttle.begin(peer, "bob", at(1)).is_ok(),
            "others can still sign in"
        );
        assert!(
            throttle.begin(from("192.0.2.2"), "alice", at(1)).is_ok(),
            "alice is not locked out"
        );
        assert_eq!(told(301), 300);
        assert_eq!(told(600), 1);
        assert!(throttle.begin(peer, "alice", at(601)).is_ok());
    }

    #[test]
    fn one_address_cannot_try_all_users() {
        let throttle = Throttle::default();
        for n in 0..PER_ADDRESS {
            throttle
                .begin(from("192.0.2.1"), &format!("user{n}"), at(0))
                .unwrap();
        }
        assert!(throttle.begin(from("192.0.2.1"), "another", at(0)).is_err());
        assert!(
            throttle
                .begin(from("::ffff:192.0.2.1"), "another", at(0))
                .is_err(),
            "however it is written"
        );
    }

    #[test]
    fn an_ipv6_customer_is_one_address() {
        let throttle = Throttle::default();
        for n in 0..PER_USER {
            throttle
                .begin(from(&format!("2001:db8::{n}")), "alice", at(0))
                .unwrap();
        }
        assert!(
            throttle
                .begin(from("2001:db8::ffff"), "alice", at(0))
                .is_err()
        );
        assert!(
            throttle
                .begin(from("2001:db8:0:1::1"), "alice", at(0))
                .is_ok()
        );
    }

    #[test]
    fn signing_in_takes_the_users_own_typing_errors_back() {
        let throttle = Throttle::default();
        let peer = from("192.0.2.1");
        for _ in 0..100 {
            throttle.begin(peer, "alice", at(0)).unwrap();
            throttle.succeeded(peer, "alice");
        }
        assert!(throttle.begin(peer, "alice", at(0)).is_ok());
    }

    #[test]
    fn memory_is_bounded() {
        let throttle = Throttle::default();
        for n in 0..60_000_u32 {
            let peer = Peer(Some(std::net::Ipv4Addr::from(n).into()));
            throttle.begin(peer, "alice", at(0)).unwrap();
        }
        let held = throttle.0.lock().unwrap();
        assert!(held.current.len() + held.previous.len() <= 2 * (ENTRIES + 2));
    }
}
