//! Client assertions: a client proves who it is with its private key (RFC 7523 section 3, with the audience rule of
//! its revision: our issuer identifier and nothing else).
//!
//! The header is judged before any key is touched: one of three algorithms, matched to the key's type, and no member
//! that would let the assertion bring its own key or rules.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use jwt_simple::prelude::{
    ECDSAP256PublicKeyLike as _, ES256PublicKey, Ed25519PublicKey, EdDSAPublicKeyLike as _,
    NoCustomClaims, RS256PublicKey, RSAPublicKeyLike as _, UnixTimeStamp, VerificationOptions,
};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::strict_json;
use crate::{clock::unix, keys::Algorithm};

/// The value of `client_assertion_type` (RFC 7523 section 2.2).
pub const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

const MAX_BYTES: usize = 8 * 1024;
const MAX_JTI_BYTES: usize = 256;
const MAX_KEYS: usize = 16;
/// How far ahead `exp` may lie: an assertion is made for one request.
const MAX_LIFE_S: u64 = 300;
/// What clocks may differ by.
const SKEW_S: u64 = 5;

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
    for (index, jwk) in keys.iter().enumerate() {
        if Algorithm::ALL
            .into_iter()
            .all(|a| PublicKey::read(a, jwk).is_none())
        {
            return Err(JwksError(format!(
                "key {index} is no public key for EdDSA (Ed25519), ES256 (P-256) or RS256 (2048 to 4096 bits)"
            )));
        }
    }
    Ok(())
}

/// The `client_id` an assertion claims to be of, to look up the keys with. Proves nothing.
#[must_use]
pub fn claimed_client(assertion: &str) -> Option<String> {
    let claims = part(assertion, 1)?;
    Some(claims.get("sub")?.as_str()?.to_owned())
}

/// Verifies an assertion of the client `client_id`, whose registered keys are `jwks`.
///
/// # Errors
/// See [`AssertionError`].
pub fn verify(
    assertion: &str,
    client_id: &str,
    jwks: &Value,
    issuer: &str,
    now: Timestamp,
) -> Result<VerifiedAssertion, AssertionError> {
    let header = part(assertion, 0).ok_or(AssertionError::NotAJwt)?;
    let claims = part(assertion, 1).ok_or(AssertionError::NotAJwt)?;
    let (algorithm, kid) = check_header(&header)?;

    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(client_id) || text("sub") != Some(client_id) {
        return Err(AssertionError::Subject);
    }
    if !is_sole_audience(claims.get("aud"), issuer) {
        return Err(AssertionError::Audience);
    }
    let expires = check_time(&claims, unix(now))?;
    let jti = text("jti")
        .filter(|jti| (1..=MAX_JTI_BYTES).contains(&jti.len()))
        .ok_or(AssertionError::Jti)?;

    let verified = keys_of(jwks)
        .iter()
        .take(MAX_KEYS)
        .filter(|jwk| kid.is_none() || jwk.get("kid").and_then(Value::as_str) == kid)
        .filter_map(|jwk| PublicKey::read(algorithm, jwk))
        .any(|key| key.verifies(assertion, now));
    if !verified {
        return Err(AssertionError::Signature);
    }
    Ok(VerifiedAssertion {
        digest: digest(client_id, jti),
        expires_at: now
            .checked_add(SignedDuration::from_secs(
                i64::try_from(expires).unwrap_or(0),
            ))
            .map_err(|_| AssertionError::Time)?,
    })
}

