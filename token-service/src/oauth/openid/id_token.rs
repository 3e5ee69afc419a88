//! The ID token (OpenID Connect Core section 2): says to a client that a user signed in, and is good for nothing else.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use sha2::{Digest as _, Sha256, Sha512};

use super::PersonClaims;
use crate::{
    app::App,
    keys::{Algorithm, SignError},
};

/// The claims of an ID token. Its `typ` keeps it from ever passing for an access token.
#[derive(Clone, Debug, Serialize)]
pub struct IdToken {
    /// Issuer.
    pub iss: String,
    /// The user.
    pub sub: String,
    /// The client.
    pub aud: String,
    /// The client again: it is whom the token was issued to.
    pub azp: String,
    /// Issued at, in seconds since the epoch.
    pub iat: u64,
    /// Expires, in seconds since the epoch.
    pub exp: u64,
    /// When the user signed in.
    pub auth_time: u64,
    /// What the authorization request brought.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// Binds the access token that comes with it (section 3.1.3.6).
    pub at_hash: String,
    /// The session, as clients may know it.
    pub sid: String,
    /// What the user lets the client know.
    #[serde(flatten)]
    pub person: PersonClaims,
}

impl IdToken {
    /// Signs it.
    ///
    /// # Errors
    /// When there is no key to sign with.
    pub fn sign(&self, app: &App) -> Result<String, SignError> {
        app.keys.sign_as("JWT", self)
    }
}

/// `at_hash`: the left half of the access token's digest, by the hash that goes with the signature. For EdDSA that is
/// Ed25519's own, SHA-512.
#[must_use]
pub fn at_hash(algorithm: Algorithm, access_token: &str) -> String {
    let left_half = |digest: &[u8]| {
        let half = digest.split_at_checked(digest.len() / 2);
        URL_SAFE_NO_PAD.encode(half.map_or(digest, |(left, _)| left))
    };
    match algorithm {
        Algorithm::EdDsa => left_half(&Sha512::digest(access_token)),
        Algorithm::Es256 | Algorithm::Rs256 => left_half(&Sha256::digest(access_token)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_access_token_is_bound_by_half_a_digest() {
        // OpenID Connect Core appendix A.3.
        let token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
        assert_eq!(at_hash(Algorithm::Rs256, token), "77QmUPtjPfzWtF2AnpK9RQ");
        assert_eq!(at_hash(Algorithm::EdDsa, token).len(), 43);
    }
}
