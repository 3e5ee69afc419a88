//! The database itself, for those who look after it.

use super::{MIGRATIONS, Store, StoreError};

/// What state the database is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// What SQLite's quick check found; `ok` when that is nothing.
    pub damage: String,
    /// `wal`, as the service sets it.
    pub journal_mode: String,
}

impl Store {
    /// Reads the whole database and says what is wrong with it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn condition(&self) -> Result<Condition, StoreError> {
        let mut conn = self.read().await?;
        Ok(Condition {
            damage: sqlx::query_scalar("PRAGMA quick_check(1)")
                .fetch_one(&mut *conn)
                .await?,
            journal_mode: sqlx::query_scalar("PRAGMA journal_mode")
                .fetch_one(&mut *conn)
                .await?,
        })
    }

    /// The steps of this version's layout that the database does not have.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn missing_migrations(&self) -> Result<Vec<i64>, StoreError> {
        let done: Vec<i64> =
            sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success")
                .fetch_all(&mut *self.read().await?)
                .await?;
        Ok(MIGRATIONS
            .iter()
            .map(|step| step.version)
            .filter(|version| !done.contains(version))
            .collect())
    }
}
