//! Which keys sign snapshots, and in which epoch.

use super::{Store, StoreError};
use crate::audit::Record;

/// The one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// How often the service was put back to an earlier state.
    pub epoch: u64,
    /// The first key that is trusted.
    pub first_key: i64,
    /// The key that signs.
    pub last_key: i64,
}

impl Store {
    /// What it is now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn snapshots(&self) -> Result<State, StoreError> {
        let (epoch, first_key, last_key): (i64, i64, i64) =
            sqlx::query_as("SELECT epoch, first_key, last_key FROM snapshots")
                .fetch_one(&mut *self.read().await?)
                .await?;
        Ok(State {
            epoch: u64::try_from(epoch).unwrap_or(0),
            first_key,
            last_key,
        })
    }

    /// Changes it, with its record, where it is still what it was.
    ///
    /// # Errors
    /// When somebody else has changed it meanwhile, or the database fails.
    pub async fn set_snapshots(
        &self,
        before: &State,
        after: &State,
        record: &Record,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let number = |epoch: u64| i64::try_from(epoch).unwrap_or(i64::MAX);
        let done = sqlx::query(
            "UPDATE snapshots SET epoch = $1, first_key = $2, last_key = $3 WHERE epoch = $4 AND last_key = $5",
        )
        .bind(number(after.epoch))
        .bind(after.first_key)
        .bind(after.last_key)
        .bind(number(before.epoch))
        .bind(before.last_key)
        .execute(tx.conn())
        .await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Conflict(
                "somebody else has changed it at this moment; look, and try again",
            ));
        }
        tx.audit(record).await?;
        tx.commit().await
    }
}
