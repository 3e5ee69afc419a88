//! The store: the only place that speaks SQL.
//!
//! SQLite in WAL mode, or PostgreSQL, with an fsync at every commit. Many readers, one writing connection: a person's or
//! administrator's change takes it as a [`WriteTx`]; what happens per call goes through [`commit`], which
//! puts everything that is waiting into one transaction, so that an fsync is shared. Processes on the same database leave
//! each other's changes whole: SQLite's one writer, and on PostgreSQL a lock that stands for it, see to that.

pub mod access;
pub mod archives;
pub mod audit;
mod batch;
pub mod commit;
mod condition;
pub mod consents;
pub mod departures;
mod dialect;
mod error;
pub mod floods;
pub mod grants;
pub mod identities;
pub mod initial_tokens;
pub mod inputs;
pub mod keys;
mod layout;
pub mod log;
pub mod oauth;
pub mod pins;
mod place;
pub mod policies;
pub mod providers;
pub mod pushed;
pub mod rates;
pub mod registrations;
mod registry;
pub mod reported;
mod settled;
pub mod shadow;
pub mod shadow_servers;
pub mod shared_keys;
pub mod sightings;
pub mod sign_ins;
pub mod sinks;
pub mod snapshots;
pub mod stops;
mod sweep;
pub mod tally;
pub mod tasks;
mod tokens;
pub mod transfer;
pub mod users;
mod writer;

use std::{path::Path, sync::Arc, time::Duration};

use sqlx::{Any, AnyConnection, AnyPool, Transaction};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::timeout,
};

pub use condition::Condition;
pub use error::StoreError;
pub use place::Place;

use crate::audit::{Finding, Record};
use dialect::Dialect;
use place::Role;

/// How long anything waits for the database before it gives up.
pub(crate) const WAIT: Duration = Duration::from_secs(2);

/// A handle on the database; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    readers: AnyPool,
    writer: AnyPool,
    dialect: Dialect,
    turns: Turns,
    commits: commit::Commits,
    counting: rates::CountingConnection,
}

impl Store {
    /// Opens the database of an installation to look at it: nothing is made or brought up to date, and whoever runs the
    /// service goes on undisturbed.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub async fn look_at(place: &Place) -> Result<Self, StoreError> {
        if let Place::Directory(dir) = place {
            let path = Place::file(dir);
            std::fs::metadata(&path).map_err(|source| StoreError::File {
                path: path.display().to_string(),
                source,
            })?;
        }
        let first = place.connect(Role::Reader).await?;
        drop(first);
        Self::on(place, Role::Reader)
    }

    /// Opens the database, making a data directory and the file in it when absent (0700 and 0600), and brings its layout up
    /// to date.
    ///
    /// # Errors
    /// When a file cannot be made or read, the database cannot be reached, or it is of a later version.
    pub async fn open(place: &Place) -> Result<Self, StoreError> {
        if let Place::Directory(dir) = place {
            private_directory(dir)?;
            private_file(&Place::file(dir))?;
        }
        let mut first = place.connect(Role::Builder).await?;
        layout::bring_up_to_date(&mut first).await?;
        drop(first);
        Self::on(place, Role::Writer)
    }

    fn on(place: &Place, writer: Role) -> Result<Self, StoreError> {
        let turns = Turns::default();
        // One at a time writes; another is there should its connection be lost.
        let most = match place.dialect() {
            Dialect::Sqlite => 1,
            Dialect::Postgres => 2,
        };
        Ok(Self {
            readers: place.pool(Role::Reader, 4)?,
            writer: place.pool(writer, most)?,
            dialect: place.dialect(),
            commits: commit::Commits::start(writer::Writer::new(place.clone(), turns.clone())),
            turns,
            counting: rates::CountingConnection::new(place),
        })
    }

    /// A connection for reading. Writes on it are refused by the database.
    ///
    /// # Errors
    /// When none becomes free in time.
    pub async fn read(&self) -> Result<sqlx::pool::PoolConnection<Any>, StoreError> {
        Ok(self.readers.acquire().await?)
    }

    /// Begins a transaction that writes. Nobody else writes meanwhile, here or in another process: keep it short, and do slow
    /// work (password hashing, signing) before it.
    ///
    /// # Errors
    /// When its turn does not come in time.
    pub async fn write(&self) -> Result<WriteTx, StoreError> {
        let turn = self.turns.take().await?;
        let (begin, lock) = self.dialect.begin_alone();
        let mut tx = self.writer.begin_with(begin).await?;
        if let Some(lock) = lock {
            sqlx::raw_sql(lock).execute(&mut *tx).await?;
        }
        Ok(WriteTx {
            tx,
            _turn: Some(turn),
        })
    }

    /// Begins a transaction that writes what nothing is decided by: on PostgreSQL, others write beside it.
    ///
    /// # Errors
    /// When its turn does not come in time.
    async fn write_beside(&self) -> Result<WriteTx, StoreError> {
        let turn = match self.dialect {
            Dialect::Sqlite => Some(self.turns.take().await?),
            Dialect::Postgres => None,
        };
        let (begin, _) = self.dialect.begin_alone();
        let tx = self.writer.begin_with(begin).await?;
        Ok(WriteTx { tx, _turn: turn })
    }

    /// Waits until everything queued is committed, then closes the database.
    pub async fn close(&self) {
        self.commits.close().await;
        self.counting.close().await;
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// A transaction that writes; rolled back when dropped.
#[derive(Debug)]
pub struct WriteTx {
    tx: Transaction<'static, Any>,
    _turn: Option<OwnedMutexGuard<()>>,
}

impl WriteTx {
    /// The connection, for the functions of this module.
    pub fn conn(&mut self) -> &mut AnyConnection {
        &mut self.tx
    }

    /// Puts a record into the trail, as part of this transaction.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn audit(&mut self, record: &Record) -> Result<(), StoreError> {
        audit::append(&mut self.tx, std::slice::from_ref(record)).await
    }

    /// The same where what it is about was never seen before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn audit_if_new(&mut self, new: &sightings::IfNew) -> Result<(), StoreError> {
        if sightings::is_new(&mut self.tx, &new.sighting).await? {
            if let Some(finding) = Finding::on(&new.record) {
                finding.count(None, 1);
            }
            self.audit(&new.record).await?;
        }
        Ok(())
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// When the database fails; nothing is written then.
    pub async fn commit(self) -> Result<(), StoreError> {
        Ok(self.tx.commit().await?)
    }
}

