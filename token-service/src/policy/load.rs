//! A policy's files.

use std::path::{Path, PathBuf};

use writ_policy::{
    engine::{CompileError, Module},
    library,
};

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A file or directory cannot be read.
    #[error("cannot read the policy file {path}: {source}")]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Nothing to load.
    #[error(
        "{0} has no .rego file; put the policy there, or leave `policy.dir` out to use the embedded library"
    )]
    Empty(PathBuf),
    /// The modules do not make a policy.
    #[error("the policy does not compile: {0}")]
    Compile(#[from] CompileError),
    /// The data is not what policies can use.
    #[error("{path}: {problem}")]
    Data {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// The texts of a policy.
pub(super) struct Sources {
    pub(super) modules: Vec<Module>,
    pub(super) data: String,
    /// The directory, which is no part of the policy: the same files elsewhere are the same policy.
    root: PathBuf,
    data_path: PathBuf,
}

impl Sources {
    pub(super) fn read(dir: Option<&Path>) -> Result<Self, PolicyError> {
        let Some(dir) = dir else {
            return Ok(Self {
                modules: library::modules(),
                data: "{}".to_owned(),
                root: PathBuf::new(),
                data_path: PathBuf::from("(no data)"),
            });
        };
        let mut paths = Vec::new();
        find(dir, &mut paths)?;
        if paths.is_empty() {
            return Err(PolicyError::Empty(dir.to_owned()));
        }
        paths.sort();
        let modules = paths
            .into_iter()
            .map(|path| {
                Ok(Module {
                    text: read(&path)?,
                    path: path.display().to_string(),
                })
            })
            .collect::<Result<_, PolicyError>>()?;
        let data_path = dir.join("data.json");
        let data = if data_path.exists() {
            read(&data_path)?
        } else {
            "{}".to_owned()
        };
        Ok(Self {
            modules,
            data,
            root: dir.to_owned(),
            data_path,
        })
    }

    /// The modules' paths below the directory, and their texts.
    pub(super) fn named_texts(&self) -> impl Iterator<Item = (String, &str)> {
        self.modules.iter().map(|m| {
            let path = Path::new(&m.path);
            let below = path.strip_prefix(&self.root).unwrap_or(path);
            (below.display().to_string(), m.text.as_str())
        })
    }

    pub(super) fn data_error(&self, problem: &dyn std::fmt::Display) -> PolicyError {
        PolicyError::Data {
            path: self.data_path.clone(),
            problem: problem.to_string(),
        }
    }
}

/// Collects the policy files of a directory and those below it.
fn find(dir: &Path, found: &mut Vec<PathBuf>) -> Result<(), PolicyError> {
    let failed = |source| PolicyError::Read {
        path: dir.to_owned(),
        source,
    };
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if kind.is_dir() && !name.starts_with('.') {
            find(&path, found)?;
        } else if name.ends_with(".rego") && !name.ends_with("_test.rego") {
            found.push(path);
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, PolicyError> {
    std::fs::read_to_string(path).map_err(|source| PolicyError::Read {
        path: path.to_owned(),
        source,
    })
}
