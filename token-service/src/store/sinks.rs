//! How far each sink of the log is, and who sends to it.

use jiff::Timestamp;
use sqlx::{Row as _, any::AnyRow};

use super::{Store, StoreError, audit::Entry, signed, unsigned};
use crate::clock::rfc3339;

/// Who sends to a sink, and for how long nobody else may.
#[derive(Clone, Copy, Debug)]
pub struct Lease<'a> {
    /// The sink's name.
    pub sink: &'a str,
    /// Who: unique in the installation.
    pub holder: &'a str,
    /// Now.
    pub now: Timestamp,
    /// When it ends.
    pub until: Timestamp,
}

/// What a sink has taken, or would not take.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The leaf that was next before.
    pub from: u64,
    /// The leaf that is next.
    pub to: u64,
    /// Records in between that it would not take.
    pub skipped: u64,
}

/// How a sink is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkState {
    /// Its name.
    pub name: String,
    /// The first leaf that was not sent.
    pub next: u64,
    /// Records that it would not take.
    pub skipped: u64,
    /// When it last took a record (RFC 3339, UTC).
    pub last_sent: Option<String>,
    /// What last went wrong.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_time: Option<String>,
}

impl Store {
    /// Takes or keeps the right to send to a sink, which begins at leaf `first` when it is new; answers with the leaf to send next.
    /// None where somebody else has it.
    ///
    /// # Errors
    /// When the database fails or stays busy.
    pub async fn hold_sink(&self, lease: Lease<'_>, first: u64) -> Result<Option<u64>, StoreError> {
        // Whoever waits for their turn looks often, and writes nothing for that.
        let held = sqlx::query_scalar::<_, String>(
            "SELECT holder FROM sinks WHERE name = $1 AND holder <> $2 AND held_until >= $3",
        )
        .bind(lease.sink)
        .bind(lease.holder)
        .bind(lease.now.as_millisecond())
        .fetch_optional(&mut *self.read().await?)
        .await?;
        if held.is_some() {
            return Ok(None);
        }
        let mut tx = self.write_beside().await?;
        sqlx::query(
            "INSERT INTO sinks (name, next_leaf) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
        )
        .bind(lease.sink)
        .bind(signed(first))
        .execute(tx.conn())
        .await?;
        let next = sqlx::query_scalar::<_, i64>(
            "UPDATE sinks SET holder = $2, held_until = $3
             WHERE name = $1 AND (holder IS NULL OR holder = $2 OR held_until < $4)
             RETURNING next_leaf",
        )
        .bind(lease.sink)
        .bind(lease.holder)
        .bind(lease.until.as_millisecond())
        .bind(lease.now.as_millisecond())
        .fetch_optional(tx.conn())
        .await?;
        tx.commit().await?;
        Ok(next.map(unsigned))
    }

    /// Writes down how far a sink is, and keeps the right to send. `false` where somebody else has taken that over: then nothing
    /// is written.
    ///
    /// # Errors
    /// When the database fails or stays busy.
    pub async fn advance_sink(
        &self,
        lease: Lease<'_>,
        progress: Progress,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write_beside().await?;
        let moved = sqlx::query(
            "UPDATE sinks SET next_leaf = $4, skipped = skipped + $5, held_until = $6, last_sent = $7
             WHERE name = $1 AND holder = $2 AND next_leaf = $3",
        )
        .bind(lease.sink)
        .bind(lease.holder)
        .bind(signed(progress.from))
        .bind(signed(progress.to))
        .bind(signed(progress.skipped))
        .bind(lease.until.as_millisecond())
        .bind(rfc3339(lease.now))
        .execute(tx.conn())
        .await?
        .rows_affected();
        tx.commit().await?;
        Ok(moved > 0)
    }

    /// Lets somebody else send to a sink.
    ///
    /// # Errors
    /// When the database fails or stays busy.
    pub async fn release_sink(&self, sink: &str, holder: &str) -> Result<(), StoreError> {
        let mut tx = self.write_beside().await?;
        sqlx::query(
            "UPDATE sinks SET holder = NULL, held_until = 0 WHERE name = $1 AND holder = $2",
        )
        .bind(sink)
        .bind(holder)
        .execute(tx.conn())
        .await?;
        tx.commit().await
    }

    /// Writes down what went wrong with a sink.
    ///
    /// # Errors
    /// When the database fails or stays busy.
    pub async fn sink_failed(
        &self,
        sink: &str,
        problem: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.write_beside().await?;
        sqlx::query("UPDATE sinks SET last_error = $2, last_error_time = $3 WHERE name = $1")
            .bind(sink)
            .bind(problem)
            .bind(rfc3339(now))
            .execute(tx.conn())
            .await?;
        tx.commit().await
    }

    /// All sinks that anything was ever sent to, by their names.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sinks(&self) -> Result<Vec<SinkState>, StoreError> {
        let rows = sqlx::query(
            "SELECT name, next_leaf, skipped, last_sent, last_error, last_error_time FROM sinks ORDER BY name",
        )
        .fetch_all(&mut *self.read().await?)
        .await?;
        rows.iter().map(state).collect()
    }

    /// Up to `limit` records from this leaf on, in the log's order.
    ///
    /// # Errors
    /// When the database fails, or holds what this version does not write.
    pub async fn records_from_leaf(&self, leaf: u64, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let condition = [format!("a.leaf >= {}", signed(leaf))];
        let order = format!("ORDER BY a.leaf LIMIT {limit}");
        self.entries(&condition, &[], &order).await
    }
}

fn state(row: &AnyRow) -> Result<SinkState, StoreError> {
    Ok(SinkState {
        name: row.try_get("name")?,
        next: unsigned(row.try_get("next_leaf")?),
        skipped: unsigned(row.try_get("skipped")?),
        last_sent: row.try_get("last_sent")?,
        last_error: row.try_get("last_error")?,
        last_error_time: row.try_get("last_error_time")?,
    })
}