/// A part of a compact JWS as an object without repeated names; `None` unless there are exactly three parts.
fn part(assertion: &str, index: usize) -> Option<Map<String, Value>> {
    if assertion.len() > MAX_BYTES || assertion.split('.').count() != 3 {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD
        .decode(assertion.split('.').nth(index)?)
        .ok()?;
    strict_json::object(&bytes)
}

fn check_header(header: &Map<String, Value>) -> Result<(Algorithm, Option<&str>), AssertionError> {
    let algorithm = header
        .get("alg")
        .and_then(Value::as_str)
        .and_then(Algorithm::from_name)
        .ok_or(AssertionError::Algorithm)?;
    if header
        .keys()
        .any(|name| !matches!(name.as_str(), "alg" | "kid" | "typ"))
    {
        return Err(AssertionError::Header);
    }
    let kid = match header.get("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid.as_str()),
        Some(_) => return Err(AssertionError::Header),
    };
    match header.get("typ").map(Value::as_str) {
        None | Some(Some("JWT" | "jwt" | "client-authentication+jwt")) => Ok((algorithm, kid)),
        // Another kind of JWT of this client, such as a DPoP proof, must not pass for an assertion.
        Some(_) => Err(AssertionError::Header),
    }
}

fn is_sole_audience(aud: Option<&Value>, issuer: &str) -> bool {
    match aud {
        Some(Value::String(aud)) => aud == issuer,
        Some(Value::Array(auds)) => {
            matches!(auds.as_slice(), [Value::String(aud)] if aud == issuer)
        }
        _ => false,
    }
}

/// Seconds from now after which nothing would accept the assertion any more.
fn check_time(claims: &Map<String, Value>, now: u64) -> Result<u64, AssertionError> {
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        // RFC 7519 section 2 allows a fraction of a second.
        Some(value) => value
            .as_u64()
            .or_else(|| {
                value
                    .as_f64()
                    .filter(|f| *f >= 0.0 && *f < 1e15)
                    .map(|f| f as u64)
            })
            .map(Some)
            .ok_or(AssertionError::Time),
    };
    let exp = time("exp")?.ok_or(AssertionError::Time)?;
    let dead_at = exp.saturating_add(SKEW_S);
    let soon = now.saturating_add(SKEW_S);
    let started = time("nbf")?.unwrap_or(0).max(time("iat")?.unwrap_or(0)) <= soon;
    if dead_at <= now || exp > soon.saturating_add(MAX_LIFE_S) || !started {
        return Err(AssertionError::Time);
    }
    Ok(dead_at.saturating_sub(now))
}

fn keys_of(jwks: &Value) -> &[Value] {
    jwks.get("keys")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn digest(client_id: &str, jti: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    // An id has no zero byte in it, so no two pairs give the same text.
    hash.update(client_id.as_bytes());
    hash.update([0]);
    hash.update(jti.as_bytes());
    hash.finalize().into()
}

/// A registered public key, read as one of the algorithm it is to be used with and of no other.
enum PublicKey {
    EdDsa(Ed25519PublicKey),
    Es256(ES256PublicKey),
    Rs256(Box<RS256PublicKey>),
}

impl PublicKey {
    fn read(algorithm: Algorithm, jwk: &Value) -> Option<Self> {
        let jwk = jwk.to_string();
        Some(match algorithm {
            Algorithm::EdDsa => Self::EdDsa(Ed25519PublicKey::from_jwk(&jwk).ok()?),
            Algorithm::Es256 => Self::Es256(ES256PublicKey::from_jwk(&jwk).ok()?),
            Algorithm::Rs256 => Self::Rs256(Box::new(RS256PublicKey::from_jwk(&jwk).ok()?)),
        })
    }

    fn verifies(&self, assertion: &str, now: Timestamp) -> bool {
        let options = VerificationOptions {
            artificial_time: Some(UnixTimeStamp::from_secs(unix(now))),
            time_tolerance: Some(jwt_simple::prelude::Duration::from_secs(SKEW_S)),
            max_token_length: Some(MAX_BYTES),
            ..VerificationOptions::default()
        };
        match self {
            Self::EdDsa(key) => key
                .verify_token::<NoCustomClaims>(assertion, Some(options))
                .is_ok(),
            Self::Es256(key) => key
                .verify_token::<NoCustomClaims>(assertion, Some(options))
                .is_ok(),
            Self::Rs256(key) => key
                .verify_token::<NoCustomClaims>(assertion, Some(options))
                .is_ok(),
        }
    }
}

#[cfg(test)]
mod tests;
