//! How often anybody may ask: per address for the public endpoints, per client once it has proved who it is.
//!
//! The generic cell rate algorithm (governor) over a fixed number of cells: addresses and clients are spread over them
//! by a randomly keyed hash, so that memory is bounded whoever asks, and nobody can choose whose cell they share.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use governor::{
    Quota, RateLimiter, clock::Clock as Ticking, middleware::NoOpMiddleware, nanos::Nanos,
    state::keyed::DashMapStateStore,
};

use super::Peer;
use crate::{app::SharedApp, clock::Clock, oauth::OAuthError};

/// Cells of a limiter, 16 bits' worth.
type Cell = u16;

/// A number of requests in a time, all of which may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub requests: NonZeroU32,
    /// In how long.
    pub period: Duration,
}

/// The limits, as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// What one address may ask of the public endpoints.
    pub per_address: Rate,
    /// What one client may ask of them.
    pub per_client: Rate,
}

/// Somebody has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// For how many seconds.
    pub retry_after_s: u64,
}

/// Counts requests.
pub struct Limits {
    addresses: Limiter,
    clients: Limiter,
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits").finish_non_exhaustive()
    }
}

impl Limits {
    /// Counts against these rates.
    #[must_use]
    pub fn new(rates: &Rates, clock: &Arc<dyn Clock>) -> Self {
        Self {
            addresses: Limiter::new(rates.per_address, clock),
            clients: Limiter::new(rates.per_client, clock),
        }
    }

    /// Counts a request of an address. What comes over a Unix socket is not counted.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn address(&self, peer: Peer) -> Result<(), TooMany> {
        match peer.0 {
            None => Ok(()),
            Some(address) => self.addresses.count(&network(address)),
        }
    }

    /// Counts a request of a client that has proved who it is.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn client(&self, client_id: &str) -> Result<(), TooMany> {
        self.clients.count(&client_id)
    }
}

/// The address; of an IPv6 address the network of 64 bits that one customer usually has.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

/// Counts requests to the public endpoints by address.
pub async fn by_address(
    State(app): State<SharedApp>,
    peer: Peer,
    request: Request,
    next: Next,
) -> Response {
    match app.limits.address(peer) {
        Ok(()) => next.run(request).await,
        Err(wait) => OAuthError::from(wait).into_response(),
    }
}

struct Limiter {
    cells: RateLimiter<Cell, DashMapStateStore<Cell>, Ticks, NoOpMiddleware<Nanos>>,
    spread: RandomState,
}

impl Limiter {
    fn new(rate: Rate, clock: &Arc<dyn Clock>) -> Self {
        // A rate that the configuration accepts has a period of seconds, never none.
        let quota = Quota::with_period(rate.period / rate.requests.get())
            .unwrap_or(Quota::per_second(NonZeroU32::MIN))
            .allow_burst(rate.requests);
        Self {
            cells: RateLimiter::new(
                quota,
                DashMapStateStore::default(),
                Ticks(Arc::clone(clock)),
            ),
            spread: RandomState::new(),
        }
    }

    fn count(&self, whose: &impl std::hash::Hash) -> Result<(), TooMany> {
        let [a, b, ..] = self.spread.hash_one(whose).to_le_bytes();
        self.cells
            .check_key(&Cell::from_le_bytes([a, b]))
            .map_err(|until| {
                let wait = until.wait_time_from(self.cells.clock().now());
                TooMany {
                    retry_after_s: wait.as_secs().saturating_add(1),
                }
            })
    }
}

/// The service's clock, as governor reads one.
#[derive(Clone, Debug)]
struct Ticks(Arc<dyn Clock>);

impl Ticking for Ticks {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(u64::try_from(self.0.now().as_nanosecond()).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use jiff::Timestamp;

    use super::*;

    #[derive(Debug, Default)]
    struct Moved(AtomicI64);

    impl Clock for Moved {
        fn now(&self) -> Timestamp {
            Timestamp::from_second(1_800_000_000 + self.0.load(Ordering::Relaxed)).unwrap()
        }
    }

    fn from(address: &str) -> Peer {
        Peer(Some(address.parse().unwrap()))
    }

    #[test]
    fn an_address_waits_for_as_long_as_it_is_told_and_others_do_not() {
        let time = Arc::new(Moved::default());
        let rate = |requests| Rate {
            requests: NonZeroU32::new(requests).unwrap(),
            period: Duration::from_secs(60),
        };
        let rates = Rates {
            per_address: rate(4),
            per_client: rate(2),
        };
        let limits = Limits::new(&rates, &(Arc::clone(&time) as Arc<dyn Clock>));
        for _ in 0..4 {
            limits.address(from("2001:db8::1")).unwrap();
        }
        let wait = limits.address(from("2001:db8::2")).unwrap_err();
        assert!((15..=16).contains(&wait.retry_after_s), "{wait:?}");
        assert!(limits.address(from("192.0.2.1")).is_ok());
        assert!(limits.address(Peer(None)).is_ok());
        time.0.store(
            i64::try_from(wait.retry_after_s).unwrap(),
            Ordering::Relaxed,
        );
        assert!(limits.address(from("2001:db8::1")).is_ok());

        limits.client("a").unwrap();
        limits.client("a").unwrap();
        assert!(limits.client("a").is_err());
        assert!(limits.client("b").is_ok());
    }
}
