//! Archiving: the oldest records go to a file that can be verified by itself, and from the database; their hashes stay there, so that
//! the log goes on, proofs are made as before, and archive and database can be verified together.
//!
//! The file is whole and on disk before anything is marked as archived, and only what is marked, on record, is deleted. No file that
//! is there already is ever replaced.

use std::{
    fs::{self, File, TryLockError},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::{
    checkpoint::{CheckpointError, Head, PublicKey},
    lines::{Begin, Line},
    sequence::{self, SequenceError},
    tree::Edge,
    verify::{self, ARCHIVE, Verifier, VerifyError},
};
use crate::{
    audit::{Record, Verdict},
    config::sinks::Sink,
    store::{
        Store, StoreError,
        archives::{Archive, Erased},
    },
};

/// How many records are read at a time: few, so that whoever is to be answered by the same process does not wait.
const PAGE: u32 = 500;
/// What a file is called that is not whole yet.
const PARTIAL: (&str, &str) = (".writ-archive-", ".partial");
/// Who has this locked is alone in the directory.
const LOCK: &str = ".writ-archive.lock";

/// Why nothing was archived.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The log does not go on.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// What was to be archived is not what it was.
    #[error("nothing is archived, since the log does not verify: {0}")]
    Verify(#[from] VerifyError),
    /// Its checkpoints cannot be read.
    #[error("nothing is archived, since a checkpoint does not count: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file.
    #[error("cannot write an archive in {}: {source}", directory.display())]
    Write {
        /// Where.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process is at it.
    #[error("another process is archiving in {}: try again when that is over", .0.display())]
    Elsewhere(PathBuf),
    /// There is another file of the name.
    #[error(
        "{} is there and says something else: it is another log's, or of an archiving that was interrupted before somebody was \
         erased. Move it away and archive again; nothing is lost", .0.display()
    )]
    Taken(PathBuf),
}

/// Archives the records before a moment that end with a checkpoint, and that all of these sinks have; none where there are none.
///
/// # Errors
/// When the log does not verify, or the file or the database fails. Nothing is lost then.
pub async fn archive(
    store: &Store,
    directory: &Path,
    before: Timestamp,
    sinks: &[Sink],
    now: Timestamp,
) -> Result<Option<Archive>, ArchiveError> {
    let failed = |source| ArchiveError::Write {
        directory: directory.to_owned(),
        source,
    };
    let _alone = match alone_in(directory) {
        Err(TryLockError::WouldBlock) => return Err(ArchiveError::Elsewhere(directory.to_owned())),
        alone => alone.map_err(|error| failed(error.into()))?,
    };
    remove_partial(directory).map_err(failed)?;
    sweep(store).await?;
    let erasures = store.erasures().await?;
    let (first, erased_before) = store.log_begins().await?;
    let size = store.archivable(before, sinks).await?;
    if size <= first {
        return Ok(None);
    }
    let tiles = store.tiles(Edge::tiles(first)).await?;
    let edge = Edge::read(first, &tiles).map_err(VerifyError::from)?;
    let begin = Begin::after(&edge, erased_before, Some(size));
    let file = format!("{first:020}-{size:020}.jsonl");
    let written = write(store, directory, &file, begin).await?;
    let archive = Archive {
        first,
        size,
        file,
        sha256: written.sha256,
        erased: written.erased,
    };
    let record = record(&archive, now);
    let marked = store.mark_archived(&archive, erasures, &record, now).await;
    if let Err(error @ StoreError::Conflict(_)) = marked {
        // It is no archive, and would keep what it says about people. One that was there may be on record meanwhile.
        if written.is_new {
            fs::remove_file(directory.join(&archive.file)).map_err(failed)?;
        }
        return Err(error.into());
    }
    marked?;
    sweep(store).await?;
    Ok(Some(archive))
}

/// Keeps others from archiving in a directory, until this is dropped or the process ends.
fn alone_in(directory: &Path) -> Result<File, TryLockError> {
    let lock = File::create(directory.join(LOCK)).map_err(TryLockError::Error)?;
    lock.try_lock()?;
    Ok(lock)
}

/// Removes what was being written when a process was killed.
fn remove_partial(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PARTIAL.0) && name.ends_with(PARTIAL.1) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Deletes what is marked as archived, once the record of that is in the log. Whoever was interrupted goes on here.
///
/// # Errors
/// When the database fails, or the log does not go on.
pub async fn sweep(store: &Store) -> Result<(), SequenceError> {
    if store.is_swept().await? {
        return Ok(());
    }
    sequence::catch_up_with_all(store).await?;
    Ok(store.sweep_archived().await?)
}

