//! Archiving: the oldest records go to a file that can be verified by itself, and from the database; their hashes stay there, so that
//! the log goes on, proofs are made as before, and archive and database can be verified together.
//!
//! The file is whole and on disk before anything is marked as archived, and only what is marked, on record, is deleted. No file that
//! is there already is ever replaced.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
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
    verify::{ARCHIVE, Verifier, VerifyError},
};
use crate::{
    audit::{Record, Verdict},
    config::sinks::Sink,
    hex::hex,
    store::{
        Store, StoreError,
        archives::{ARCHIVED_MEANWHILE, Archive, Erased},
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
    let place = directory.to_owned();
    let _alone = on_disk(directory, move || alone_in(&place)).await?;
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
    let written = match write(store, directory, &file, begin).await {
        // What was being read may have gone meanwhile.
        Err(ArchiveError::Verify(_)) if store.archived().await? > first => {
            return Err(StoreError::Conflict(ARCHIVED_MEANWHILE).into());
        }
        written => written?,
    };
    let (sha256, erased) = written;
    let archive = Archive {
        first,
        size,
        file,
        sha256,
        erased,
    };
    let record = record(&archive, now);
    let marked = store.mark_archived(&archive, erasures, &record, now).await;
    if let Err(error @ StoreError::Conflict(_)) = marked {
        let archives = store.archives().await?;
        let same = |kept: &Archive| kept.file == archive.file && kept.sha256 == archive.sha256;
        if !archives.iter().any(same) {
            // It is no archive, and would keep what it says about people.
            let path = directory.join(&archive.file);
            on_disk(directory, move || Ok(fs::remove_file(path)?)).await?;
        }
        return Err(error.into());
    }
    marked?;
    sweep(store).await?;
    Ok(Some(archive))
}

/// What goes wrong on disk, and where.
#[derive(Debug)]
enum DiskError {
    Io(io::Error),
    Locked,
    Taken(PathBuf),
}

impl From<io::Error> for DiskError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Works with a directory, which may be far away and hang, where nobody waits for it who has others to answer.
async fn on_disk<T: Send + 'static>(
    directory: &Path,
    work: impl FnOnce() -> Result<T, DiskError> + Send + 'static,
) -> Result<T, ArchiveError> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or_else(|panic| Err(io::Error::other(panic).into()));
    done.map_err(|error| match error {
        DiskError::Locked => ArchiveError::Elsewhere(directory.to_owned()),
        DiskError::Taken(path) => ArchiveError::Taken(path),
        DiskError::Io(source) => ArchiveError::Write {
            directory: directory.to_owned(),
            source,
        },
    })
}

/// Keeps others from archiving in a directory, until this is dropped or the process ends; removes what was being written when
/// one was killed.
fn alone_in(directory: &Path) -> Result<File, DiskError> {
    let path = directory.join(LOCK);
    // Whoever made it may have been somebody else, and to lock it is enough to read it.
    let lock = match File::create(&path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => File::open(&path),
        made => made,
    }?;
    match lock.try_lock() {
        Err(TryLockError::WouldBlock) => return Err(DiskError::Locked),
        locked => locked.map_err(io::Error::from)?,
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PARTIAL.0) && name.ends_with(PARTIAL.1) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(lock)
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

/// Writes the file, verifying what goes into it; answers with its digest, and with what of it was erased.
async fn write(
    store: &Store,
    directory: &Path,
    name: &str,
    begin: Begin,
) -> Result<(String, Erased), ArchiveError> {
    let place = directory.to_owned();
    let mut to = on_disk(directory, move || {
        let file = tempfile::Builder::new()
            .prefix(PARTIAL.0)
            .suffix(PARTIAL.1)
            .tempfile_in(place)?;
        Ok(Digesting {
            to: file,
            sha256: Sha256::new(),
        })
    })
    .await?;
    let key = store.log_key().await?.unwrap_or_default();
    let public = PublicKey::parse(&key)?;
    let mut lines = Vec::new();
    let add = |line: &Line, lines: &mut Vec<u8>| {
        line.write(lines).map_err(|source| ArchiveError::Write {
            directory: directory.to_owned(),
            source,
        })
    };
    add(&Line::Key(key), &mut lines)?;
    let (first, size) = (begin.size, begin.end.unwrap_or(begin.size));
    add(&Line::Begin(begin.clone()), &mut lines)?;
    let mut heads = Vec::new();
    let kept = store.checkpoints().await?;
    for kept in kept
        .into_iter()
        .filter(|kept| (first..=size).contains(&kept.size))
    {
        heads.push(Head::read(&kept.note, &public)?);
        add(&Line::Checkpoint(kept.note), &mut lines)?;
    }
    let verifier = Verifier::new(heads).map_err(VerifyError::from)?;
    let mut verifier = verifier.begin(&begin)?;
    while verifier.size() < size {
        let mut page = store.logged(verifier.size(), PAGE).await?;
        page.retain(|logged| logged.index < size);
        if page.is_empty() {
            // What is missing is said at the end.
            break;
        }
        for logged in page {
            verifier.next(&logged)?;
            add(&Line::Record(Box::new(logged)), &mut lines)?;
        }
        let page = std::mem::take(&mut lines);
        to = on_disk(directory, move || {
            to.write_all(&page)?;
            Ok(to)
        })
        .await?;
    }
    let erased = verifier.erased();
    verifier.end()?;
    let sha256 = hex(&to.sha256.finalize());
    let (path, digest) = (directory.join(name), sha256.clone());
    on_disk(directory, move || keep(to.to, &path, &digest)).await?;
    Ok((sha256, erased))
}

/// Has a file on disk under its name. The same may be there, of an attempt that was interrupted before it was on record.
fn keep(file: NamedTempFile, path: &Path, sha256: &str) -> Result<(), DiskError> {
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Err(e) if e.error.kind() != io::ErrorKind::AlreadyExists => return Err(e.error.into()),
        Err(_) if digest_of(path)? != sha256 => return Err(DiskError::Taken(path.to_owned())),
        _ => {}
    }
    let directory = path.parent().unwrap_or(Path::new("."));
    Ok(File::open(directory)?.sync_all()?)
}

fn digest_of(path: &Path) -> io::Result<String> {
    let mut to = Digesting {
        to: io::sink(),
        sha256: Sha256::new(),
    };
    io::copy(&mut File::open(path)?, &mut to)?;
    Ok(hex(&to.sha256.finalize()))
}

/// Digests what is written.
struct Digesting<W> {
    to: W,
    sha256: Sha256,
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.sha256.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
