//! JWTs that somebody else signs: a client, a workload's platform, an identity provider.
//!
//! The header is judged before any key is touched: one of three algorithms, matched to the key's type, and no member
//! that would let the JWT bring its own key or rules. Whose keys it must verify with is never the JWT's to say.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jwt_simple::prelude::{
    ECDSAP256PublicKeyLike as _, ES256PublicKey, Ed25519PublicKey, EdDSAPublicKeyLike as _,
    NoCustomClaims, RS256PublicKey, RSAPublicKeyLike as _, UnixTimeStamp, VerificationOptions,
};
use serde_json::{Map, Value};

use super::{strict_json, weak_keys};
use crate::{clock::unix, keys::Algorithm};

/// The longest JWT that is read.
pub(super) const MAX_BYTES: usize = 8 * 1024;
/// More keys of one owner than this are not tried.
pub(super) const MAX_KEYS: usize = 16;
/// What clocks may differ by.
pub(super) const SKEW_S: u64 = 5;

/// Why a text is not looked at as a signed JWT. Reads on from what the JWT is: "the client assertion …".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// RFC 7515 section 7.1.
    #[error("is not a signed JWT in compact form, or is too long")]
    NotAJwt,
    /// RFC 8725 section 3.1.
    #[error("must be signed with EdDSA, ES256 or RS256")]
    Algorithm,
    /// RFC 8725 sections 3.9 and 3.11: it brings its own key or rules.
    #[error("may have alg, kid and typ in its header and nothing else")]
    Header,
}

/// A JWT whose header is acceptable. Nothing it says is proved before [`Jws::verifies_with`].
#[derive(Debug)]
pub(super) struct Jws<'a> {
    text: &'a str,
    algorithm: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
    claims: Map<String, Value>,
}

impl<'a> Jws<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, JwsError> {
        let header = part(text, 0).ok_or(JwsError::NotAJwt)?;
        let claims = part(text, 1).ok_or(JwsError::NotAJwt)?;
        let algorithm = header
            .get("alg")
            .and_then(Value::as_str)
            .and_then(algorithm)
            .ok_or(JwsError::Algorithm)?;
        if header
            .keys()
            .any(|name| !matches!(name.as_str(), "alg" | "kid" | "typ"))
        {
            return Err(JwsError::Header);
        }
        let member = |name: &str| match header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(JwsError::Header),
        };
        Ok(Self {
            text,
            algorithm,
            kid: member("kid")?,
            typ: member("typ")?,
            claims,
        })
    }

    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    pub(super) fn typ(&self) -> Option<&str> {
        self.typ.as_deref()
    }

    pub(super) fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    pub(super) fn claim(&self, name: &str) -> Option<&Value> {
        self.claims.get(name)
    }

    /// A claim that is a string.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.claim(name).and_then(Value::as_str)
    }

    /// Whether `aud` is this issuer and nobody else: a JWT that others take too could be theirs, passed on.
    pub(super) fn is_only_for(&self, issuer: &str) -> bool {
        match self.claim("aud") {
            Some(Value::String(aud)) => aud == issuer,
            Some(Value::Array(auds)) => {
                matches!(auds.as_slice(), [Value::String(aud)] if aud == issuer)
            }
            _ => false,
        }
    }

    /// The second since the epoch from which on nothing accepts the JWT any more; `None` when that has come, when it
    /// does not say, when it is not valid yet, or when it lives for more than `longest` seconds from now.
    pub(super) fn dead_at(&self, now: u64, longest: u64) -> Option<u64> {
        let exp = self.time("exp").ok()??;
        let dead_at = exp.saturating_add(SKEW_S);
        let soon = now.saturating_add(SKEW_S);
        let started = self.time("nbf").ok()?.unwrap_or(0) <= soon
            && self.time("iat").ok()?.unwrap_or(0) <= soon;
        let alive = dead_at > now && exp <= soon.saturating_add(longest) && started;
        alive.then_some(dead_at)
    }

    /// A NumericDate; RFC 7519 section 2 allows a fraction of a second.
    fn time(&self, name: &str) -> Result<Option<u64>, NotATime> {
        let Some(value) = self.claim(name) else {
            return Ok(None);
        };
        value
            .as_u64()
            .or_else(|| {
                value
                    .as_f64()
                    .filter(|f| *f >= 0.0 && *f < 1e15)
                    .map(|f| f as u64)
            })
            .map(Some)
            .ok_or(NotATime)
    }

    /// Whether one of these JWKs signed it: the one of its `kid`, or any where it names none.
    pub(super) fn verifies_with(&self, keys: &[Value], now: Timestamp) -> bool {
        let kid = self.kid();
        keys.iter()
            .filter(|jwk| kid.is_none() || jwk.get("kid").and_then(Value::as_str) == kid)
            .take(MAX_KEYS)
            .filter_map(|jwk| PublicKey::read(self.algorithm, jwk))
            .any(|key| key.verifies(self.text, now))
    }
}

