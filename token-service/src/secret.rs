//! Random 256-bit secrets and identifiers.
//!
//! A secret is shown once and kept as its SHA-256: with 256 bits of entropy there is nothing to guess, so a
//! slow password hash would cost the hot path and protect nothing. Passwords of people are argon2's, elsewhere.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A secret as the service keeps it: the SHA-256 of its text.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretHash([u8; 32]);

impl std::fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

impl SecretHash {
    /// Hashes a presented or newly made secret.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// Reads a stored hash; `None` where it is not 32 bytes long.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// For storage.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether `presented` is the secret, in constant time.
    #[must_use]
    pub fn verify(&self, presented: &str) -> bool {
        Self::of(presented).0.ct_eq(&self.0).into()
    }
}

/// Makes a secret of 256 random bits: base64url text of 43 characters, wiped from memory when dropped.
#[must_use]
pub fn generate() -> Zeroizing<String> {
    let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(rand::random());
    Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()))
}

/// A new UUIDv7: time-ordered, so that rows and indexes by it grow at their end.
#[must_use]
pub fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_verifies_against_its_own_hash_only() {
        let (one, other) = (generate(), generate());
        assert_eq!(one.len(), 43);
        assert!(SecretHash::of(&one).verify(&one));
        assert!(!SecretHash::of(&one).verify(&other));
    }
}
