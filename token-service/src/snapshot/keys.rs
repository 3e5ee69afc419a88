//! What snapshots are signed with. Gateways trust the key whose thumbprint they were given; each key introduces the next, so
//! that a change of keys needs no change at the gateways, unless a key was stolen.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use serde_json::json;
use writ_core::snapshot::{INTRODUCTION, Introduction, signed::SnapshotKey};
use zeroize::Zeroizing;

use crate::{
    audit::Record,
    keys::{self, KeyError, Sealing},
    secret,
    store::{Store, StoreError, snapshots::State},
};

/// The keys that are trusted, in their order; the last one signs.
#[derive(Debug)]
pub struct SnapshotKeys {
    state: State,
    keys: Vec<SnapshotKey>,
    signer: SnapshotKey,
}

impl SnapshotKeys {
    /// Reads them, and makes what is missing.
    ///
    /// # Errors
    /// When a key does not open, or the database fails.
    pub async fn read(store: &Store, sealing: &Sealing) -> Result<Self, KeyError> {
        let state = store.snapshots().await?;
        let mut keys = Vec::new();
        for number in state.first_key..state.last_key {
            keys.push(key(store, sealing, number).await?);
        }
        let signer = key(store, sealing, state.last_key).await?;
        Ok(Self {
            state,
            keys,
            signer,
        })
    }

    /// How often the service was put back to an earlier state.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.state.epoch
    }

    /// The key that signs.
    #[must_use]
    pub fn signer(&self) -> &SnapshotKey {
        &self.signer
    }

    /// A secret of a gateway's, with the key that it is to trust.
    #[must_use]
    pub fn follow(&self, secret: &str) -> Zeroizing<String> {
        format!("{secret}.{}", self.signer.thumbprint()).into()
    }

    /// What leads from the key of this thumbprint to the one that signs: nothing where it is that, or is not trusted.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn introductions(&self, from: &str) -> Result<Vec<String>, serde_json::Error> {
        let all: Vec<&SnapshotKey> = self.keys.iter().chain([&self.signer]).collect();
        let from = all.iter().position(|key| key.thumbprint() == from);
        let chain = from.and_then(|from| all.get(from..)).unwrap_or_default();
        let introduce = |pair: &[&SnapshotKey]| match pair {
            [key, next] => {
                let introduces = next.thumbprint().to_owned();
                key.sign(INTRODUCTION, &Introduction { introduces })
            }
            _ => Ok(String::new()),
        };
        chain.windows(2).map(introduce).collect()
    }
}

async fn key(store: &Store, sealing: &Sealing, number: i64) -> Result<SnapshotKey, KeyError> {
    let seed = keys::shared(store, sealing, &format!("snapshots.{number}")).await?;
    Ok(SnapshotKey::of(&seed))
}

/// The keys of a running service.
#[derive(Debug)]
pub(super) struct InUse(ArcSwap<SnapshotKeys>);

impl InUse {
    pub(super) async fn read(store: &Store, sealing: &Sealing) -> Result<Self, KeyError> {
        let keys = SnapshotKeys::read(store, sealing).await?;
        Ok(Self(ArcSwap::from_pointee(keys)))
    }

    pub(super) fn get(&self) -> Arc<SnapshotKeys> {
        self.0.load_full()
    }

    pub(super) async fn reload(&self, store: &Store, sealing: &Sealing) -> Result<(), KeyError> {
        if store.snapshots().await? != self.0.load().state {
            let keys = SnapshotKeys::read(store, sealing).await?;
            self.0.store(Arc::new(keys));
        }
        Ok(())
    }
}

/// A new secret of a gateway's, with the key that it is to trust.
///
/// # Errors
/// When the key does not open, or the database fails.
pub async fn new_secret(store: &Store, sealing: &Sealing) -> Result<Zeroizing<String>, KeyError> {
    let keys = SnapshotKeys::read(store, sealing).await?;
    Ok(keys.follow(&secret::generate()))
}

/// Signs with another key from now on; answers with its thumbprint. `distrust` leaves those before without a successor:
/// whoever trusts one of them takes no snapshot any more.
///
/// # Errors
/// When the key cannot be made, or the database fails.
pub async fn rotate(
    store: &Store,
    sealing: &Sealing,
    distrust: bool,
    now: Timestamp,
) -> Result<String, KeyError> {
    let before = store.snapshots().await?;
    let last_key = before.last_key + 1;
    let made = key(store, sealing, last_key).await?;
    let first_key = if distrust { last_key } else { before.first_key };
    let after = State {
        first_key,
        last_key,
        ..before
    };
    let mut record = Record::admin(now, "snapshot rotate-key", made.thumbprint());
    record.detail = Some(json!({ "distrust": distrust }));
    store.set_snapshots(&before, &after, &record).await?;
    Ok(made.thumbprint().to_owned())
}

/// Begins a new epoch: gateways take what is older than what they have, once. Answers with its number.
///
/// # Errors
/// When the database fails.
pub async fn new_epoch(store: &Store, now: Timestamp) -> Result<u64, StoreError> {
    let before = store.snapshots().await?;
    let after = State {
        epoch: before.epoch + 1,
        ..before
    };
    let record = Record::admin(now, "snapshot new-epoch", &after.epoch.to_string());
    store.set_snapshots(&before, &after, &record).await?;
    Ok(after.epoch)
}
