//! What a policy is made of, wherever it comes from: a directory, an OPA bundle, the database, the embedded library.

mod bounded;
mod bundle;
mod data;
mod directory;
mod manifest;

use std::{collections::BTreeMap, path::Path};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use writ_policy::{
    authoring::{self, schema::Misfit},
    engine::{self, CompileError, Data, EngineError, Module},
    library,
};

use crate::{hex::hex, store::policies::NewRevision};

pub(super) use bundle::MOST_PACKED;
pub use manifest::ManifestError;

/// So many bytes may all files of a policy have together: each worker of each gateway holds it.
const MOST: usize = 4 * 1024 * 1024;

/// The files of a policy, by their paths below its root, and what they make together.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Where they are from, for messages.
    pub origin: String,
    /// All of them: modules, tests, data and manifest.
    pub files: BTreeMap<String, String>,
    /// What decides.
    pub modules: Vec<Module>,
    /// What tests it (`*_test.rego`).
    pub tests: Vec<Module>,
    /// All `data.json` and `data.yaml`, each at its place.
    pub data: Map<String, Value>,
    /// The revision that a bundle's manifest gives itself.
    pub named: Option<String>,
}

/// Why files are no policy.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file or directory cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which one.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Nothing to load.
    #[error("{0} has no .rego file: name the directory, or the bundle, that holds the policy")]
    Empty(String),
    /// Something that no policy has, such as a file outside of it.
    #[error("{path:?}: {problem}")]
    Entry {
        /// Which file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// More than fits.
    #[error("{0}")]
    TooLarge(String),
    /// Neither a directory nor a bundle.
    #[error("{0} is not an OPA bundle: that is a tar archive, compressed with gzip ({1})")]
    NoBundle(String, std::io::Error),
    /// The manifest.
    #[error(".manifest: {0}")]
    Manifest(#[from] ManifestError),
    /// The data is not what policies can use.
    #[error("data: {0}")]
    Data(#[from] EngineError),
    /// The data is not what the policy's templates can use.
    #[error("{0}")]
    Misfit(String),
    /// The modules do not make a policy.
    #[error("the policy does not compile: {0}")]
    Compile(#[from] CompileError),
}

impl SourceError {
    fn entry(path: &str, problem: impl Into<String>) -> Self {
        Self::Entry {
            path: path.to_owned(),
            problem: problem.into(),
        }
    }
}

/// What becomes of a file, by its name.
fn is_part(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    path == manifest::NAME || name.ends_with(".rego") || data::format(name).is_some()
}

impl Sources {
    /// What is kept when they are published, under their [`Self::revision`].
    #[must_use]
    pub fn as_new<'a>(
        &'a self,
        revision: &'a str,
        message: &'a str,
        author: &'a str,
    ) -> NewRevision<'a> {
        NewRevision {
            revision,
            files: &self.files,
            origin: &self.origin,
            named: self.named.as_deref(),
            message,
            author,
        }
    }

    /// What `path` leads to: a directory or a bundle (`.tar.gz`).
    ///
    /// # Errors
    /// Why there is no policy to be had from it.
    pub fn read(path: &Path) -> Result<Self, SourceError> {
        let origin = path.display().to_string();
        let metadata = std::fs::metadata(path).map_err(|source| SourceError::Read {
            path: origin.clone(),
            source,
        })?;
        if metadata.is_dir() {
            return Self::of(origin, directory::read(path)?);
        }
        let file = std::fs::File::open(path).map_err(|source| SourceError::Read {
            path: origin.clone(),
            source,
        })?;
        let files = bundle::read(file, &origin)?;
        Self::of(origin, files)
    }

    /// A bundle in memory.
    ///
    /// # Errors
    /// Why it is none, or not taken.
    pub fn bundle(origin: &str, bytes: &[u8]) -> Result<Self, SourceError> {
        Self::of(origin.to_owned(), bundle::read(bytes, origin)?)
    }

    /// The library that ships, with empty data: it denies everything.
    #[must_use]
    pub fn library() -> Self {
        let modules = library::modules();
        Self {
            origin: "the embedded library".to_owned(),
            files: modules
                .iter()
                .map(|m| (m.path.clone(), m.text.clone()))
                .collect(),
            modules,
            tests: Vec::new(),
            data: Map::new(),
            named: None,
        }
    }

    /// Files by their paths, which were checked when they were read.
    ///
    /// # Errors
    /// When they are no policy together.
    pub fn of(origin: String, files: BTreeMap<String, String>) -> Result<Self, SourceError> {
        let size: usize = files.values().map(String::len).sum();
        if size > MOST {
            return Err(too_large(&origin));
        }
        let rego = files.iter().filter(|(path, _)| path.ends_with(".rego"));
        let (tests, modules): (Vec<_>, Vec<_>) = rego
            .map(|(path, text)| Module {
                path: path.clone(),
                text: text.clone(),
            })
            .partition(|module| module.path.ends_with("_test.rego"));
        if modules.is_empty() {
            return Err(SourceError::Empty(origin));
        }
        let data = data::merge(&files)?;
        let named = match files.get(manifest::NAME) {
            None => None,
            Some(text) => manifest::read(text)?.govern(&modules, &data)?,
        };
        Ok(Self {
            origin,
            files,
            modules,
            tests,
            data,
            named,
        })
    }

    /// The `data` document.
    ///
    /// # Errors
    /// When the engine does not take it.
    pub fn document(&self) -> Result<Data, SourceError> {
        Ok(Data::of(&self.data)?)
    }

    /// Where the data is not what the policy's templates can use: file, place and what is wrong, a line each.
    #[must_use]
    pub fn misfits(&self) -> Vec<String> {
        let told = |misfit: Misfit| {
            let file = data::set_by(&self.files, &misfit.path).unwrap_or(&self.origin);
            let place = misfit.path.join(".");
            format!("{file}: data.{place} {}", misfit.problem)
        };
        let misfits = authoring::data::misfits(&self.modules, &self.data);
        misfits.into_iter().map(told).collect()
    }

    /// Names what decides, by its contents: modules and data, each with its length, so that no two policies share one.
    /// Tests are no part of it.
    #[must_use]
    pub fn revision(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |part: &str| {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        };
        add(engine::ENGINE);
        add(&Value::Object(self.data.clone()).to_string());
        for module in &self.modules {
            add(&module.path);
            add(&module.text);
        }
        let mut revision = hex(&hash.finalize());
        revision.truncate(16);
        revision
    }
}

fn too_large(origin: &str) -> SourceError {
    SourceError::TooLarge(format!(
        "{origin}: the files of a policy may have {} MiB together; keep large data out of it",
        MOST / (1024 * 1024)
    ))
}
