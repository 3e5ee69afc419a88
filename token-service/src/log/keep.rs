//! Keeping the log while the service runs: what is committed becomes leaves at once, and what the log says of itself is signed now and then, and laid
//! where whoever could change the database can not.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{sync::watch, time::MissedTickBehavior};

use super::{
    checkpoint::{CheckpointError, NoteKey},
    sequence::{self, SequenceError},
    tree,
};
use crate::{
    app::{App, SharedApp},
    keys::{self, KeyError, Sealing},
    store::{Store, StoreError, log::Signed},
};

/// How often records that were committed become leaves.
const SEQUENCE_EVERY: Duration = Duration::from_millis(100);
/// Which of the keys that all processes share signs checkpoints.
const PURPOSE: &str = "audit_log";
/// And which cosigns those of others.
const WITNESS_PURPOSE: &str = "witness";

/// Why the log is not kept.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Records do not become leaves.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No checkpoint can be made.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A checkpoint cannot be laid down.
    #[error("cannot write the checkpoint {path}: {source}")]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The log's name and key: made when they are first asked for. The log keeps its name when the issuer gets another.
///
/// # Errors
/// When the key does not open, or the database fails.
pub async fn key(store: &Store, sealing: &Sealing, issuer: &str) -> Result<NoteKey, KeyError> {
    let seed = keys::shared(store, sealing, PURPOSE).await?;
    let origin = store.log_origin(&origin(issuer)).await?;
    let key = NoteKey::log(&origin, &seed);
    store.keep_log_key(&key.public()).await?;
    Ok(key)
}

/// The key of a witness of this name.
///
/// # Errors
/// When the key does not open, or the database fails.
pub async fn witness_key(
    store: &Store,
    sealing: &Sealing,
    name: &str,
) -> Result<NoteKey, KeyError> {
    let seed = keys::shared(store, sealing, WITNESS_PURPOSE).await?;
    Ok(NoteKey::witness(name, &seed))
}

/// A log is called by an URL without its scheme (C2SP tlog-checkpoint); a plus would end the name of its key.
fn origin(issuer: &str) -> String {
    let bare = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
    format!("{}/audit", bare.trim_end_matches('/').replace('+', "%2B"))
}

/// Makes leaves of records.
pub(crate) async fn run(app: SharedApp, stopped: watch::Receiver<bool>) {
    let mut rounds = Rounds::new(SEQUENCE_EVERY, stopped);
    while rounds.next().await {
        let kept = sequence::catch_up(&app.store).await;
        if let Ok(size) = &kept {
            metrics::gauge!("writ_log_size").set(gauge(*size));
        }
        if let Ok(oldest) = app.store.oldest_unsequenced().await {
            let waits = oldest.map(|oldest| app.clock.now().duration_since(oldest));
            let waits = waits.map_or(0.0, |waits| waits.as_secs_f64());
            metrics::gauge!("writ_log_lag_seconds").set(waits);
        }
        rounds.ended(kept.map(drop).map_err(LogError::from));
    }
}

/// Signs the log, and lays that where it is to be.
pub(crate) async fn sign_now_and_then(app: SharedApp, stopped: watch::Receiver<bool>) {
    let mut rounds = Rounds::new(app.config.audit.checkpoint_interval, stopped);
    while rounds.next().await {
        rounds.ended(sign_and_lay_down(&app).await);
    }
}

/// Also of a log that has not grown: the newest checkpoint may not be everywhere yet.
async fn sign_and_lay_down(app: &App) -> Result<(), LogError> {
    let size = app.store.log_state().await?.size;
    let Some(signed) = checkpoint(app, size).await? else {
        return Ok(());
    };
    lay_down(app, &signed).await
}

/// How often it is looked whether there is a checkpoint that is not where it is to be.
const SHOW_EVERY: Duration = Duration::from_secs(1);

/// Something that is done again and again, until the service ends.
pub(super) struct Rounds {
    ticks: tokio::time::Interval,
    stopped: watch::Receiver<bool>,
    failing: bool,
}

