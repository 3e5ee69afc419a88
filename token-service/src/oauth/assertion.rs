//! Client assertions: a client proves who it is with its private key (RFC 7523 section 3, with the audience rule of
//! its revision: our issuer identifier and nothing else).

use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::jws::{self, Jws, JwsError, MAX_KEYS, keys_of};
use crate::clock::unix;

/// The value of `client_assertion_type` (RFC 7523 section 2.2).
pub const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

const MAX_JTI_BYTES: usize = 256;
/// How far ahead `exp` may lie: an assertion is good once, and some clients make all of theirs for an hour.
const MAX_LIFE_S: u64 = 3600;

/// Why an assertion is refused. The text is for the client's developer and repeats nothing secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// RFC 7515 section 7.1.
    #[error("the client assertion is not a signed JWT in compact form, or is too long")]
    NotAJwt,
    /// RFC 8725 section 3.1.
    #[error("the client assertion must be signed with EdDSA, ES256 or RS256")]
    Algorithm,
    /// RFC 8725 sections 3.9 and 3.11: the assertion brings its own key or rules.
    #[error("the client assertion's header may hold alg, kid and typ only")]
    Header,
    /// RFC 7523 section 3, point 9.
    #[error(
        "the client assertion's signature does not verify with any registered key of this client"
    )]
    Signature,
    /// RFC 7523 section 3, points 1 and 2.
    #[error("iss and sub of the client assertion must both be the client_id")]
    Subject,
    /// RFC 7523 section 3, point 3.
    #[error("aud of the client assertion must be the issuer identifier and nothing else")]
    Audience,
    /// RFC 7523 section 3, points 4 to 6.
    #[error(
        "the client assertion has expired, is not valid yet, or is made for more than {MAX_LIFE_S} seconds"
    )]
    Time,
    /// RFC 7523 section 3, point 7.
    #[error("the client assertion needs a jti of at most {MAX_JTI_BYTES} bytes")]
    Jti,
    /// RFC 7523 section 3, point 7.
    #[error("the client assertion was used before; make a new one for every request")]
    Replayed,
}

/// Why a JWK set cannot be registered for a client.
#[derive(Debug, thiserror::Error)]
#[error("the JWK set cannot be used: {0}")]
pub struct JwksError(String);

/// An assertion that verified. It must still be used up, or it could be used again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedAssertion {
    /// Names the assertion in the store: a digest over client and `jti`.
    pub digest: [u8; 32],
    /// From then on it is dead by itself.
    pub expires_at: Timestamp,
}

/// Checks the keys that a client is to be registered with: 1 to 16 public keys for EdDSA, ES256 or RS256.
///
/// # Errors
/// Names the first key that is none of these, or private.
pub fn check_jwks(jwks: &Value) -> Result<(), JwksError> {
    let keys = keys_of(jwks);
    if keys.is_empty() || keys.len() > MAX_KEYS {
        return Err(JwksError(format!(
            "it must be {{\"keys\": […]}} with 1 to {MAX_KEYS} keys"
        )));
    }
    match keys.iter().position(|jwk| !jws::is_public_key(jwk)) {
        None => Ok(()),
        Some(index) => Err(JwksError(format!(
            "key {index} is no public key for EdDSA (Ed25519), ES256 (P-256) or RS256 (2048 to 4096 bits)"
        ))),
    }
}

/// The `client_id` an assertion claims to be of, to look up the keys with. Proves nothing.
#[must_use]
pub fn claimed_client(assertion: &str) -> Option<String> {
    jws::claimed(assertion, "sub")
}

/// An assertion that says the right things, if it is the client's: its signature is still to be checked.
#[derive(Debug)]
pub struct Claimed<'a> {
    jws: Jws<'a>,
    digest: [u8; 32],
    expires_at: Timestamp,
}

/// Reads an assertion of the client `client_id`.
///
/// # Errors
/// See [`AssertionError`].
pub fn read<'a>(
    assertion: &'a str,
    client_id: &str,
    issuer: &str,
    now: Timestamp,
) -> Result<Claimed<'a>, AssertionError> {
    let jws = Jws::read(assertion)?;
    if !matches!(
        jws.typ(),
        None | Some("JWT" | "jwt" | "client-authentication+jwt")
    ) {
        // Another kind of JWT of this client, such as a DPoP proof, must not pass for an assertion.
        return Err(AssertionError::Header);
    }
    if jws.text("iss") != Some(client_id) || jws.text("sub") != Some(client_id) {
        return Err(AssertionError::Subject);
    }
    if !jws.is_only_for(issuer) {
        return Err(AssertionError::Audience);
    }
    let expires_at = jws
        .dead_at(unix(now), MAX_LIFE_S)
        .and_then(|dead_at| Timestamp::from_second(i64::try_from(dead_at).ok()?).ok())
        .ok_or(AssertionError::Time)?;
    let jti = jws
        .text("jti")
        .filter(|jti| (1..=MAX_JTI_BYTES).contains(&jti.len()))
        .ok_or(AssertionError::Jti)?;
    Ok(Claimed {
        digest: digest(client_id, jti),
        expires_at,
        jws,
    })
}

impl Claimed<'_> {
    /// The key that signed it, where it says so.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.jws.kid()
    }

    /// Checks the signature with the client's keys.
    ///
    /// # Errors
    /// [`AssertionError::Signature`].
    pub fn verify(
        self,
        keys: &[Value],
        now: Timestamp,
    ) -> Result<VerifiedAssertion, AssertionError> {
        if !self.jws.verifies_with(keys, now) {
            return Err(AssertionError::Signature);
        }
        Ok(VerifiedAssertion {
            digest: self.digest,
            expires_at: self.expires_at,
        })
    }
}

impl From<JwsError> for AssertionError {
    fn from(error: JwsError) -> Self {
        match error {
            JwsError::NotAJwt => Self::NotAJwt,
            JwsError::Algorithm => Self::Algorithm,
            JwsError::Header => Self::Header,
        }
    }
}

fn digest(client_id: &str, jti: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    // An id has no zero byte in it, so no two pairs give the same text.
    hash.update(client_id.as_bytes());
    hash.update([0]);
    hash.update(jti.as_bytes());
    hash.finalize().into()
}

#[cfg(test)]
mod tests;
