//! Key files: one that is not there is no failure.

use std::{
    io,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{Algorithm, KeyError};
use crate::private_file;

/// Where the key of an algorithm lay before keys were kept in the database.
pub(super) fn path(directory: &Path, algorithm: Algorithm) -> PathBuf {
    directory.join(format!("{}.pem", algorithm.name().to_ascii_lowercase()))
}

/// The file's text, or `None` when there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<String>>, KeyError> {
    match private_file::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Removes a file; one that is not there is removed already.
pub(super) fn remove(path: &Path) -> Result<(), KeyError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(KeyError::Remove {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}