/// What an `alg` means. RFC 9864 calls EdDSA by its curve, and there is only the one here.
fn algorithm(alg: &str) -> Option<Algorithm> {
    match alg {
        "Ed25519" => Some(Algorithm::EdDsa),
        alg => Algorithm::from_name(alg),
    }
}

struct NotATime;

/// A string claim of a JWT that nothing is known of yet, to find out whose keys it must verify with. Proves nothing.
pub(super) fn claimed(text: &str, name: &str) -> Option<String> {
    let claims = part(text, 1)?;
    Some(claims.get(name)?.as_str()?.to_owned())
}

/// A part of a compact JWS as an object without repeated names; `None` unless there are exactly three parts.
fn part(text: &str, index: usize) -> Option<Map<String, Value>> {
    if text.len() > MAX_BYTES || text.split('.').count() != 3 {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(text.split('.').nth(index)?).ok()?;
    strict_json::object(&bytes)
}

/// The keys of a JWK set (RFC 7517 section 5).
pub(super) fn keys_of(jwks: &Value) -> &[Value] {
    jwks.get("keys")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Whether a JWK is a public key for one of the algorithms.
pub(crate) fn is_public_key(jwk: &Value) -> bool {
    Algorithm::ALL
        .into_iter()
        .any(|algorithm| PublicKey::read(algorithm, jwk).is_some())
}

/// A public key, read as one of the algorithm it is to be used with and of no other.
enum PublicKey {
    EdDsa(Ed25519PublicKey),
    Es256(ES256PublicKey),
    Rs256(Box<RS256PublicKey>),
}

impl PublicKey {
    fn read(algorithm: Algorithm, jwk: &Value) -> Option<Self> {
        if weak_keys::is_roca(jwk) {
            return None;
        }
        let jwk = jwk.to_string();
        Some(match algorithm {
            Algorithm::EdDsa => Self::EdDsa(Ed25519PublicKey::from_jwk(&jwk).ok()?),
            Algorithm::Es256 => Self::Es256(ES256PublicKey::from_jwk(&jwk).ok()?),
            Algorithm::Rs256 => Self::Rs256(Box::new(RS256PublicKey::from_jwk(&jwk).ok()?)),
        })
    }

    fn verifies(&self, text: &str, now: Timestamp) -> bool {
        let options = VerificationOptions {
            artificial_time: Some(UnixTimeStamp::from_secs(unix(now))),
            time_tolerance: Some(jwt_simple::prelude::Duration::from_secs(SKEW_S)),
            max_token_length: Some(MAX_BYTES),
            ..VerificationOptions::default()
        };
        match self {
            Self::EdDsa(key) => key
                .verify_token::<NoCustomClaims>(text, Some(options))
                .is_ok(),
            Self::Es256(key) => key
                .verify_token::<NoCustomClaims>(text, Some(options))
                .is_ok(),
            Self::Rs256(key) => key
                .verify_token::<NoCustomClaims>(text, Some(options))
                .is_ok(),
        }
    }
}
