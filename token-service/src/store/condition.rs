//! The database itself, for those who look after it.

use super::{Store, StoreError, dialect::Dialect};

/// What state the database is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// SQLite's.
    Sqlite {
        /// What its quick check found; `ok` when that is nothing.
        damage: String,
        /// `wal`, as the service sets it.
        journal_mode: String,
    },
    /// PostgreSQL's.
    Postgres {
        /// The server's version.
        version: String,
        /// Whether a commit is on disk before it is answered (`fsync` and `full_page_writes`).
        durable: bool,
        /// Whether it is a standby, which nobody can write to.
        standby: bool,
    },
}

impl Store {
    /// Says what is wrong with the database; SQLite's is read whole for that.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn condition(&self) -> Result<Condition, StoreError> {
        let mut conn = self.read().await?;
        match self.dialect {
            Dialect::Sqlite => Ok(Condition::Sqlite {
                damage: sqlx::query_scalar("PRAGMA quick_check(1)")
                    .fetch_one(&mut *conn)
                    .await?,
                journal_mode: sqlx::query_scalar("PRAGMA journal_mode")
                    .fetch_one(&mut *conn)
                    .await?,
            }),
            Dialect::Postgres => {
                let (version, durable, standby) = sqlx::query_as(
                    "SELECT current_setting('server_version'),
                            current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on',
                            pg_is_in_recovery()",
                )
                .fetch_one(&mut *conn)
                .await?;
                Ok(Condition::Postgres {
                    version,
                    durable,
                    standby,
                })
            }
        }
    }
}
