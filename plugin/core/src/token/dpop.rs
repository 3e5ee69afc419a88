//! DPoP proofs (RFC 9449): whoever presents a token that is bound to a key shows, request by request, that they hold it.
//!
//! This is the only place where a key in a JOSE header is used: a proof shows that its maker holds exactly that key, and
//! says nothing about who they are. The token says which key it must be.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Uri;
use jwt_simple::prelude::{ECDSAP256PublicKeyLike as _, ES256PublicKey};
use p256::ecdsa::{self, signature::Verifier as _};
use sha2::{Digest as _, Sha256};
use writ_policy::{Object, Value};

use super::ed25519::Ed25519;
use crate::message::parse_strict;

/// The algorithms that proofs may be signed with, as metadata and challenges name them.
pub const ALGORITHMS: [&str; 2] = ["ES256", "EdDSA"];

/// How long after it was made a proof is taken, in seconds.
pub const LIFE_S: u64 = 60;

/// The longest proof that is looked at, in bytes.
const MAX_PROOF: usize = 4 * 1024;

/// The longest `jti` and `nonce`, in bytes.
const MAX_ID: usize = 256;

/// Why a proof is not accepted. The display form is for the `error_description` of RFC 9449 section 7.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Section 7.1: a bound token comes with a proof.
    #[error("the token is bound to a key: send a proof of it in the DPoP header")]
    Missing,
    /// Section 4.3, points 1 and 2.
    #[error("the DPoP proof is not one signed JWT in compact form, or is too long")]
    Malformed,
    /// Section 4.3, point 4.
    #[error("the DPoP proof's typ must be dpop+jwt")]
    Type,
    /// Section 4.3, point 5.
    #[error("the DPoP proof must be signed with ES256 or EdDSA")]
    Algorithm,
    /// Section 4.3, points 5 to 7.
    #[error(
        "the DPoP proof must bring its public key as jwk, of the kind that alg says and without private parts, and no other key"
    )]
    Key,
    /// Section 4.3, point 3.
    #[error("the DPoP proof needs jti, htm, htu and iat")]
    Incomplete,
    /// Section 4.3, point 8.
    #[error("htm of the DPoP proof is not the method of this request")]
    Method,
    /// Section 4.3, point 9.
    #[error("htu of the DPoP proof is not the URL of this request")]
    Url,
    /// Section 4.3, point 11.
    #[error(
        "the DPoP proof is too old or from the future: make one for each request, and check the clock"
    )]
    Time,
    /// Section 4.3, point 12.
    #[error("ath of the DPoP proof is not the hash of this access token")]
    Token,
    /// Section 4.3, point 6.
    #[error("the DPoP proof's signature is wrong")]
    Signature,
    /// Section 4.3, point 12.
    #[error("the DPoP proof is of another key than the one that the token is bound to")]
    OtherKey,
    /// Section 11.1.
    #[error("the DPoP proof was used before: make one for each request")]
    Replayed,
}

/// What a proof has to be for.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The HTTP method.
    pub method: &'a str,
    /// The URL; query and fragment do not matter.
    pub url: &'a str,
    /// The token that is presented with it, at a resource server.
    pub token: Option<&'a str>,
    /// Seconds since 1970.
    pub now: u64,
    /// What clocks may differ by, in seconds.
    pub skew: u64,
}

/// A proof that is good for the request at hand, if it has not been used before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The SHA-256 thumbprint of its key (RFC 7638), base64url: the `jkt` of tokens bound to it.
    pub thumbprint: String,
    /// Names the proof among those of all keys: a digest over key and `jti`.
    pub id: [u8; 32],
    /// When nothing takes it any more, in seconds since 1970.
    pub expires: u64,
    /// `nonce`, where it has one.
    pub nonce: Option<String>,
}

impl Proof {
    /// Checks the proof that comes with a token bound to `thumbprint`, all but whether it was used before.
    ///
    /// # Errors
    /// See [`ProofError`].
    pub fn check_bound(
        proof: Option<&str>,
        thumbprint: &str,
        expected: &Expected<'_>,
    ) -> Result<Self, ProofError> {
        let proof = Self::check(proof.ok_or(ProofError::Missing)?, expected)?;
        if proof.thumbprint == thumbprint {
            Ok(proof)
        } else {
            Err(ProofError::OtherKey)
        }
    }

