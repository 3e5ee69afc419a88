//! The issuer's signing keys: made on first start, changed on schedule and by command, published as a JWK set.
//!
//! Reads as: [`Algorithm`] (what may sign), [`Term`] (when a key is published and when it signs), `signing` (one parsed
//! key pair), `ring` (the keys of one moment), `keeping` (what is done to the keys in the store, by whichever process),
//! `sealing` (how they are kept there), `shared` (keys for other purposes, kept alike), and [`Keys`], which the rest of the service holds. A key is parsed once;
//! signing only signs.

mod algorithm;
mod file;
mod keeping;
mod ring;
mod sealing;
mod shared;
mod signing;
mod term;

use std::{path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use serde::Serialize;
use serde_json::Value;

pub use self::{
    algorithm::Algorithm,
    keeping::{Rotation, Sealing, check_private, reseal, revoke, rotate},
    sealing::{EncryptionKey, NotAKey},
    shared::shared,
    term::{Schedule, State, Term},
};
use self::{
    keeping::open_private,
    ring::{Held, Ring},
};
use crate::{
    clock::Clock,
    config::Config,
    private_file::PrivateFileError,
    store::{Store, StoreError},
};

/// How long a published key set may be kept by whoever verifies tokens: no key signs sooner after it was announced.
pub const JWKS_MAX_AGE: Duration = Duration::from_secs(300);
/// How long clocks and slow readers have, beyond the life of the longest token.
pub const MARGIN: Duration = Duration::from_secs(300);

/// Why the service has no usable keys. Each names what a person has to look at.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file with a secret cannot be read, or is not private.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// A key file whose key is in the database cannot be removed.
    #[error("cannot remove {}: {source}", path.display())]
    Remove {
        /// The file.
        path: PathBuf,
        /// Why it did not work.
        source: std::io::Error,
    },
    /// A key file does not hold a private key of its algorithm.
    #[error("{} does not hold an unencrypted {algorithm} private key in PKCS #8 PEM; restore it from a backup, or move it away to have a new one made", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The algorithm that its name stands for.
        algorithm: Algorithm,
    },
    /// A key in the database is not what it says it is.
    #[error(
        "the signing key {kid} in the database is no {algorithm} key of that name; restore a backup, or `writ keys revoke {kid}`"
    )]
    Damaged {
        /// Its name.
        kid: String,
        /// Its algorithm.
        algorithm: Algorithm,
    },
    /// A key in the database is encrypted, and nothing is configured to open it with.
    #[error(
        "the keys in the database are encrypted: set `keys.encryption_key_file` or `keys.encryption_key_env` to the key that they were encrypted with"
    )]
    Sealed,
    /// The configured encryption key opens nothing.
    #[error("{origin} does not open the key {kid}: it is not the key that it was encrypted with")]
    WrongKey {
        /// Where the encryption key comes from.
        origin: String,
        /// Which key does not open.
        kid: String,
    },
    /// There is no such key.
    #[error("there is no signing key {0:?}; `writ keys list` shows what there is")]
    Unknown(String),
    /// The next key is there already.
    #[error(
        "the next {algorithm} key {kid} is announced already and signs from {signs_from}; `--now` lets it sign at once"
    )]
    Announced {
        /// Its name.
        kid: String,
        /// Its algorithm.
        algorithm: Algorithm,
        /// When it begins.
        signs_from: jiff::Timestamp,
    },
    /// No key could be generated or encrypted.
    #[error("cannot make an {0} key: the system gave no usable randomness")]
    Generate(Algorithm),
    /// A shared key could not be encrypted.
    #[error("cannot encrypt the shared key {0:?}")]
    SealShared(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a token could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// No key may sign: none of the algorithm can be opened, or its time has not come.
    #[error("there is no {0} key to sign with; see `writ keys list`")]
    NoKey(Algorithm),
    /// The claims do not serialise to a JSON object.
    #[error("cannot sign the token: {0}")]
    Claims(String),
}

/// The keys in use: those that sign, and all that are published. Follows what is in the store ([`Keys::reload`]).
#[derive(Debug)]
pub struct Keys {
    algorithm: Algorithm,
    sealing: Sealing,
    schedule: Schedule,
    clock: Arc<dyn Clock>,
    ring: ArcSwap<Ring>,
}

