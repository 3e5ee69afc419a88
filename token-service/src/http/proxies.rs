//! Where a request came from when reverse proxies stand before the service: the right-most address of
//! `X-Forwarded-For` that no trusted proxy added. From anybody else the header is only a claim, and is not read.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName},
    middleware::Next,
    response::Response,
};

use super::{Peer, network::Network};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Replaces the [`Peer`] of requests that came through one of the trusted proxies.
pub async fn see_through(
    State(trusted): State<Arc<[Network]>>,
    peer: Peer,
    mut request: Request,
    next: Next,
) -> Response {
    let origin = origin(peer, request.headers(), &trusted);
    request.extensions_mut().insert(origin);
    next.run(request).await
}

fn origin(peer: Peer, headers: &HeaderMap, trusted: &[Network]) -> Peer {
    let trusts = |ip: IpAddr| {
        trusted
            .iter()
            .any(|network| network.contains(ip.to_canonical()))
    };
    let Some(mut at) = peer.0.filter(|ip| trusts(*ip)) else {
        return peer;
    };
    let hops: Vec<&str> = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    for hop in hops.iter().rev() {
        let Ok(ip) = hop.trim().parse::<IpAddr>() else {
            break;
        };
        at = ip;
        if !trusts(ip) {
            break;
        }
    }
    Peer(Some(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, forwarded: &[&str]) -> String {
        let trusted: Vec<Network> = vec!["10.0.0.0/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, value.parse().unwrap());
        }
        origin(Peer(Some(peer.parse().unwrap())), &headers, &trusted).text()
    }

    #[test]
    fn only_what_trusted_proxies_add_counts() {
        assert_eq!(seen("192.0.2.1", &["198.51.100.1"]), "192.0.2.1");
        assert_eq!(seen("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(
            seen("10.0.0.1", &["1.1.1.1, 198.51.100.1, 10.0.0.2"]),
            "198.51.100.1"
        );
        assert_eq!(
            seen("10.0.0.1", &["1.1.1.1", "198.51.100.1"]),
            "198.51.100.1"
        );
        assert_eq!(seen("10.0.0.1", &["1.1.1.1, junk"]), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(seen("::ffff:10.0.0.1", &["2001:db8::1"]), "2001:db8::1");
    }
}