fn record(archive: &Archive, now: Timestamp) -> Record {
    let mut record = Record::admin(now, ARCHIVE, &archive.file);
    record.decision = Some(Verdict::Allow);
    record.detail = Some(json!({
        "first": archive.first,
        "size": archive.size,
        "sha256": archive.sha256,
    }));
    record
}

/// A file that is whole and on disk.
struct Written {
    sha256: String,
    erased: Erased,
    /// Whether it was not there before.
    is_new: bool,
}

/// Writes the file, verifying what goes into it.
async fn write(
    store: &Store,
    directory: &Path,
    name: &str,
    begin: Begin,
) -> Result<Written, ArchiveError> {
    let failed = |source| ArchiveError::Write {
        directory: directory.to_owned(),
        source,
    };
    let file = tempfile::Builder::new()
        .prefix(PARTIAL.0)
        .suffix(PARTIAL.1)
        .tempfile_in(directory)
        .map_err(failed)?;
    let mut to = Digesting {
        file: BufWriter::new(file),
        sha256: Sha256::new(),
    };
    let key = store.log_key().await?.unwrap_or_default();
    Line::Key(key.clone()).write(&mut to).map_err(failed)?;
    let public = PublicKey::parse(&key)?;
    let (first, size) = (begin.size, begin.end.unwrap_or(begin.size));
    Line::Begin(begin.clone()).write(&mut to).map_err(failed)?;
    let mut heads = Vec::new();
    let kept = store.checkpoints().await?;
    for kept in kept
        .into_iter()
        .filter(|kept| (first..=size).contains(&kept.size))
    {
        heads.push(Head::read(&kept.note, &public)?);
        Line::Checkpoint(kept.note).write(&mut to).map_err(failed)?;
    }
    let verifier = Verifier::new(heads).map_err(VerifyError::from)?;
    let mut verifier = verifier.begin(&begin)?;
    while verifier.size() < size {
        let page = store.logged(verifier.size(), PAGE).await?;
        if page.is_empty() {
            return Err(VerifyError::from(verify::Fault::Short {
                size: verifier.size(),
                checkpoint: size,
            })
            .into());
        }
        for logged in page.into_iter().filter(|logged| logged.index < size) {
            verifier.next(&logged)?;
            Line::Record(Box::new(logged))
                .write(&mut to)
                .map_err(failed)?;
        }
    }
    verifier.clone().end()?;
    let sha256 = hex(to.sha256);
    let file = to.file.into_inner().map_err(|e| failed(e.into_error()))?;
    let (directory, path, digest) = (directory.to_owned(), directory.join(name), sha256.clone());
    let kept = tokio::task::spawn_blocking(move || keep(file, &directory, &path, &digest)).await;
    let is_new = kept.unwrap_or_else(|panic| Err(failed(io::Error::other(panic))))?;
    Ok(Written {
        sha256,
        erased: verifier.erased(),
        is_new,
    })
}

/// Has a file on disk under its name; whether it was not there before, by an attempt that was interrupted before it was on record.
fn keep(
    file: NamedTempFile,
    directory: &Path,
    path: &Path,
    sha256: &str,
) -> Result<bool, ArchiveError> {
    let failed = |source| ArchiveError::Write {
        directory: directory.to_owned(),
        source,
    };
    file.as_file().sync_all().map_err(failed)?;
    let is_new = match file.persist_noclobber(path) {
        Ok(_) => true,
        Err(e) if e.error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(e.error)),
        Err(_) if digest_of(path).map_err(failed)? == sha256 => false,
        Err(_) => return Err(ArchiveError::Taken(path.to_owned())),
    };
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(failed)?;
    Ok(is_new)
}

fn digest_of(path: &Path) -> io::Result<String> {
    let mut to = Digesting {
        file: io::sink(),
        sha256: Sha256::new(),
    };
    io::copy(&mut File::open(path)?, &mut to)?;
    Ok(hex(to.sha256))
}

fn hex(sha256: Sha256) -> String {
    let digest = sha256.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Digests what is written.
struct Digesting<W: Write> {
    file: W,
    sha256: Sha256,
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.sha256.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
