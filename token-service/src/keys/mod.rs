//! The issuer's signing keys: created on first start, kept in files nobody else can read, published as a JWK set.
//!
//! Reads as: [`Algorithm`] (what may sign), `file` (how a key is kept on disk), `signing` (one parsed key pair),
//! and [`Keys`], which the rest of the service holds. A key is parsed once, at start; signing only signs.

mod algorithm;
mod file;
mod signing;

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

pub use self::algorithm::Algorithm;
use self::signing::SigningKey;

/// Why the service has no usable keys. Each names the file, because a person has to look at it.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file or directory could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it did not work.
        source: std::io::Error,
    },
    /// Others than the owner can get at private keys.
    #[error("{} has mode {mode:04o}, so others can get at the signing keys; run `chmod {wanted:o} {}`", path.display(), path.display())]
    Exposed {
        /// The file or directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode it should have.
        wanted: u32,
    },
    /// A key file does not hold a private key of its algorithm.
    #[error("{} does not hold an unencrypted {algorithm} private key in PKCS #8 PEM; restore it from a backup, or move it away to have a new one made", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The algorithm that its name stands for.
        algorithm: Algorithm,
    },
    /// No key could be generated.
    #[error("cannot generate an {0} key: the system gave no usable randomness")]
    Generate(Algorithm),
}

/// Why a token could not be signed: its claims do not serialise to a JSON object.
#[derive(Debug, thiserror::Error)]
#[error("cannot sign the token: {0}")]
pub struct SignError(String);

/// The keys in use: one that signs, and all that are published.
///
/// Cheap to share behind an `Arc`; nothing in it changes after [`Keys::open`].
#[derive(Debug)]
pub struct Keys {
    signing: SigningKey,
    jwks: Value,
}

impl Keys {
    /// Opens the key directory, which is made when absent, and makes a key for `algorithm` where there is none yet.
    ///
    /// Keys of the other algorithms that lie there stay published, so that tokens signed before the setting
    /// changed are good until they expire.
    ///
    /// # Errors
    /// When a file cannot be read or written, is open to others, or holds no key. Blocking: for start-up only.
    pub fn open(directory: &Path, algorithm: Algorithm) -> Result<Self, KeyError> {
        file::ensure_directory(directory)?;
        let path = file::path(directory, algorithm);
        let signing = match file::read(&path)? {
            Some(pem) => parse(&path, algorithm, &pem)?,
            None => {
                let key = SigningKey::generate(algorithm)?;
                file::create(&path, &key.to_pem()?)?;
                // Two processes may start at once: whoever came first has made the key that both use.
                let pem = file::read(&path)?.ok_or(KeyError::Generate(algorithm))?;
                parse(&path, algorithm, &pem)?
            }
        };
        let mut published = vec![signing.public_jwk()];
        for other in Algorithm::ALL.into_iter().filter(|a| *a != algorithm) {
            let path = file::path(directory, other);
            if let Some(pem) = file::read(&path)? {
                published.push(parse(&path, other, &pem)?.public_jwk());
            }
        }
        Ok(Self {
            signing,
            jwks: json!({ "keys": published }),
        })
    }

    /// Signs claims as an access token (`typ: at+jwt`, RFC 9068 section 2.1).
    ///
    /// # Errors
    /// When the claims are no JSON object.
    pub fn sign<T: Serialize>(&self, claims: &T) -> Result<String, SignError> {
        self.signing.sign(claims)
    }

    /// The public JWK set (RFC 7517 section 5): what `/oauth/jwks` serves, the snapshot carries, and
    /// `writ_core::token::KeySet::from_jwks` reads.
    #[must_use]
    pub fn jwks(&self) -> &Value {
        &self.jwks
    }

    /// What the signing key signs with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.signing.algorithm()
    }

    /// The signing key's `kid`: its RFC 7638 thumbprint.
    #[must_use]
    pub fn kid(&self) -> &str {
        self.signing.kid()
    }
}

fn parse(path: &Path, algorithm: Algorithm, pem: &str) -> Result<SigningKey, KeyError> {
    SigningKey::from_pem(algorithm, pem).ok_or_else(|| KeyError::Malformed {
        path: path.to_owned(),
        algorithm,
    })
}

#[cfg(test)]
mod tests;
