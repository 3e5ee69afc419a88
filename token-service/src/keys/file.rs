//! Key files: made whole or not at all, and refused when others can read them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rand::Rng as _;
use zeroize::Zeroizing;

use super::{Algorithm, KeyError};

const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// A 4096 bit RSA key in PEM takes 3.2 KB.
const MAX_FILE_BYTES: u64 = 16 * 1024;

/// Where the key of an algorithm lies.
pub(super) fn path(directory: &Path, algorithm: Algorithm) -> PathBuf {
    directory.join(format!("{}.pem", algorithm.name().to_ascii_lowercase()))
}

/// Makes the directory when it is absent; refuses one in which others could put keys.
pub(super) fn ensure_directory(directory: &Path) -> Result<(), KeyError> {
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(directory)
        .map_err(io_error("create", directory))?;
    let metadata = fs::metadata(directory).map_err(io_error("read the mode of", directory))?;
    refuse_mode(
        directory,
        metadata.permissions().mode(),
        0o022,
        DIRECTORY_MODE,
    )
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
    refuse_mode(path, metadata.permissions().mode(), 0o077, FILE_MODE)?;
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_FILE_BYTES)
        .read_to_string(&mut text)
        .map_err(io_error("read", path))?;
    Ok(Some(text))
}

/// Writes a new key file. One that is there already stays as it is.
pub(super) fn create(path: &Path, pem: &str) -> Result<(), KeyError> {
    let unfinished = path.with_extension(format!("{:016x}.new", rand::rng().next_u64()));
    let written = write(&unfinished, pem).and_then(|()| match fs::hard_link(&unfinished, path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(io_error("create", path)),
    });
    let removed = fs::remove_file(&unfinished).map_err(io_error("remove", &unfinished));
    written.and(removed)?;
    // The directory entry must survive a power cut too: every token depends on this key.
    let directory = path.parent().unwrap_or(path);
    File::open(directory)
        .and_then(|d| d.sync_all())
        .map_err(io_error("sync", directory))
}

fn write(path: &Path, pem: &str) -> Result<(), KeyError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)
        .map_err(io_error("create", path))?;
    file.write_all(pem.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(io_error("write", path))
}

fn refuse_mode(path: &Path, mode: u32, forbidden: u32, wanted: u32) -> Result<(), KeyError> {
    if mode & forbidden == 0 {
        return Ok(());
    }
    Err(KeyError::Exposed {
        path: path.to_owned(),
        mode: mode & 0o7777,
        wanted,
    })
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let path = path.to_owned();
    move |source| KeyError::Io {
        action,
        path,
        source,
    }
}
