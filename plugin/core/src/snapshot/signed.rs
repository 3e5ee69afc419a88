//! Compact JWS (RFC 7515) by Ed25519 whose header carries the key: good where its thumbprint is the one that is trusted.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::Signer as _;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use crate::token::ed25519::Ed25519;

/// Characters of a thumbprint: base64url of 32 bytes.
const THUMBPRINT: usize = 43;

/// Why something is not taken for signed.
#[derive(Debug, thiserror::Error)]
pub enum SignedError {
    /// It is none, or of another type.
    #[error("it is no {0}")]
    Shape(&'static str),
    /// The key is not the one that is trusted.
    #[error(
        "it is signed with the key {signer}, and {trusted} is trusted: give the filter the key of its token service (`writ snapshot key`)"
    )]
    Stranger {
        /// Whose signature it has.
        signer: String,
        /// Whose it should have.
        trusted: String,
    },
    /// The signature is wrong.
    #[error("its signature is wrong: somebody has changed it on its way")]
    Signature,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    jwk: Jwk,
}

/// A public key (RFC 8037 section 2), with its members in the order of its thumbprint's input.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Jwk {
    crv: String,
    kty: String,
    x: String,
}

/// A key that signs snapshots.
pub struct SnapshotKey {
    key: ed25519_dalek::SigningKey,
    thumbprint: String,
}

impl std::fmt::Debug for SnapshotKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SnapshotKey")
            .field(&self.thumbprint)
            .finish()
    }
}

impl SnapshotKey {
    /// The key of this seed (RFC 8032 section 5.1.5).
    #[must_use]
    pub fn of(seed: &[u8; 32]) -> Self {
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        let public = serde_json::to_vec(&jwk(&key)).unwrap_or_default();
        Self {
            key,
            thumbprint: URL_SAFE_NO_PAD.encode(Sha256::digest(public)),
        }
    }

    /// Its thumbprint (RFC 7638 section 3), by which it is trusted.
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Signs claims.
    ///
    /// # Errors
    /// When they are no JSON.
    pub fn sign<T: Serialize>(&self, typ: &str, claims: &T) -> Result<String, serde_json::Error> {
        let header = Header {
            alg: "EdDSA".to_owned(),
            typ: typ.to_owned(),
            jwk: jwk(&self.key),
        };
        let encode = |json: Vec<u8>| URL_SAFE_NO_PAD.encode(json);
        let input = format!(
            "{}.{}",
            encode(serde_json::to_vec(&header)?),
            encode(serde_json::to_vec(claims)?)
        );
        let signature = self.key.sign(input.as_bytes()).to_bytes();
        Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn jwk(key: &ed25519_dalek::SigningKey) -> Jwk {
    Jwk {
        crv: "Ed25519".to_owned(),
        kty: "OKP".to_owned(),
        x: URL_SAFE_NO_PAD.encode(key.verifying_key().to_bytes()),
    }
}

/// Whether a text may be a thumbprint.
#[must_use]
pub fn is_thumbprint(text: &str) -> bool {
    text.len() == THUMBPRINT && URL_SAFE_NO_PAD.decode(text).is_ok()
}

/// What was signed, as a `typ`, with the key of the thumbprint `trusted`.
///
/// # Errors
/// When it was not.
pub fn open<T: DeserializeOwned>(
    jws: &str,
    typ: &'static str,
    trusted: &str,
) -> Result<T, SignedError> {
    let shape = || SignedError::Shape(typ);
    let (input, signature) = jws.rsplit_once('.').ok_or_else(shape)?;
    let (header, payload) = input.split_once('.').ok_or_else(shape)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| shape());
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| shape())?;
    if header.alg != "EdDSA" || header.typ != typ {
        return Err(shape());
    }
    let key = serde_json::to_string(&header.jwk).map_err(|_| shape())?;
    let key = Ed25519::from_jwk(&key).map_err(|_| shape())?;
    if key.thumbprint() != trusted {
        return Err(SignedError::Stranger {
            signer: key.thumbprint().to_owned(),
            trusted: trusted.to_owned(),
        });
    }
    if !key.signed(input.as_bytes(), &decode(signature)?) {
        return Err(SignedError::Signature);
    }
    serde_json::from_slice(&decode(payload)?).map_err(|_| shape())
}

#[cfg(test)]
mod tests {
    use jwt_simple::prelude::{Ed25519KeyPair, EdDSAPublicKeyLike as _};
    use serde_json::{Value, json};

    use super::*;

    const TYP: &str = "test+jwt";

    #[test]
    fn another_implementation_reads_what_it_signs() {
        let seed = [7; 32];
        let key = SnapshotKey::of(&seed);
        let other =
            Ed25519KeyPair::from_bytes(&[seed, key.key.verifying_key().to_bytes()].concat())
                .unwrap();
        assert_eq!(key.thumbprint(), other.public_key().jwk_thumbprint());
        let jws = key.sign(TYP, &json!({"sub": "it"})).unwrap();
        let (input, signature) = jws.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let signature = signature.as_slice().try_into().unwrap();
        let public = other.public_key();
        public
            .public_key()
            .as_ref()
            .verify(input, &signature)
            .unwrap();
    }

    #[test]
    fn only_what_the_trusted_key_signed_as_this_is_opened() {
        let (key, stranger) = (SnapshotKey::of(&[1; 32]), SnapshotKey::of(&[2; 32]));
        let jws = key.sign(TYP, &json!({"a": 1})).unwrap();
        let opened: Value = open(&jws, TYP, key.thumbprint()).unwrap();
        assert_eq!(opened, json!({"a": 1}));
        let refused = |jws: &str, typ, trusted: &SnapshotKey| {
            open::<Value>(jws, typ, trusted.thumbprint()).unwrap_err()
        };
        assert!(matches!(
            refused(&jws, TYP, &stranger),
            SignedError::Stranger { .. }
        ));
        assert!(matches!(
            refused(&jws, "other+jwt", &key),
            SignedError::Shape(_)
        ));
        let (input, signature) = jws.rsplit_once('.').unwrap();
        let payload = URL_SAFE_NO_PAD.encode(r#"{"a":2}"#);
        let header = input.split_once('.').unwrap().0;
        let changed = format!("{header}.{payload}.{signature}");
        assert!(matches!(
            refused(&changed, TYP, &key),
            SignedError::Signature
        ));
        for broken in ["", "..", "a.b.c", input, &jws[1..], &jws[..jws.len() - 1]] {
            open::<Value>(broken, TYP, key.thumbprint()).unwrap_err();
        }
    }
}
