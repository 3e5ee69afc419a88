//! Files with secrets in them: read when nobody else can.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{Algorithm, KeyError};

const FILE_MODE: u32 = 0o600;
/// A 4096 bit RSA key in PEM takes 3.2 KB.
const MAX_FILE_BYTES: u64 = 16 * 1024;

/// Where the key of an algorithm lay before keys were kept in the database.
pub(super) fn path(directory: &Path, algorithm: Algorithm) -> PathBuf {
    directory.join(format!("{}.pem", algorithm.name().to_ascii_lowercase()))
}

/// The file's text, or `None` when there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<String>>, KeyError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io_error("open", path)(e)),
    };
    // The mode of what was opened, not of what the name points at a moment later.
    let metadata = file
        .metadata()
        .map_err(io_error("read the mode of", path))?;
    let mode = metadata.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed {
            path: path.to_owned(),
            mode: mode & 0o7777,
            wanted: FILE_MODE,
        });
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_FILE_BYTES)
        .read_to_string(&mut text)
        .map_err(io_error("read", path))?;
    Ok(Some(text))
}

/// Removes a file; one that is not there is removed already.
pub(super) fn remove(path: &Path) -> Result<(), KeyError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error("remove", path)(e)),
        _ => Ok(()),
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let path = path.to_owned();
    move |source| KeyError::Io {
        action,
        path,
        source,
    }
}
