//! Private keys at rest: XChaCha20-Poly1305 under a key that lies somewhere else.

use std::{fmt, path::Path, sync::Arc};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use zeroize::Zeroizing;

use super::{Algorithm, KeyError};
use crate::private_file;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// What signing keys are encrypted with.
#[derive(Clone)]
pub struct EncryptionKey {
    key: Arc<Zeroizing<[u8; KEY_BYTES]>>,
    origin: String,
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptionKey({}, …)", self.origin)
    }
}

/// A text that is no encryption key.
#[derive(Debug, thiserror::Error)]
#[error(
    "holds no encryption key: it must be the base64 of 32 bytes, as `writ keys generate-encryption-key` prints it"
)]
pub struct NotAKey;

impl EncryptionKey {
    /// Reads a key in base64; `origin` says where it comes from, in messages.
    ///
    /// # Errors
    /// When it is not 32 bytes in base64.
    pub fn parse(text: &str, origin: impl Into<String>) -> Result<Self, NotAKey> {
        let text = text.trim();
        let bytes = [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD]
            .iter()
            .find_map(|engine| engine.decode(text).ok().map(Zeroizing::new))
            .ok_or(NotAKey)?;
        let key = <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).map_err(|_| NotAKey)?;
        Ok(Self::of(key, origin))
    }

    /// A key that this service has made itself.
    #[must_use]
    pub(crate) fn of(key: [u8; KEY_BYTES], origin: impl Into<String>) -> Self {
        Self {
            key: Arc::new(Zeroizing::new(key)),
            origin: origin.into(),
        }
    }

    /// The text of a key file, which must be nobody else's to read.
    ///
    /// # Errors
    /// When there is none, it cannot be read, or others can read it.
    pub fn read(path: &Path) -> Result<Zeroizing<String>, KeyError> {
        Ok(private_file::read(path)?)
    }

    /// Where it comes from.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// A new key, in base64.
    #[must_use]
    pub fn generate() -> Zeroizing<String> {
        let bytes: Zeroizing<[u8; KEY_BYTES]> = Zeroizing::new(rand::random());
        Zeroizing::new(STANDARD.encode(bytes.as_slice()))
    }

    /// Encrypts the private half of the key `kid`. The result opens for this `kid` and algorithm only.
    pub(super) fn seal_signing(&self, alg: Algorithm, kid: &str, pem: &str) -> Option<Vec<u8>> {
        self.seal(&bound_to(alg, kid), pem.as_bytes())
    }

    /// Decrypts what [`Self::seal_signing`] made of this key.
    pub(super) fn open_signing(
        &self,
        alg: Algorithm,
        kid: &str,
        sealed: &[u8],
    ) -> Option<Zeroizing<String>> {
        let pem = self.open(&bound_to(alg, kid), sealed)?;
        std::str::from_utf8(&pem)
            .ok()
            .map(|pem| Zeroizing::new(pem.to_owned()))
    }

    /// Encrypts a secret. The result opens for what it is bound to only.
    pub(crate) fn seal(&self, bound_to: &[u8], secret: &[u8]) -> Option<Vec<u8>> {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload {
            msg: secret,
            aad: bound_to,
        };
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload).ok()?;
        Some([nonce.as_slice(), &sealed].concat())
    }

    /// Decrypts what [`Self::seal`] made.
    pub(crate) fn open(&self, bound_to: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_BYTES)?;
        let nonce = XNonce::from(<[u8; NONCE_BYTES]>::try_from(nonce).ok()?);
        let payload = Payload {
            msg: sealed,
            aad: bound_to,
        };
        self.cipher()
            .decrypt(&nonce, payload)
            .ok()
            .map(Zeroizing::new)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        let key: &[u8; KEY_BYTES] = &self.key;
        XChaCha20Poly1305::new(key.into())
    }
}

fn bound_to(alg: Algorithm, kid: &str) -> Vec<u8> {
    format!("writ signing key\0{alg}\0{kid}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> EncryptionKey {
        EncryptionKey::parse(&EncryptionKey::generate(), "a test").unwrap()
    }

    #[test]
    fn what_is_sealed_opens_for_the_same_key_and_name_only() {
        let (one, other) = (key(), key());
        let sealed = one
            .seal_signing(Algorithm::EdDsa, "kid", "the private half")
            .unwrap();
        assert!(!sealed.windows(7).any(|w| w == b"private"));
        let open =
            |key: &EncryptionKey, alg, kid, sealed: &[u8]| key.open_signing(alg, kid, sealed);
        let opened = open(&one, Algorithm::EdDsa, "kid", &sealed).unwrap();
        assert_eq!(opened.as_str(), "the private half");
        assert!(open(&other, Algorithm::EdDsa, "kid", &sealed).is_none());
        assert!(open(&one, Algorithm::EdDsa, "dik", &sealed).is_none());
        assert!(open(&one, Algorithm::Es256, "kid", &sealed).is_none());
        let mut changed = sealed.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(open(&one, Algorithm::EdDsa, "kid", &changed).is_none());
        assert!(open(&one, Algorithm::EdDsa, "kid", &sealed[..10]).is_none());
    }

    #[test]
    fn a_key_is_32_bytes_in_any_base64() {
        let bytes = [0xfb_u8; 32];
        for text in [
            STANDARD.encode(bytes),
            URL_SAFE_NO_PAD.encode(bytes),
            format!("{}\n", STANDARD.encode(bytes)),
        ] {
            assert_eq!(**EncryptionKey::parse(&text, "").unwrap().key, bytes);
        }
        for wrong in [
            "",
            "secret",
            &STANDARD.encode([1; 31]),
            &STANDARD.encode([1; 33]),
        ] {
            assert!(EncryptionKey::parse(wrong, "").is_err(), "{wrong}");
        }
    }

    #[test]
    fn its_debug_form_shows_nothing_of_it() {
        let text = EncryptionKey::generate();
        let shown = format!("{:?}", EncryptionKey::parse(&text, "here").unwrap());
        assert_eq!(shown, "EncryptionKey(here, …)");
    }
}
