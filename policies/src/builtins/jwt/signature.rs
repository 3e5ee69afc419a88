//! Signatures, by the algorithms of RFC 7518 section 3.1 and RFC 8037 section 3.1.

use ed25519_dalek::Verifier as _;
use hmac_sha256::{HMAC, Hash as Sha256};
use hmac_sha512::sha384::{HMAC as HMAC384, Hash as Sha384};
use hmac_sha512::{HMAC as HMAC512, Hash as Sha512};
use rsa::{Pkcs1v15Sign, Pss, RsaPublicKey};

use crate::builtins::crypto;

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// `HS…`: with a shared secret.
    Hmac(Hash),
    /// `RS…`.
    Pkcs1(Hash),
    /// `PS…`.
    Pss(Hash),
    /// `ES256`.
    Es256,
    /// `EdDSA`, with Ed25519.
    EdDsa,
}

/// What is signed of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// A public key.
#[derive(Debug)]
pub(super) enum PublicKey {
    Rsa(Box<RsaPublicKey>),
    P256(Box<p256::ecdsa::VerifyingKey>),
    Ed25519(Box<ed25519_dalek::VerifyingKey>),
    /// Of a kind that nothing here is signed with.
    Other,
}

impl Algorithm {
    /// The algorithm of that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "HS256" => Self::Hmac(Hash::Sha256),
            "HS384" => Self::Hmac(Hash::Sha384),
            "HS512" => Self::Hmac(Hash::Sha512),
            "RS256" => Self::Pkcs1(Hash::Sha256),
            "RS384" => Self::Pkcs1(Hash::Sha384),
            "RS512" => Self::Pkcs1(Hash::Sha512),
            "PS256" => Self::Pss(Hash::Sha256),
            "PS384" => Self::Pss(Hash::Sha384),
            "PS512" => Self::Pss(Hash::Sha512),
            "ES256" => Self::Es256,
            "EdDSA" => Self::EdDsa,
            _ => return None,
        })
    }
}

impl Hash {
    /// Whether `mac` is that of `message` under `secret` (RFC 2104).
    pub(super) fn is_mac(self, message: &str, secret: &str, mac: &[u8]) -> bool {
        match self {
            Self::Sha256 => crypto::equal(&HMAC::mac(message, secret), mac),
            Self::Sha384 => crypto::equal(&HMAC384::mac(message, secret), mac),
            Self::Sha512 => crypto::equal(&HMAC512::mac(message, secret), mac),
        }
    }

    /// RFC 8017 section 8.2.2.
    fn pkcs1(self, key: &RsaPublicKey, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Sha256 => key.verify(
                Pkcs1v15Sign::new::<Sha256>(),
                &Sha256::hash(message),
                signature,
            ),
            Self::Sha384 => key.verify(
                Pkcs1v15Sign::new::<Sha384>(),
                &Sha384::hash(message),
                signature,
            ),
            Self::Sha512 => key.verify(
                Pkcs1v15Sign::new::<Sha512>(),
                &Sha512::hash(message),
                signature,
            ),
        }
        .is_ok()
    }

    /// RFC 8017 section 8.1.2, with a salt as long as the hash (RFC 7518 section 3.5).
    fn pss(self, key: &RsaPublicKey, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Sha256 => key.verify(Pss::new::<Sha256>(), &Sha256::hash(message), signature),
            Self::Sha384 => key.verify(Pss::new::<Sha384>(), &Sha384::hash(message), signature),
            Self::Sha512 => key.verify(Pss::new::<Sha512>(), &Sha512::hash(message), signature),
        }
        .is_ok()
    }
}

impl PublicKey {
    /// Whether signatures by `algorithm` are made with keys of this kind.
    pub(super) fn is_for(&self, algorithm: Algorithm) -> bool {
        matches!(
            (self, algorithm),
            (Self::Rsa(_), Algorithm::Pkcs1(_) | Algorithm::Pss(_))
                | (Self::P256(_), Algorithm::Es256)
                | (Self::Ed25519(_), Algorithm::EdDsa)
        )
    }

    /// Whether `signature` is this key's for `message` by `algorithm`.
    pub(super) fn has_signed(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        match (self, algorithm) {
            (Self::Rsa(key), Algorithm::Pkcs1(hash)) => hash.pkcs1(key, message, signature),
            (Self::Rsa(key), Algorithm::Pss(hash)) => hash.pss(key, message, signature),
            (Self::P256(key), Algorithm::Es256) => p256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            (Self::Ed25519(key), Algorithm::EdDsa) => {
                ed25519_dalek::Signature::from_slice(signature)
                    .is_ok_and(|signature| key.verify(message, &signature).is_ok())
            }
            _ => false,
        }
    }
}
