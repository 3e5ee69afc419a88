//! A revision as the documents that it is made of, each known by its SHA-256.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use writ_policy::snapshot::{bucket, bucket_name};

/// The digest of every part, by name: the first document of a revision.
pub type Manifest = BTreeMap<String, String>;

/// The name of a document: the base64url of its SHA-256.
#[must_use]
pub fn digest(document: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(document))
}

/// A document: one line of JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document<B = Vec<u8>> {
    /// See [`digest`].
    pub digest: String,
    /// Its text.
    pub text: B,
}

impl<B: From<Vec<u8>>> Document<B> {
    /// Writes a value down.
    ///
    /// # Errors
    /// When it is no JSON.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        let text = serde_json::to_vec(value)?;
        Ok(Self {
            digest: digest(&text),
            text: text.into(),
        })
    }
}

/// All parts of a revision, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents<B = Vec<u8>>(BTreeMap<String, Document<B>>);

impl<B> Default for Contents<B> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<B: From<Vec<u8>>> Contents<B> {
    /// Adds a part.
    ///
    /// # Errors
    /// When it is no JSON.
    pub fn put<T: Serialize + ?Sized>(
        &mut self,
        name: &str,
        part: &T,
    ) -> Result<(), serde_json::Error> {
        self.insert(name, Document::of(part)?);
        Ok(())
    }

    /// Adds a part that is written down already.
    pub fn insert(&mut self, name: &str, document: Document<B>) {
        self.0.insert(name.to_owned(), document);
    }

    /// Adds entries by id, each to the part of this kind that it belongs in.
    ///
    /// # Errors
    /// When one is no JSON.
    pub fn put_each<T: Serialize>(
        &mut self,
        kind: &'static str,
        entries: impl IntoIterator<Item = (String, T)>,
    ) -> Result<(), serde_json::Error> {
        let mut parts: BTreeMap<u8, BTreeMap<String, T>> = BTreeMap::new();
        for (id, entry) in entries {
            parts.entry(bucket(&id)).or_default().insert(id, entry);
        }
        let mut parts = parts.into_iter();
        parts.try_for_each(|(bucket, part)| self.put(&bucket_name(kind, bucket), &part))
    }

    /// The parts, by name.
    #[must_use]
    pub fn parts(&self) -> &BTreeMap<String, Document<B>> {
        &self.0
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> Manifest {
        let parts = self.0.iter();
        parts
            .map(|(name, part)| (name.clone(), part.digest.clone()))
            .collect()
    }
}

/// An answer: the lines that vouch for it, then documents.
#[must_use]
pub fn answer<'a>(signed: &[String], documents: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut add = |line: &[u8]| {
        answer.extend_from_slice(line);
        answer.push(b'\n');
    };
    for line in signed {
        add(line.as_bytes());
    }
    for document in documents {
        add(document);
    }
    answer
}
