//! Which records of the trail nothing can come before any more.
//!
//! A record's `seq` is given out before it is committed. SQLite has one writer, so that the order of numbers is the order of
//! commits. On PostgreSQL a later number may be committed first: whoever reads on from a number would miss what comes after.

use super::{Store, StoreError, dialect::Dialect};

impl Store {
    /// The condition on a record `a` that all before it are committed. It must be asked for before the statement that it is
    /// part of.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn settled(&self) -> Result<String, StoreError> {
        match self.dialect {
            Dialect::Sqlite => Ok("true".to_owned()),
            Dialect::Postgres => {
                let last: i64 = sqlx::query_scalar("SELECT settled_seq()")
                    .fetch_one(&mut *self.read().await?)
                    .await?;
                Ok(format!("a.seq <= {last}"))
            }
        }
    }
}
