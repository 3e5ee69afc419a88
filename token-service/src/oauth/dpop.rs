//! DPoP (RFC 9449) as the issuer's part: tokens bound to a key that their holder proves at each use.
//!
//! A client sends a proof to the token endpoint and gets a token that is bound to the proof's key. The proof must have a
//! nonce that was given out here minutes ago, so that none can be made ahead of time, and is good once. What a token is
//! bound to is proved again with each message ([`at_exchange`]): the filter looks, and so does this service, so that a
//! gateway's credential and a stolen token together mint nothing.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit as _, Nonce,
    aead::{Aead as _, Payload},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use writ_core::token::dpop::{Expected, Proof, ProofError};

use super::{OAuthError, metadata::Endpoints};
use crate::{
    app::App,
    clock::unix,
    store::{
        StoreError,
        oauth::{Assertion, use_assertion},
    },
};

pub use writ_core::token::dpop::ALGORITHMS;

/// The header with the proof.
pub const PROOF: HeaderName = HeaderName::from_static("dpop");
/// The header with the nonce for the next proof.
const NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
/// How long a nonce is good, in seconds.
const NONCE_LIFE_S: u64 = 300;
/// What clocks may differ by, in seconds.
const SKEW_S: u64 = 5;
/// Bound into every nonce: nothing else sealed with the same key would pass for one.
const NONCE_PURPOSE: &[u8] = b"dpop-nonce";
const SEAL_BYTES: usize = 12;

/// What a token is bound to (RFC 7800 section 3.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// The thumbprint of the key (RFC 9449 section 6.1).
    pub jkt: String,
}

/// Gives out nonces and knows them again, without keeping any (RFC 9449 section 8).
pub struct Nonces(ChaCha20Poly1305);

impl std::fmt::Debug for Nonces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nonces(…)")
    }
}

impl Nonces {
    /// Nonces that everybody with this key knows again.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(ChaCha20Poly1305::new(key.into()))
    }

    /// A nonce that is good for some minutes.
    #[must_use]
    pub fn issue(&self, now: Timestamp) -> String {
        let seal: [u8; SEAL_BYTES] = rand::random();
        let time = unix(now).to_be_bytes();
        let payload = Payload {
            msg: &time,
            aad: NONCE_PURPOSE,
        };
        let mut nonce = seal.to_vec();
        // It fails for gigabytes only.
        nonce.extend(
            self.0
                .encrypt(&Nonce::from(seal), payload)
                .unwrap_or_default(),
        );
        URL_SAFE_NO_PAD.encode(nonce)
    }

    /// Whether this is a nonce of ours that is still good.
    #[must_use]
    pub fn is_fresh(&self, nonce: &str, now: Timestamp) -> bool {
        let issued = || {
            let bytes = URL_SAFE_NO_PAD.decode(nonce).ok()?;
            let (seal, sealed) = bytes.split_first_chunk::<SEAL_BYTES>()?;
            let payload = Payload {
                msg: sealed,
                aad: NONCE_PURPOSE,
            };
            let time = self.0.decrypt(&Nonce::from(*seal), payload).ok()?;
            Some(u64::from_be_bytes(time.try_into().ok()?))
        };
        issued().is_some_and(|at| {
            let now = unix(now);
            at <= now && now.saturating_sub(at) < NONCE_LIFE_S
        })
    }
}

/// The nonce for the next proof of a client that uses DPoP.
#[must_use]
pub fn next_nonce(app: &App, headers: &HeaderMap) -> Option<(HeaderName, HeaderValue)> {
    headers.get(PROOF)?;
    let nonce = app.nonces.issue(app.clock.now());
    Some((NONCE, HeaderValue::try_from(nonce).ok()?))
}

/// The proof of a request to the token endpoint, where it has one. It must still be used up.
///
/// # Errors
/// [`OAuthError::InvalidDpopProof`] and [`OAuthError::UseDpopNonce`].
pub fn at_token_endpoint(app: &App, headers: &HeaderMap) -> Result<Option<Proof>, OAuthError> {
    let mut sent = headers.get_all(PROOF).iter();
    let proof = match (sent.next(), sent.next()) {
        (None, _) => return Ok(None),
        (Some(proof), None) => proof.to_str().map_err(|_| refused(ProofError::Malformed))?,
        // Section 4.3, point 1.
        (Some(_), Some(_)) => return Err(refused(ProofError::Malformed)),
    };
    let now = app.clock.now();
    let url = Endpoints::of(&app.config.issuer).url("/oauth/token");
    let expected = Expected {
        method: "POST",
        url: &url,
        token: None,
        now: unix(now),
        skew: SKEW_S,
    };
    let proof = Proof::check(proof, &expected).map_err(refused)?;
    match &proof.nonce {
        Some(nonce) if app.nonces.is_fresh(nonce, now) => Ok(Some(proof)),
        _ => Err(OAuthError::UseDpopNonce),
    }
}

/// Checks the proof that came with a message to a gateway, by `method` for `resource` on a token that is bound to `key`,
/// and uses it up: of all gateways and their workers, one gets a token for it.
///
/// # Errors
/// [`OAuthError::InvalidGrant`], and when the store fails.
pub async fn at_exchange(
    app: &App,
    key: &str,
    proof: Option<&str>,
    (method, resource, token): (&str, &str, &str),
) -> Result<(), OAuthError> {
    let told = |e: ProofError| OAuthError::InvalidGrant(e.to_string().into());
    let expected = Expected {
        method,
        url: resource,
        token: Some(token),
        now: unix(app.clock.now()),
        skew: SKEW_S,
    };
    let proof = Proof::check_bound(proof, key, &expected).map_err(told)?;
    use_up(app, &proof).await.map_err(|e| match e {
        OAuthError::InvalidDpopProof(why) => OAuthError::InvalidGrant(why),
        other => other,
    })
}

/// Uses up a proof.
///
/// # Errors
/// [`OAuthError::InvalidDpopProof`] when it was used before; when the store fails.
pub async fn use_up(app: &App, proof: &Proof) -> Result<(), OAuthError> {
    let expires = i64::try_from(proof.expires)
        .ok()
        .and_then(|s| Timestamp::from_second(s).ok())
        .ok_or_else(|| refused(ProofError::Time))?;
    let used = async {
        let mut tx = app.store.write().await?;
        let used = use_assertion(tx.conn(), &proof.id, app.clock.now(), expires).await?;
        tx.commit().await?;
        Ok::<_, StoreError>(used)
    };
    match used.await? {
        Assertion::Fresh => Ok(()),
        Assertion::Replayed => Err(refused(ProofError::Replayed)),
    }
}

fn refused(error: ProofError) -> OAuthError {
    OAuthError::InvalidDpopProof(error.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn a_nonce_is_known_again_for_some_minutes_by_whoever_has_the_key() {
        let (one, same, other) = (
            Nonces::new(&[1; 32]),
            Nonces::new(&[1; 32]),
            Nonces::new(&[2; 32]),
        );
        let nonce = one.issue(at(0));
        assert!(one.is_fresh(&nonce, at(0)) && same.is_fresh(&nonce, at(299)));
        assert!(!one.is_fresh(&nonce, at(300)), "too old");
        assert!(!one.is_fresh(&nonce, at(-1)), "from the future");
        assert!(!other.is_fresh(&nonce, at(0)), "another key's");
        for made_up in ["", "x", &"A".repeat(48), &nonce[..47], &format!("{nonce}A")] {
            assert!(!one.is_fresh(made_up, at(0)), "{made_up}");
        }
        assert_ne!(nonce, one.issue(at(0)), "each is another");
    }
}
