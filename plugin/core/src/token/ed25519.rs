//! Signatures of Ed25519 (RFC 8032), of which a guard checks one with every call.
//!
//! jwt-simple reads the key, and ed25519-dalek checks: with the numbers that WebAssembly multiplies at once it takes half the
//! time there.

use std::fmt;

use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use jwt_simple::JWTError;
use jwt_simple::prelude::Ed25519PublicKey;

/// A public key.
pub(crate) struct Ed25519 {
    key: VerifyingKey,
    thumbprint: String,
}

impl Ed25519 {
    /// A key as a JWK has it (RFC 8037 section 2); what is wrong with it, otherwise. A key of small order, for which there are
    /// signatures of any message, is none.
    pub(crate) fn from_jwk(jwk: &str) -> Result<Self, jwt_simple::Error> {
        let read = Ed25519PublicKey::from_jwk(jwk)?;
        let key = VerifyingKey::try_from(read.to_bytes().as_slice())?;
        if key.is_weak() {
            return Err(JWTError::InvalidPublicKey.into());
        }
        Ok(Self {
            key,
            thumbprint: read.jwk_thumbprint(),
        })
    }

    /// The SHA-256 thumbprint of the key (RFC 7638), base64url.
    pub(crate) fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Whether `signature` is this key's for `message`, by the equation without cofactor (RFC 8032 section 5.1.7).
    pub(crate) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify(message, &signature).is_ok())
    }
}

impl fmt::Debug for Ed25519 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ed25519").field(&self.thumbprint).finish()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use jwt_simple::prelude::{Ed25519KeyPair, EdDSAKeyPairLike as _, EdDSAPublicKeyLike as _};
    use serde_json::json;

    use super::*;

    fn key(x: &str) -> Result<Ed25519, jwt_simple::Error> {
        Ed25519::from_jwk(&json!({ "kty": "OKP", "crv": "Ed25519", "x": x }).to_string())
    }

    #[test]
    fn the_example_of_the_standard_is_signed() {
        // RFC 8037, appendices A.2 to A.4.
        let key = key("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        assert_eq!(
            key.thumbprint(),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
        let input = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert!(key.signed(input, &signature));
        assert!(!key.signed(&input[1..], &signature));
        for length in 0..signature.len() {
            assert!(!key.signed(input, &signature[..length]));
        }
    }

    #[test]
    fn it_says_what_another_implementation_says() {
        let pair = Ed25519KeyPair::generate();
        let public = pair.public_key();
        let key = Ed25519::from_jwk(&public.to_jwk()).unwrap();
        let message = b"which of us is right?";
        let good = pair.key_pair().as_ref().sk.sign(message, None);
        assert!(key.signed(message, &*good));
        for bit in 0..good.len() * 8 {
            let mut signature = good.to_vec();
            signature[bit / 8] ^= 1 << (bit % 8);
            let other = signature.as_slice().try_into().is_ok_and(|signature| {
                public
                    .public_key()
                    .as_ref()
                    .verify(message, &signature)
                    .is_ok()
            });
            assert_eq!(key.signed(message, &signature), other, "bit {bit}");
            assert!(!other, "bit {bit}");
        }
    }

    #[test]
    fn a_key_that_signs_everything_is_no_key() {
        // The neutral element: with a signature of (the same, 0) it fits any message by the equation alone.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        assert!(key(&URL_SAFE_NO_PAD.encode(neutral)).is_err());
        // A point of order four.
        assert!(key(&URL_SAFE_NO_PAD.encode([0; 32])).is_err());
    }
}