/// Whose turn it is to write, first come first served: waiting here is fairer, and cheaper, than trying again and again
/// for SQLite's lock, which is left to other processes.
#[derive(Clone, Debug, Default)]
struct Turns(Arc<Mutex<()>>);

impl Turns {
    async fn take(&self) -> Result<OwnedMutexGuard<()>, StoreError> {
        let turn = Arc::clone(&self.0).lock_owned();
        timeout(WAIT, turn).await.map_err(|_| StoreError::Busy)
    }
}

/// Rows as one JSON text, for `json_each`: one statement and one bound value, however many rows.
fn json<T: serde::Serialize + ?Sized>(rows: &T) -> Result<String, StoreError> {
    serde_json::to_string(rows).map_err(|e| StoreError::Database(sqlx::Error::Encode(Box::new(e))))
}

/// A count as the database keeps it: there is never more than fits.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count as the database kept it.
fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

fn private_directory(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(|source| StoreError::File {
        path: path.display().to_string(),
        source,
    })
}

/// Makes the file before SQLite does, so that it (and the WAL beside it, which takes its mode) is never open to others;
/// one that is open to others is closed to them.
fn private_file(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let create = || {
        std::fs::OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(path)
    };
    let private = || match create() {
        Ok(_) => Ok(()),
        // Looked at without being opened: to close a file drops all of the process's POSIX locks on it, SQLite's too.
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            match std::fs::metadata(path)?.permissions().mode() & 0o077 {
                0 => Ok(()),
                _ => std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)),
            }
        }
        Err(e) => Err(e),
    };
    private().map_err(|source| StoreError::File {
        path: path.display().to_string(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_database_that_is_open_to_others_is_closed_to_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("writ.db");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        private_file(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn who_writes_takes_turns() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&Place::of_test(dir.path())).await.unwrap();
        let first = store.write().await.unwrap();
        let record = Record::admin(jiff::Timestamp::now(), "test", "test");
        let second = tokio::spawn({
            let store = store.clone();
            async move { store.record(record).await }
        });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        second.await.unwrap().unwrap();
        assert_eq!(store.last_record().await.unwrap(), 1);
    }
}
