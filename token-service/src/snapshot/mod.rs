//! What gateways decide from: built once per change and gateway, signed anew for each answer.
//!
//! Reads as: `build` (the parts of a gateway's snapshot), [`SnapshotKeys`] (who vouches for them, and in which epoch),
//! [`Changes`] (who is told that there is something new), and [`Snapshots`], which holds what was built last.

mod build;
mod changes;
mod keys;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use axum::body::Bytes;
use writ_core::snapshot::{
    HEAD, Head,
    parts::{Contents, Document, Manifest, answer},
};
use writ_policy::{engine::ENGINE, snapshot::FORMAT};
use zeroize::Zeroizing;

pub use changes::{Changes, follow};
pub use keys::{SnapshotKeys, new_epoch, new_secret, rotate};

use crate::{
    app::App, clock::unix, gateway::Asker, keys::KeyError, registry::Registry, store::Store,
};

/// So many of its last revisions are known of each gateway: what it lacks of the next follows from them.
const REMEMBERED: usize = 16;

/// An answer has parts of so many bytes, or one part.
const ANSWER: usize = 256 * 1024;

/// How the policy is written for a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// Compiled, for a filter with this service's engine.
    Program,
    /// As it was written, for any other.
    Source,
}

impl Form {
    /// For a filter with this engine.
    #[must_use]
    pub fn for_engine(engine: &str) -> Self {
        if engine == ENGINE {
            Self::Program
        } else {
            Self::Source
        }
    }
}

/// What is known of a gateway's snapshots.
#[derive(Debug, Default)]
struct Known {
    latest: Option<Arc<Built>>,
    /// Digest and names of those before, the newest first.
    earlier: VecDeque<(String, Manifest)>,
}

/// A gateway's snapshot, as of a revision.
#[derive(Debug)]
pub struct Built {
    registry: i64,
    policy: String,
    contents: Contents<Bytes>,
    names: Manifest,
    manifest: Document<Bytes>,
}

impl Built {
    /// The digest of its manifest, which names it.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.manifest.digest
    }
}

/// What a gateway says of itself when it asks.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The digest of the manifest that it has.
    pub known: Option<&'a str>,
    /// The names of parts that it lacks.
    pub parts: Vec<&'a str>,
    /// The thumbprint of the key that it trusts.
    pub key: &'a str,
}

/// The snapshots as last built, and what they are signed with.
#[derive(Debug)]
pub struct Snapshots {
    keys: keys::InUse,
    known: Mutex<HashMap<(String, Form), Known>>,
}

impl Snapshots {
    /// Reads the keys, and makes the first.
    ///
    /// # Errors
    /// When a key does not open, or the database fails.
    pub async fn open(store: &Store, sealing: &crate::keys::Sealing) -> Result<Self, KeyError> {
        Ok(Self {
            keys: keys::InUse::read(store, sealing).await?,
            known: Mutex::default(),
        })
    }

    /// Reads the keys again if they have changed.
    ///
    /// # Errors
    /// When a key does not open, or the database fails.
    pub async fn reload(
        &self,
        store: &Store,
        sealing: &crate::keys::Sealing,
    ) -> Result<(), KeyError> {
        self.keys.reload(store, sealing).await
    }

    /// A new secret, with the key that whoever has it is to trust.
    #[must_use]
    pub fn with_key(&self, secret: &str) -> Zeroizing<String> {
        self.keys.get().follow(secret)
    }

    /// The snapshot of whoever asks.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn get(
        &self,
        app: &App,
        registry: &Registry,
        asker: &Asker,
        form: Form,
    ) -> Result<Arc<Built>, serde_json::Error> {
        let policy = app.policy();
        let current = |built: &&Arc<Built>| {
            built.registry == registry.revision() && built.policy == policy.revision()
        };
        let held = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // No id has a colon: a server and a gateway of one name are two.
        let key = (asker.name(), form);
        let latest = held().get(&key).and_then(|known| known.latest.clone());
        if let Some(built) = latest.as_ref().filter(current) {
            return Ok(Arc::clone(built));
        }
        let contents = build::contents(app, registry, &policy, asker.as_gateway(), form)?;
        let names = contents.manifest();
        let built = Arc::new(Built {
            registry: registry.revision(),
            policy: policy.revision().to_owned(),
            manifest: Document::of(&names)?,
            names,
            contents,
        });
        let mut held = held();
        let known = held.entry(key).or_default();
        if let Some(before) = known.latest.replace(Arc::clone(&built))
            && before.digest() != built.digest()
        {
            known.earlier.truncate(REMEMBERED - 1);
            let digest = before.digest().to_owned();
            known.earlier.push_front((digest, before.names.clone()));
        }
        Ok(built)
    }

    /// What whoever asks is told about its snapshot.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn answer(
        &self,
        app: &App,
        asker: &Asker,
        form: Form,
        built: &Built,
        asked: &Asked<'_>,
    ) -> Result<Vec<u8>, serde_json::Error> {
        let now = unix(app.clock.now());
        let keys = self.keys.get();
        let head = Head {
            format: FORMAT,
            iss: app.config.issuer.clone(),
            aud: asker.as_gateway().id.to_string(),
            epoch: keys.epoch(),
            revision: u64::try_from(built.registry).unwrap_or(0),
            iat: now,
            exp: now.saturating_add(app.config.snapshot_ttl.as_secs()),
            manifest: built.digest().to_owned(),
        };
        let mut signed = keys.introductions(asked.key)?;
        signed.push(keys.signer().sign(HEAD, &head)?);
        let is_known = asked.known == Some(built.digest());
        let lacking: Vec<&str> = if is_known {
            asked.parts.clone()
        } else {
            self.lacking(asker, form, built, asked.known)
        };
        let manifest = (!is_known).then_some(built.manifest.text.as_ref());
        let mut room = ANSWER;
        let parts = lacking
            .into_iter()
            .filter_map(|name| built.contents.parts().get(name))
            .enumerate()
            .map_while(move |(place, part)| {
                let fits = place == 0 || part.text.len() <= room;
                room = room.saturating_sub(part.text.len());
                fits.then_some(part.text.as_ref())
            });
        Ok(answer(&signed, manifest.into_iter().chain(parts)))
    }

    /// The names of the parts that a gateway lacks which has the manifest of this digest; of all, where that is not known any
    /// more.
    fn lacking<'b>(
        &self,
        asker: &Asker,
        form: Form,
        built: &'b Built,
        known: Option<&str>,
    ) -> Vec<&'b str> {
        let held = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = held.get(&(asker.name(), form)).and_then(|k| {
            k.earlier
                .iter()
                .find(|(digest, _)| Some(digest.as_str()) == known)
        });
        let has = |name: &str, digest: &str| {
            before.is_some_and(|(_, names)| names.get(name).is_some_and(|had| had == digest))
        };
        built
            .names
            .iter()
            .filter(|(name, digest)| !has(name, digest))
            .map(|(name, _)| name.as_str())
            .collect()
    }
}