impl Keys {
    /// Reads the keys, makes those that are missing, and brings the way they are kept up to date.
    ///
    /// # Errors
    /// When a key cannot be opened or made, or the database fails. Slow the first time: an RSA key is made.
    pub async fn open(
        store: &Store,
        config: &Config,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, KeyError> {
        let (schedule, sealing) = (config.keys.schedule, &config.keys.sealing);
        let now = clock.now();
        keeping::import(store, &config.keys_dir(), &schedule, sealing, now).await?;
        keeping::tend(store, &schedule, sealing, now).await?;
        keeping::bring_up_to_date(store, &schedule, sealing, now).await?;
        let mut held = Vec::new();
        for row in store.signing_keys().await? {
            held.push(Held {
                key: Arc::new(open_private(&row, sealing)?),
                term: row.term,
            });
        }
        Ok(Self {
            algorithm: config.tokens.signing_alg,
            sealing: sealing.clone(),
            schedule,
            clock,
            ring: ArcSwap::from_pointee(Ring::new(held)),
        })
    }

    /// Does what is due: announces the next keys, removes those whose tokens are all dead. [`Keys::reload`] makes it
    /// count.
    ///
    /// # Errors
    /// When a key cannot be made, or the database fails.
    pub async fn tend(&self, store: &Store) -> Result<(), KeyError> {
        keeping::tend(store, &self.schedule, &self.sealing, self.clock.now()).await
    }

    /// Reads the keys again and says whether they have changed. A new key that this process cannot open is published by
    /// the others only, and said so in the log: what is known stays good.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reload(&self, store: &Store) -> Result<bool, StoreError> {
        let rows = store.signing_keys().await?;
        let known = self.ring.load();
        if known.is(rows.iter().map(|row| (row.kid.clone(), row.term))) {
            return Ok(false);
        }
        let mut held = Vec::new();
        for row in rows {
            let key = match known.find(&row.kid) {
                Some(known) => Ok(Arc::clone(&known.key)),
                None => open_private(&row, &self.sealing).map(Arc::new),
            };
            match key {
                Ok(key) => held.push(Held {
                    key,
                    term: row.term,
                }),
                Err(error) => {
                    tracing::error!(%error, "a new signing key cannot be used; restart with the right encryption key");
                }
            }
        }
        self.ring.store(Arc::new(Ring::new(held)));
        Ok(true)
    }

    /// Signs claims as an access token (`typ: at+jwt`, RFC 9068 section 2.1).
    ///
    /// # Errors
    /// When the claims are no JSON object, or no key may sign.
    pub fn sign<T: Serialize>(&self, claims: &T) -> Result<String, SignError> {
        let ring = self.ring.load();
        let key = ring
            .signer(self.algorithm, self.clock.now())
            .ok_or(SignError::NoKey(self.algorithm))?;
        key.sign(claims)
    }

    /// Signs claims as a token of another type.
    ///
    /// # Errors
    /// As [`Keys::sign`].
    pub fn sign_as<T: Serialize>(&self, typ: &str, claims: &T) -> Result<String, SignError> {
        let ring = self.ring.load();
        let key = ring
            .signer(self.algorithm, self.clock.now())
            .ok_or(SignError::NoKey(self.algorithm))?;
        key.sign_as(typ, claims)
    }

    /// The public JWK set (RFC 7517 section 5): what `/oauth/jwks` serves, the snapshot carries, and
    /// `writ_core::token::KeySet::from_jwks` reads.
    #[must_use]
    pub fn jwks(&self) -> Arc<Value> {
        Arc::clone(self.ring.load().jwks())
    }

    /// What tokens are signed with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The `kid` of the key that signs now: its RFC 7638 thumbprint.
    ///
    /// # Errors
    /// When no key may sign.
    pub fn kid(&self) -> Result<String, SignError> {
        let ring = self.ring.load();
        ring.signer(self.algorithm, self.clock.now())
            .map(|key| key.kid().to_owned())
            .ok_or(SignError::NoKey(self.algorithm))
    }
}

#[cfg(test)]
mod tests;