impl Rounds {
    pub(super) fn new(every: Duration, stopped: watch::Receiver<bool>) -> Self {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            ticks,
            stopped,
            failing: false,
        }
    }

    /// For having checkpoints seen elsewhere: as soon as they are made, whichever service made them.
    pub(super) fn to_show(app: &App, stopped: watch::Receiver<bool>) -> Self {
        let every = app.config.audit.checkpoint_interval.min(SHOW_EVERY);
        Self::new(every, stopped)
    }

    /// Whether it is time again, or over.
    pub(super) async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.ticks.tick() => true,
            () = crate::serve::told_to_stop(&mut self.stopped) => false,
        }
    }

    fn ended(&mut self, kept: Result<(), LogError>) {
        if kept.is_err() {
            metrics::counter!("writ_log_errors_total").increment(1);
        }
        if let Some(error) = self.is_told(kept) {
            tracing::error!(%error, "the audit log does not go on; records are kept, and it is tried again");
        }
    }

    /// What is to be told of how a round ended: what went wrong, once, and again when it was well in between, so that a broken log
    /// does not fill another.
    pub(super) fn is_told<E>(&mut self, ended: Result<(), E>) -> Option<E> {
        let was_failing = std::mem::replace(&mut self.failing, ended.is_err());
        ended.err().filter(|_| !was_failing)
    }
}

/// For the end, when nothing is put on record any more: all of it is in a checkpoint.
pub(crate) async fn finish(app: &App) {
    let last = async {
        let size = sequence::catch_up(&app.store).await?;
        match checkpoint(app, size).await? {
            Some(signed) => lay_down(app, &signed).await,
            None => Ok(()),
        }
    };
    if let Err(error) = last.await {
        tracing::error!(%error, "the last records are in no checkpoint");
    }
}

/// The newest checkpoint: of this size, where the log has grown since the last. None while there are no records.
async fn checkpoint(app: &App, size: u64) -> Result<Option<Signed>, LogError> {
    let newest = app.store.newest_checkpoint().await?;
    if size == 0 || newest.as_ref().is_some_and(|newest| newest.size >= size) {
        return Ok(newest);
    }
    let signed = sign(&app.store, &app.log_key, size, app.clock.now()).await?;
    metrics::gauge!("writ_log_checkpoint_size").set(gauge(size));
    metrics::gauge!("writ_log_checkpoint_time_seconds")
        .set(gauge(crate::clock::unix(app.clock.now())));
    Ok(Some(signed))
}

/// Signs a log of this size.
///
/// # Errors
/// When its tree is damaged, or the database fails.
pub async fn sign(
    store: &Store,
    key: &NoteKey,
    size: u64,
    now: Timestamp,
) -> Result<Signed, LogError> {
    let tiles = store.tiles(tree::for_root(size)).await?;
    let root = tiles.root(size).map_err(SequenceError::from)?;
    let note = key.checkpoint(size, root)?;
    store.add_checkpoint(size, &note, now).await?;
    Ok(Signed {
        size,
        time: crate::clock::rfc3339(now),
        note,
    })
}

/// Lays a checkpoint where this service is to, if it is not there.
async fn lay_down(app: &App, signed: &Signed) -> Result<(), LogError> {
    let Some(directory) = &app.config.audit.checkpoint_dir else {
        return Ok(());
    };
    let path = directory.join(format!("{:020}.checkpoint", signed.size));
    let (to, note) = (path.clone(), signed.note.clone());
    let written = tokio::task::spawn_blocking(move || write(&to, &note)).await;
    written
        .unwrap_or_else(|panic| Err(io::Error::other(panic)))
        .map_err(|source| LogError::Write { path, source })
}

/// A file of its own, whole or not at all; what is there already is left alone.
fn write(path: &Path, note: &str) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(note.as_bytes())?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
        _ => Ok(()),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a double")]
fn gauge(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_called_by_its_issuer() {
        assert_eq!(
            origin("https://writ.example/a+b/"),
            "writ.example/a%2Bb/audit"
        );
        assert_eq!(origin("http://127.0.0.1:8181"), "127.0.0.1:8181/audit");
    }
}
