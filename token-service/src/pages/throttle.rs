//! How often a password may be tried: per user and address, and per address, at all services together.
//!
//! Counting begins before the password is looked at, so that many tries at once count too.

use std::{num::NonZeroU32, time::Duration};

use crate::{
    http::{Peer, limits::network},
    rates::{Counter, Limiter, NotCounted, Rate, Sharing},
    store::Store,
};

/// In how long passwords may be tried so many times.
const PERIOD: Duration = Duration::from_secs(600);
/// Tries for one user from one address.
const PER_USER: NonZeroU32 = NonZeroU32::new(10).unwrap();
/// Tries from one address, whoever for.
const PER_ADDRESS: NonZeroU32 = NonZeroU32::new(100).unwrap();

/// Counts tries.
#[derive(Clone)]
pub struct Throttle {
    users: Limiter,
    addresses: Limiter,
}

impl std::fmt::Debug for Throttle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Throttle").finish_non_exhaustive()
    }
}

impl Throttle {
    /// Counts together with other services.
    #[must_use]
    pub fn new(sharing: &Sharing) -> Self {
        let rate = |requests| Rate {
            requests,
            period: PERIOD,
        };
        Self {
            users: Limiter::strict(Counter::Password, rate(PER_USER), sharing),
            addresses: Limiter::strict(Counter::PasswordsOfAddress, rate(PER_ADDRESS), sharing),
        }
    }

    /// Counts a try.
    ///
    /// # Errors
    /// When there were too many, or it cannot be counted. The password must not be looked at then.
    pub async fn begin(&self, peer: Peer, user: &str) -> Result<(), NotCounted> {
        let address = address(peer);
        // Whose address had too many leaves nothing of more names.
        self.addresses.look(&address)?;
        self.users.count(&named(&address, user)).await?;
        self.addresses.count(&address).await
    }

    /// Takes the tries of a user back who has signed in.
    pub async fn succeeded(&self, store: &Store, peer: Peer, user: &str) {
        let address = address(peer);
        let all_of_user = self.users.forget(&named(&address, user));
        let one_of_address = self.addresses.forget(&address);
        if let Err(error) = store.forgive(all_of_user, one_of_address).await {
            tracing::warn!(%error, "tries before a right password stay counted");
        }
    }
}

/// A Unix socket is one address like any other.
fn address(peer: Peer) -> [u8; 16] {
    peer.0.map(network).unwrap_or_default()
}

fn named(address: &[u8; 16], user: &str) -> Vec<u8> {
    [address.as_slice(), user.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tempfile::TempDir;

    use super::*;
    use crate::{
        clock::{Clock, tests::Moved},
        rates::{Spread, TooMany},
        store::Place,
    };

    fn from(address: &str) -> Peer {
        Peer(Some(address.parse().unwrap()))
    }

    /// Services on one database.
    struct Two {
        both: [(Throttle, Store); 2],
        clock: Arc<Moved>,
        _dir: TempDir,
    }

    impl Two {
        async fn start() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let clock = Arc::new(Moved::default());
            let service = async || {
                let store = Store::open(&Place::of_test(dir.path())).await.unwrap();
                let counting = Arc::clone(&clock) as Arc<dyn Clock>;
                let sharing = Sharing::start(Spread::new([7; 32]), &store, &counting);
                (Throttle::new(&sharing), store)
            };
            let both = [service().await, service().await];
            Self {
                both,
                clock,
                _dir: dir,
            }
        }

        async fn begin(&self, service: usize, address: &str, user: &str) -> Result<(), NotCounted> {
            self.both[service % 2].0.begin(from(address), user).await
        }

        async fn succeeded(&self, service: usize, address: &str, user: &str) {
            let (throttle, store) = &self.both[service % 2];
            throttle.succeeded(store, from(address), user).await;
        }
    }

    fn wait(seconds: u64) -> Result<(), NotCounted> {
        Err(NotCounted::TooMany(TooMany {
            retry_after_s: seconds,
        }))
    }

    #[tokio::test]
    async fn a_user_is_guessed_ten_times_and_then_once_a_minute_wherever() {
        let two = Two::start().await;
        let guess = async |service| two.begin(service, "192.0.2.1", "alice").await;
        for n in 0..PER_USER.get() as usize {
            assert_eq!(guess(n).await, Ok(()));
        }
        two.clock.pass(1);
        for service in 0..2 {
            for _ in 0..2 {
                assert_eq!(guess(service).await, wait(59));
            }
            let bob = two.begin(service, "192.0.2.1", "bob").await;
            assert_eq!(bob, Ok(()), "others can still sign in");
            let elsewhere = two.begin(service, "192.0.2.2", "alice").await;
            assert_eq!(elsewhere, Ok(()), "alice is not locked out");
        }
        two.clock.pass(59);
        assert_eq!(guess(0).await, Ok(()));
        assert_eq!(guess(1).await, wait(60));
    }

    #[tokio::test]
    async fn one_address_cannot_try_all_users() {
        let two = Two::start().await;
        for n in 0..PER_ADDRESS.get() as usize {
            let tried = two.begin(n, "192.0.2.1", &format!("user{n}")).await;
            assert_eq!(tried, Ok(()));
        }
        assert_eq!(two.begin(0, "192.0.2.1", "another").await, wait(6));
        assert_eq!(two.begin(1, "::ffff:192.0.2.1", "another").await, wait(6));
    }

    #[tokio::test]
    async fn an_ipv6_customer_is_one_address() {
        let two = Two::start().await;
        for n in 0..PER_USER.get() as usize {
            assert_eq!(
                two.begin(n, &format!("2001:db8::{n}"), "alice").await,
                Ok(())
            );
        }
        assert_eq!(two.begin(0, "2001:db8::ffff", "alice").await, wait(60));
        assert_eq!(two.begin(0, "2001:db8:0:1::1", "alice").await, Ok(()));
    }

    #[tokio::test]
    async fn signing_in_takes_the_users_own_typing_errors_back() {
        let two = Two::start().await;
        for n in 0..=PER_ADDRESS.get() as usize {
            let tried = two.begin(n, "192.0.2.1", "alice").await;
            assert_eq!(tried, Ok(()), "{n}");
            two.succeeded(n + 1, "192.0.2.1", "alice").await;
        }
        for _ in 0..2 {
            for n in 0..PER_USER.get() as usize {
                assert_eq!(two.begin(0, "192.0.2.1", "alice").await, Ok(()), "{n}");
            }
            two.succeeded(0, "192.0.2.1", "alice").await;
        }
    }

    #[tokio::test]
    async fn a_clock_that_was_ahead_keeps_nobody_out_for_long() {
        let two = Two::start().await;
        two.clock.pass(86_400);
        two.begin(0, "192.0.2.1", "alice").await.unwrap();
        two.clock.pass(-86_400);
        // First for the user, and then for the address.
        for seconds in [660, 606] {
            assert_eq!(two.begin(0, "192.0.2.1", "alice").await, wait(seconds));
            two.clock.pass(1200);
        }
        for service in 0..2 {
            assert_eq!(two.begin(service, "192.0.2.1", "alice").await, Ok(()));
        }
    }

    #[tokio::test]
    async fn what_cannot_be_counted_is_not_tried() {
        let two = Two::start().await;
        let (_, store) = &two.both[0];
        store.close().await;
        for _ in 0..2 {
            let tried = two.begin(0, "192.0.2.1", "alice").await;
            assert_eq!(tried, Err(NotCounted::Away));
        }
        assert_eq!(two.begin(1, "192.0.2.1", "alice").await, Ok(()));
    }
}
