//! A directory for one run: configuration, databases, logs. Gone afterwards, kept when the run failed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::binaries;

/// See the module.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// A new directory under `target/run`, named after what runs in it.
    pub fn new(name: &str) -> Result<Self> {
        // Almost every run begins here.
        crate::provide_tls();
        let parent = binaries::workspace().join("target").join("run");
        std::fs::create_dir_all(&parent)
            .with_context(|| format!("cannot create {}", parent.display()))?;
        let dir = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            .tempdir_in(&parent)
            .with_context(|| format!("cannot create a directory in {}", parent.display()))?;
        Ok(Self(dir))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file into it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path().join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, content)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Leaves the directory in place when this is dropped.
    pub fn keep(&mut self) {
        self.0.disable_cleanup(true);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep();
            anstream::eprintln!("logs and configuration kept in {}", self.path().display());
        }
    }
}
