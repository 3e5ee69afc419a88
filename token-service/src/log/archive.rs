//! Archiving: the oldest records go to a file that can be verified by itself, and from the database; their hashes stay there, so that
//! the log goes on, proofs are made as before, and archive and database can be verified together.
//!
//! The file is whole and on disk before anything is marked as archived, and only what is marked, on record, is deleted.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest as _, Sha256};

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
    store::{Store, StoreError, archives::Archive},
};

/// How many records are read at a time.
const PAGE: u32 = 5000;

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
    sweep(store).await?;
    let (first, erased_before) = store.log_begins().await?;
    let size = store.archivable(before, sinks).await?;
    if size <= first {
        return Ok(None);
    }
    let tiles = store.tiles(Edge::tiles(first)).await?;
    let edge = Edge::read(first, &tiles).map_err(VerifyError::from)?;
    let begin = Begin::after(&edge, erased_before, Some(size));
    let file = format!("{first:020}-{size:020}.jsonl");
    let (sha256, verifier) = write(store, directory, &file, begin).await?;
    let archive = Archive {
        first,
        size,
        file,
        sha256,
        erased: verifier.erased(),
    };
    store
        .mark_archived(&archive, &record(&archive, now), now)
        .await?;
    sweep(store).await?;
    Ok(Some(archive))
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

/// Writes the file, verifying what goes into it; answers with its digest.
async fn write(
    store: &Store,
    directory: &Path,
    name: &str,
    begin: Begin,
) -> Result<(String, Verifier), ArchiveError> {
    let failed = |source| ArchiveError::Write {
        directory: directory.to_owned(),
        source,
    };
    let file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
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
    let sha256 = to
        .sha256
        .finalize()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let file = to.file.into_inner().map_err(|e| failed(e.into_error()))?;
    file.as_file().sync_all().map_err(failed)?;
    // One of that name is of an attempt that did not come to its end.
    file.persist(directory.join(name))
        .map_err(|e| failed(e.error))?;
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(failed)?;
    Ok((sha256, verifier))
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
