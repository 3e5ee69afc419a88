//! An OPA bundle: a tar archive, compressed with gzip. Nothing of it is written to disk.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use flate2::read::MultiGzDecoder;
use tar::{Archive, EntryType};

use super::{MOST, SourceError, is_part, too_large};

/// So many bytes may a bundle have as it comes.
pub(in crate::policy) const MOST_PACKED: usize = 4 * 1024 * 1024;
/// So many bytes are unpacked at most, what is passed over included.
const MOST_UNPACKED: u64 = 16 * 1024 * 1024;
/// So many entries an archive may have.
const MOST_ENTRIES: usize = 4096;

/// Reads the files that are part of a policy; others, such as the signatures and the compiled modules of OPA's, are
/// passed over.
pub(super) fn read(
    packed: impl Read,
    origin: &str,
) -> Result<BTreeMap<String, String>, SourceError> {
    let unpacked = Bounded {
        inner: MultiGzDecoder::new(Bounded {
            inner: packed,
            left: MOST_PACKED as u64,
        }),
        left: MOST_UNPACKED,
    };
    let mut archive = Archive::new(unpacked);
    let broken = |error: io::Error| match error.get_ref().and_then(|e| e.downcast_ref::<Bomb>()) {
        Some(_) => SourceError::TooLarge(format!(
            "{origin}: a bundle may have {} MiB, {} MiB unpacked",
            MOST_PACKED / (1024 * 1024),
            MOST_UNPACKED / (1024 * 1024)
        )),
        None => SourceError::NoBundle(origin.to_owned(), error),
    };
    let mut files = BTreeMap::new();
    let mut left = MOST;
    for (count, entry) in archive.entries().map_err(broken)?.enumerate() {
        let mut entry = entry.map_err(broken)?;
        if count >= MOST_ENTRIES {
            return Err(SourceError::TooLarge(format!(
                "{origin}: a bundle may have {MOST_ENTRIES} entries"
            )));
        }
        let named = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        match entry.header().entry_type() {
            EntryType::Directory | EntryType::XGlobalHeader => continue,
            EntryType::Regular | EntryType::Continuous => {}
            _ => {
                let problem = "a bundle has files and directories only: no links, no devices";
                return Err(SourceError::entry(&named, problem));
            }
        }
        let path = below_the_root(&named)?;
        if !is_part(&path) {
            continue;
        }
        if entry.size() > left as u64 {
            return Err(too_large(origin));
        }
        let mut text = Vec::new();
        entry.read_to_end(&mut text).map_err(broken)?;
        left = left.saturating_sub(text.len());
        let text =
            String::from_utf8(text).map_err(|_| SourceError::entry(&named, "is not UTF-8"))?;
        if files.insert(path, text).is_some() {
            return Err(SourceError::entry(&named, "is there twice"));
        }
    }
    Ok(files)
}

/// The path below the bundle's root, which `opa build` writes as `/` and `tar` as `./`.
fn below_the_root(named: &str) -> Result<String, SourceError> {
    let below = named
        .strip_prefix("./")
        .or_else(|| named.strip_prefix('/'))
        .unwrap_or(named);
    let sound = |part: &str| {
        !part.is_empty() && !matches!(part, "." | "..") && !part.contains(['\\', '\0'])
    };
    if named.len() > 1024 || !below.split('/').all(sound) {
        return Err(SourceError::entry(
            named,
            "a file of a bundle must lie below its root, by a plain path",
        ));
    }
    Ok(below.to_owned())
}

/// More than is read.
#[derive(Debug, thiserror::Error)]
#[error("too large")]
struct Bomb;

/// Fails, rather than ends, beyond so many bytes.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::other(Bomb))?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
