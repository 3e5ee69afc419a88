//! How often anybody may ask: per address for the public endpoints, per client once it has proved who it is.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::Peer;
use crate::{
    app::SharedApp,
    oauth::OAuthError,
    rates::{Counter, Limiter, NotCounted, Rate, Sharing, TooMany},
};

/// The limits, as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// What one address may ask of the public endpoints.
    pub per_address: Rate,
    /// What one client may ask of them.
    pub per_client: Rate,
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
    pub fn new(rates: &Rates, sharing: &Sharing) -> Self {
        Self {
            addresses: Limiter::new(Counter::Address, rates.per_address, sharing),
            clients: Limiter::new(Counter::Client, rates.per_client, sharing),
        }
    }

    /// Counts a request of an address. What comes over a Unix socket is not counted.
    ///
    /// # Errors
    /// [`TooMany`].
    pub async fn address(&self, peer: Peer) -> Result<(), TooMany> {
        match peer.0 {
            None => Ok(()),
            Some(address) => in_time(self.addresses.count(&network(address)).await),
        }
    }

    /// Counts a request of a client that has proved who it is.
    ///
    /// # Errors
    /// [`TooMany`].
    pub async fn client(&self, client_id: &str) -> Result<(), TooMany> {
        in_time(self.clients.count(client_id.as_bytes()).await)
    }
}

/// What cannot be counted is answered: what needs the database is refused by that.
fn in_time(counted: Result<(), NotCounted>) -> Result<(), TooMany> {
    match counted {
        Err(NotCounted::TooMany(wait)) => Err(wait),
        Ok(()) | Err(NotCounted::Away) => Ok(()),
    }
}

/// The address, however it is written, as IPv6 has it (RFC 4291 section 2.5.5.2); of an IPv6 address the network of 64 bits
/// that one customer usually has.
#[must_use]
pub fn network(address: IpAddr) -> [u8; 16] {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).octets()
        }
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
    }
}

/// Counts requests to the public endpoints by address.
pub async fn by_address(
    State(app): State<SharedApp>,
    peer: Peer,
    request: Request,
    next: Next,
) -> Response {
    match app.limits.address(peer).await {
        Ok(()) => next.run(request).await,
        Err(wait) => OAuthError::from(wait).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, sync::Arc, time::Duration};

    use super::*;
    use crate::{
        clock::{Clock, tests::Moved},
        rates::Spread,
        store::{Place, Store},
    };

    #[tokio::test]
    async fn a_network_has_one_share_each_client_another_and_the_machine_itself_any() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&Place::of_test(dir.path())).await.unwrap();
        let clock: Arc<dyn Clock> = Arc::new(Moved::default());
        let rate = |requests| Rate {
            requests: NonZeroU32::new(requests).unwrap(),
            period: Duration::from_secs(60),
        };
        let rates = Rates {
            per_address: rate(4),
            per_client: rate(2),
        };
        let sharing = Sharing::start(Spread::new([7; 32]), &store, &clock);
        let limits = Limits::new(&rates, &sharing);
        let from = async |address: &str| {
            let address = address.parse().unwrap();
            limits.address(Peer(Some(address))).await
        };
        for n in 0..4 {
            assert_eq!(from(&format!("2001:db8::{n}")).await, Ok(()));
        }
        let wait = Err(TooMany { retry_after_s: 15 });
        assert_eq!(from("2001:db8::ffff").await, wait);
        assert_eq!(from("2001:db8:0:1::1").await, Ok(()));
        for _ in 0..4 {
            assert_eq!(from("192.0.2.1").await, Ok(()));
        }
        assert_eq!(from("::ffff:192.0.2.1").await, wait);
        for _ in 0..20 {
            assert_eq!(limits.address(Peer(None)).await, Ok(()));
        }
        for _ in 0..2 {
            assert_eq!(limits.client("a").await, Ok(()));
        }
        assert!(limits.client("a").await.is_err());
        assert_eq!(limits.client("b").await, Ok(()));
    }
}
