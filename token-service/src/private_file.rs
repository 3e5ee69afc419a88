//! Files with a secret in them: read when nobody else can.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

/// More than any secret, key or chain of certificates has, in bytes.
const MOST: u64 = 256 * 1024;

/// Why a file with a secret is not used.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// It cannot be read.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it did not work.
        source: io::Error,
    },
    /// Others than the owner can read it.
    #[error("{} has mode {mode:04o}, so others can read the secret in it; run `chmod 600 {}`", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is something else.
    #[error("{} has more than {MOST} bytes: name the file with the secret alone in it", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

impl PrivateFileError {
    /// Whether there is no such file.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// The file's text.
///
/// # Errors
/// When it cannot be read, is too large, or others can read it.
pub fn read(path: &Path) -> Result<Zeroizing<String>, PrivateFileError> {
    let failed = |action: &'static str| {
        move |source| PrivateFileError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    };
    let file = File::open(path).map_err(failed("open"))?;
    // The mode of what was opened, not of what the name points at a moment later.
    let metadata = file.metadata().map_err(failed("read the mode of"))?;
    let mode = metadata.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(PrivateFileError::Exposed {
            path: path.to_owned(),
            mode: mode & 0o7777,
        });
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MOST + 1)
        .read_to_string(&mut text)
        .map_err(failed("read"))?;
    if text.len() as u64 > MOST {
        return Err(PrivateFileError::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};

    use super::*;

    #[test]
    fn a_secret_is_read_where_only_its_owner_can() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        assert!(read(&file).unwrap_err().is_missing());
        std::fs::write(&file, "hush").unwrap();
        for (mode, taken) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            match read(&file) {
                Ok(text) => assert!(taken && *text == "hush", "{mode:o}"),
                Err(error) => {
                    assert!(!taken && !error.is_missing(), "{error}");
                    assert!(error.to_string().contains("chmod 600"), "{error}");
                }
            }
        }
    }

    #[test]
    fn what_is_too_large_is_refused_and_not_cut() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        for (more, taken) in [(0, true), (1, false)] {
            let text = "x".repeat(usize::try_from(MOST).unwrap() + more);
            std::fs::write(&file, text).unwrap();
            set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
            assert_eq!(read(&file).is_ok(), taken);
        }
    }
}