    /// Checks a proof (RFC 9449 section 4.3), all but its nonce and whether it was used before.
    ///
    /// # Errors
    /// See [`ProofError`].
    pub fn check(proof: &str, expected: &Expected<'_>) -> Result<Self, ProofError> {
        if proof.len() > MAX_PROOF {
            return Err(ProofError::Malformed);
        }
        let (input, signature) = proof.rsplit_once('.').ok_or(ProofError::Malformed)?;
        let (header, claims) = input.split_once('.').ok_or(ProofError::Malformed)?;
        let (header, claims) = (object(header)?, object(claims)?);
        let header = header.as_object().map_err(|_| ProofError::Malformed)?;
        let claims = claims.as_object().map_err(|_| ProofError::Malformed)?;
        let key = Key::read(header)?;

        let text = |name| match get(claims, name) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text.as_ref()),
            _ => Err(ProofError::Incomplete),
        };
        let id = text("jti")?;
        if id.len() > MAX_ID {
            return Err(ProofError::Incomplete);
        }
        if text("htm")? != expected.method {
            return Err(ProofError::Method);
        }
        let same = match (Target::of(text("htu")?), Target::of(expected.url)) {
            (Some(named), Some(real)) => named == real,
            _ => false,
        };
        if !same {
            return Err(ProofError::Url);
        }
        let made = match get(claims, "iat") {
            Some(Value::Number(number)) => number.floor().as_u64().ok_or(ProofError::Time)?,
            _ => return Err(ProofError::Incomplete),
        };
        let expires = made.saturating_add(LIFE_S).saturating_add(expected.skew);
        if expires <= expected.now || made > expected.now.saturating_add(expected.skew) {
            return Err(ProofError::Time);
        }
        if let Some(token) = expected.token {
            let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(token.as_bytes()));
            if text("ath").ok() != Some(hash.as_str()) {
                return Err(ProofError::Token);
            }
        }
        let nonce = match get(claims, "nonce") {
            None => None,
            Some(Value::String(nonce)) if nonce.len() <= MAX_ID => Some(nonce.to_string()),
            Some(_) => return Err(ProofError::Incomplete),
        };
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| ProofError::Malformed)?;
        if !key.signed(input.as_bytes(), &signature) {
            return Err(ProofError::Signature);
        }
        let thumbprint = key.thumbprint();
        Ok(Self {
            id: digest(&thumbprint, id),
            thumbprint,
            expires,
            nonce,
        })
    }
}

fn object(part: &str) -> Result<Value, ProofError> {
    let bytes = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| ProofError::Malformed)?;
    parse_strict(&bytes).map_err(|_| ProofError::Malformed)
}

fn get<'a>(object: &'a Object, name: &str) -> Option<&'a Value> {
    object.get(&Value::from(name))
}

/// A thumbprint has a fixed length, so no two pairs give the same text.
fn digest(thumbprint: &str, jti: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"dpop");
    hash.update(thumbprint.as_bytes());
    hash.update(jti.as_bytes());
    hash.finalize().into()
}

/// The key that a proof brings.
enum Key {
    Es256(ES256PublicKey),
    EdDsa(Ed25519),
}

impl Key {
    fn read(header: &Object) -> Result<Self, ProofError> {
        let known = |name: &Value| matches!(name, Value::String(name) if matches!(name.as_ref(), "typ" | "alg" | "jwk" | "kid"));
        if !header.keys().all(known) {
            return Err(ProofError::Key);
        }
        let text = |name| match get(header, name) {
            Some(Value::String(text)) => Some(text.as_ref()),
            _ => None,
        };
        if text("typ") != Some("dpop+jwt") {
            return Err(ProofError::Type);
        }
        let jwk = get(header, "jwk").ok_or(ProofError::Key)?;
        let jwk = serde_json::to_string(jwk).map_err(|_| ProofError::Key)?;
        // Both refuse a key with private parts, and one that says that it is for something else.
        match text("alg") {
            Some("ES256") => ES256PublicKey::from_jwk(&jwk).map(Self::Es256),
            Some("EdDSA" | "Ed25519") => Ed25519::from_jwk(&jwk).map(Self::EdDsa),
            _ => return Err(ProofError::Algorithm),
        }
        .map_err(|_| ProofError::Key)
    }

    fn thumbprint(&self) -> String {
        match self {
            Self::Es256(key) => key.jwk_thumbprint(),
            Self::EdDsa(key) => key.thumbprint().to_owned(),
        }
    }

    /// The library's own check of a JWT reads the header, and takes no key in it.
    fn signed(&self, input: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Es256(key) => ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.public_key().as_ref().verify(input, &signature).is_ok()),
            Self::EdDsa(key) => key.signed(input, signature),
        }
    }
}

/// A URL without query and fragment, written one way (RFC 9449 section 4.3, point 9; RFC 3986 section 6.2).
#[derive(Debug, PartialEq, Eq)]
struct Target {
    scheme: String,
    host: String,
    port: Option<u16>,
    path: String,
}

impl Target {
    fn of(url: &str) -> Option<Self> {
        let url = url.split('#').next().unwrap_or_default();
        let url: Uri = url.parse().ok()?;
        let authority = url.authority()?;
        if authority.as_str().contains('@') {
            return None;
        }
        let scheme = url.scheme_str()?.to_ascii_lowercase();
        let usual = match scheme.as_str() {
            "https" => Some(443),
            "http" => Some(80),
            _ => None,
        };
        Some(Self {
            scheme,
            host: authority.host().to_ascii_lowercase(),
            port: authority.port_u16().or(usual),
            path: url.path().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests;
