//! Who is at the other end of the connection.

use std::{convert::Infallible, net::IpAddr};

use axum::{extract::FromRequestParts, http::request::Parts};

/// The other end's address; none on a Unix socket. An extractor: the listener puts it into every request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer(pub Option<IpAddr>);

impl Peer {
    /// For an audit record: the address, or `local`.
    #[must_use]
    pub fn text(self) -> String {
        self.0
            .map_or_else(|| "local".to_owned(), |ip| ip.to_canonical().to_string())
    }
}

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().copied().unwrap_or_default())
    }
}
