//! Checks tokens that this service signed.

use std::sync::{Arc, Mutex, PoisonError};

use writ_core::token::{Accepted, KeySet, KeySetError, TokenError, Verifier};

/// Tokens whose signatures are remembered, over all shards.
const REMEMBERED: usize = 16 * 1024;
/// Checking a signature takes as long as a hundred look-ups: who does should not hold up everybody.
const SHARDS: usize = 8;
/// The clock that signs is the clock that checks.
const SKEW_S: u64 = 0;

/// The verifier, shared between threads.
#[derive(Debug)]
pub struct TokenVerifier {
    shards: Vec<Mutex<Verifier>>,
}

impl TokenVerifier {
    /// Trusts the published keys for tokens of this issuer.
    ///
    /// # Errors
    /// When the keys are none that tokens can be checked with.
    pub fn new(issuer: &str, jwks: &serde_json::Value) -> Result<Self, KeySetError> {
        let shard = || {
            let mut verifier = Verifier::new(SKEW_S, REMEMBERED / SHARDS);
            verifier.trust(issuer, KeySet::from_jwks(jwks)?, &["at+jwt"]);
            Ok(Mutex::new(verifier))
        };
        Ok(Self {
            shards: (0..SHARDS).map(|_| shard()).collect::<Result<_, _>>()?,
        })
    }

    /// Trusts these keys from now on, in place of those before.
    ///
    /// # Errors
    /// When they are none that tokens can be checked with; those before stay trusted then.
    pub fn trust(&self, issuer: &str, jwks: &serde_json::Value) -> Result<(), KeySetError> {
        for shard in &self.shards {
            let keys = KeySet::from_jwks(jwks)?;
            shard
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .trust(issuer, keys, &["at+jwt"]);
        }
        Ok(())
    }

    /// Checks form, type, algorithm, issuer, key, time and signature of a token at `now` (seconds since the epoch).
    ///
    /// # Errors
    /// Why the token is not accepted.
    pub fn verify(&self, token: &str, now: u64) -> Result<Arc<Accepted>, TokenError> {
        // A signature's last bytes are as good as random.
        let shard = token
            .bytes()
            .rev()
            .take(4)
            .fold(0, |n: usize, b| n.wrapping_mul(31).wrapping_add(b.into()));
        let Some(shard) = self.shards.get(shard % SHARDS) else {
            return Err(TokenError::Signature);
        };
        shard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .verify(token, now)
    }
}
