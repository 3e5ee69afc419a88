//! An issuer's public keys: a JWK set (RFC 7517 section 5).

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::prelude::{
    Duration, ECDSAP256PublicKeyLike, ES256PublicKey, NoCustomClaims, RS256PublicKey,
    RSAPublicKeyLike, VerificationOptions,
};

use super::ed25519::Ed25519;

/// The signature algorithms that are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// `EdDSA` (RFC 8037), or `Ed25519` as RFC 9864 calls it.
    EdDsa,
    Es256,
    Rs256,
}

impl Algorithm {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            "ES256" => Some(Self::Es256),
            "RS256" => Some(Self::Rs256),
            _ => None,
        }
    }
}

/// Why a document is not a usable JWK set.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// No `keys` array.
    #[error("a JWK set needs an array `keys` (RFC 7517 section 5)")]
    Shape,
    /// A key of a kind we use is broken.
    #[error("key {kid:?} of the JWK set is unusable: {problem}")]
    Key {
        /// The key's `kid`.
        kid: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Nothing to verify with.
    #[error("the JWK set has no signature key for EdDSA, ES256 or RS256 with a `kid`")]
    Empty,
    /// Two keys with one name.
    #[error("the JWK set has two keys with the `kid` {0:?}")]
    Duplicate(String),
}

#[derive(Debug)]
enum PublicKey {
    EdDsa(Ed25519),
    Es256(ES256PublicKey),
    Rs256(Box<RS256PublicKey>),
}

/// The signature keys of one issuer, by `kid`.
#[derive(Debug)]
pub struct KeySet(HashMap<String, PublicKey>);

impl KeySet {
    /// Reads a JWK set. Keys for other purposes or algorithms, and keys without `kid`, are passed over
    /// (RFC 7517 section 5).
    pub fn from_jwks(jwks: &serde_json::Value) -> Result<Self, KeySetError> {
        let keys = jwks
            .get("keys")
            .and_then(serde_json::Value::as_array)
            .ok_or(KeySetError::Shape)?;
        let mut set = HashMap::new();
        for jwk in keys {
            let member = |name| jwk.get(name).and_then(serde_json::Value::as_str);
            let Some(kid) = member("kid") else { continue };
            if member("use").is_some_and(|purpose| purpose != "sig") {
                continue;
            }
            let text = jwk.to_string();
            let parsed = match (member("kty"), member("crv"), member("alg")) {
                (Some("OKP"), Some("Ed25519"), None | Some("EdDSA" | "Ed25519")) => {
                    Ed25519::from_jwk(&text).map(PublicKey::EdDsa)
                }
                (Some("EC"), Some("P-256"), None | Some("ES256")) => {
                    ES256PublicKey::from_jwk(&text).map(PublicKey::Es256)
                }
                (Some("RSA"), _, None | Some("RS256")) => {
                    RS256PublicKey::from_jwk(&text).map(|key| PublicKey::Rs256(Box::new(key)))
                }
                _ => continue,
            };
            let key = parsed.map_err(|error| KeySetError::Key {
                kid: kid.to_owned(),
                problem: error.to_string(),
            })?;
            if set.insert(kid.to_owned(), key).is_some() {
                return Err(KeySetError::Duplicate(kid.to_owned()));
            }
        }
        if set.is_empty() {
            Err(KeySetError::Empty)
        } else {
            Ok(Self(set))
        }
    }

    /// Whether there is a key with this name.
    pub(crate) fn contains(&self, key_id: &str) -> bool {
        self.0.contains_key(key_id)
    }

    /// Whether `token` is signed with the key named `key_id` by `algorithm`, at `now` (seconds since 1970). Our caller
    /// checks time itself, on every use; what the library thinks of it here must only not be stricter.
    pub(crate) fn verifies(
        &self,
        token: &str,
        key_id: &str,
        algorithm: Algorithm,
        now: u64,
    ) -> bool {
        let options = VerificationOptions {
            accept_future: true,
            artificial_time: Some(Duration::from_secs(now)),
            time_tolerance: Some(Duration::from_mins(10)),
            ..VerificationOptions::default()
        };
        match (self.0.get(key_id), algorithm) {
            (Some(PublicKey::EdDsa(key)), Algorithm::EdDsa) => {
                token.rsplit_once('.').is_some_and(|(input, signature)| {
                    URL_SAFE_NO_PAD
                        .decode(signature)
                        .is_ok_and(|signature| key.signed(input.as_bytes(), &signature))
                })
            }
            (Some(PublicKey::Es256(key)), Algorithm::Es256) => key
                .verify_token::<NoCustomClaims>(token, Some(options))
                .is_ok(),
            (Some(PublicKey::Rs256(key)), Algorithm::Rs256) => key
                .verify_token::<NoCustomClaims>(token, Some(options))
                .is_ok(),
            _ => false,
        }
    }
}
