//! Records that were archived: what is marked as archived goes from the database, and its hashes stay.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::{Row as _, any::AnyRow};

use super::{Store, StoreError, audit, signed, unsigned};
use crate::{
    audit::Record,
    clock::rfc3339,
    config::sinks::{From, Sink},
};

/// So many records are deleted at a time, so that nobody waits for all of them.
const AT_A_TIME: i64 = 500;

/// Why there is no second archive of the same.
pub const ARCHIVED_MEANWHILE: &str = "somebody else has archived the same records meanwhile";

/// How many records say nothing about a person any more, by the record of the erasure.
pub type Erased = BTreeMap<String, u64>;

/// Records that are archived, from one place in the log to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// The first.
    pub first: u64,
    /// One past the last.
    pub size: u64,
    /// The file's name.
    pub file: String,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    /// Records in it that were erased before.
    pub erased: Erased,
}

impl Store {
    /// The archives, in their order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn archives(&self) -> Result<Vec<Archive>, StoreError> {
        let rows =
            sqlx::query("SELECT size, first, file, sha256, erased FROM archives ORDER BY size")
                .fetch_all(&mut *self.read().await?)
                .await?;
        rows.iter().map(archive).collect()
    }

    /// Where the records begin that are here: the end of an archive, or 0; and what was erased before that. An archive of which
    /// some records are still here has all of them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn log_begins(&self) -> Result<(u64, Erased), StoreError> {
        let first: Option<i64> = sqlx::query_scalar("SELECT min(leaf) FROM leaves")
            .fetch_one(&mut *self.read().await?)
            .await?;
        let first = first.map(unsigned);
        let (mut begins, mut before) = (0, Erased::new());
        for archive in self.archives().await? {
            if first.is_some_and(|first| first <= archive.first) {
                break;
            }
            begins = archive.size;
            for (by, count) in archive.erased {
                *before.entry(by).or_default() += count;
            }
        }
        Ok((begins, before))
    }

    /// How many records are marked as archived.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn archived(&self) -> Result<u64, StoreError> {
        let archived: Option<i64> = sqlx::query_scalar("SELECT max(size) FROM archives")
            .fetch_one(&mut *self.read().await?)
            .await?;
        Ok(unsigned(archived.unwrap_or(0)))
    }

    /// When the oldest record was made that is in the log and here.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn oldest_logged(&self) -> Result<Option<Timestamp>, StoreError> {
        self.time_of(
            "SELECT a.id, a.time FROM leaves AS l JOIN audit AS a ON a.seq = l.seq ORDER BY l.leaf LIMIT 1",
        )
        .await
    }

    /// How many records of the log can be archived: those before a moment that a checkpoint ends with, and that all of these
    /// sinks have. One that was never sent to has none, if it is to begin at the start.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn archivable(&self, before: Timestamp, sinks: &[Sink]) -> Result<u64, StoreError> {
        let states = self.sinks().await?;
        let has = |sink: &Sink| match states.iter().find(|state| state.name == sink.name) {
            Some(state) => Some(state.next),
            None => (sink.from == From::Start).then_some(0),
        };
        let with_all = sinks.iter().filter_map(has).min();
        let size: Option<i64> = sqlx::query_scalar(
            "SELECT max(size) FROM checkpoints
             WHERE size <= coalesce((SELECT l.leaf FROM audit AS a JOIN leaves AS l ON l.seq = a.seq
                                     WHERE a.id >= $1 ORDER BY a.id LIMIT 1), (SELECT size FROM log_state))
               AND size <= $2",
        )
        .bind(audit::first_id_at(before))
        .bind(with_all.map_or(i64::MAX, signed))
        .fetch_one(&mut *self.read().await?)
        .await?;
        Ok(unsigned(size.unwrap_or(0)))
    }

    /// How often people were erased.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn erasures(&self) -> Result<u64, StoreError> {
        let erasures: i64 = sqlx::query_scalar("SELECT erasures FROM log_state")
            .fetch_one(&mut *self.read().await?)
            .await?;
        Ok(unsigned(erasures))
    }

    /// Marks records as archived, with the record of that, if nobody was erased since there were so many [erasures](Self::erasures).
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where somebody else has archived, or somebody was erased, since the archive was written; when the
    /// database fails.
    pub async fn mark_archived(
        &self,
        archive: &Archive,
        erasures: u64,
        record: &Record,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let end: Option<i64> = sqlx::query_scalar("SELECT max(size) FROM archives")
            .fetch_one(tx.conn())
            .await?;
        if unsigned(end.unwrap_or(0)) != archive.first {
            return Err(StoreError::Conflict(ARCHIVED_MEANWHILE));
        }
        let so_many: i64 = sqlx::query_scalar("SELECT erasures FROM log_state")
            .fetch_one(tx.conn())
            .await?;
        if unsigned(so_many) != erasures {
            return Err(StoreError::Conflict(
                "somebody was erased while the archive was written: archive again",
            ));
        }
        sqlx::query(
            "INSERT INTO archives (size, first, time, file, sha256, erased) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(signed(archive.size))
        .bind(signed(archive.first))
        .bind(rfc3339(now))
        .bind(&archive.file)
        .bind(&archive.sha256)
        .bind(super::json(&archive.erased)?)
        .execute(tx.conn())
        .await?;
        tx.audit(record).await?;
        tx.commit().await
    }

    /// Whether nothing that is marked as archived is here any more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_swept(&self) -> Result<bool, StoreError> {
        let left: Option<i64> = sqlx::query_scalar(
            "SELECT leaf FROM leaves WHERE leaf < (SELECT max(size) FROM archives) LIMIT 1",
        )
        .fetch_optional(&mut *self.read().await?)
        .await?;
        Ok(left.is_none())
    }

    /// Deletes what is marked as archived, where the record of that is in the log.
    ///
    /// # Errors
    /// When the database fails or stays busy.
    pub async fn sweep_archived(&self) -> Result<(), StoreError> {
        while self.sweep_some_archived().await? {}
        Ok(())
    }

    /// Whether there may be more.
    async fn sweep_some_archived(&self) -> Result<bool, StoreError> {
        let mut tx = self.write_beside().await?;
        let upto: Option<i64> = sqlx::query_scalar(
            "SELECT CASE WHEN first + $1 < size THEN first + $1 ELSE size END
             FROM (SELECT (SELECT min(leaf) FROM leaves) AS first, (SELECT max(size) FROM archives) AS size) AS both_ends
             WHERE first < size",
        )
        .bind(AT_A_TIME)
        .fetch_optional(tx.conn())
        .await?;
        let Some(upto) = upto else {
            return Ok(false);
        };
        for sql in [
            "DELETE FROM decision_inputs WHERE record IN (SELECT a.id FROM audit AS a JOIN leaves AS l ON l.seq = a.seq WHERE l.leaf < $1)",
            "DELETE FROM kept_arguments WHERE record IN (SELECT a.id FROM audit AS a JOIN leaves AS l ON l.seq = a.seq WHERE l.leaf < $1)",
            "DELETE FROM tallies WHERE count <= recorded
               AND record_id IN (SELECT a.id FROM audit AS a JOIN leaves AS l ON l.seq = a.seq WHERE l.leaf < $1)",
            "DELETE FROM audit_personal WHERE record IN (SELECT a.id FROM audit AS a JOIN leaves AS l ON l.seq = a.seq WHERE l.leaf < $1)",
            "DELETE FROM audit WHERE seq IN (SELECT seq FROM leaves WHERE leaf < $1)",
            "DELETE FROM leaves WHERE leaf < $1",
        ] {
            sqlx::query(sql).bind(upto).execute(tx.conn()).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Deletes checkpoints that are older than a day, but the last of each hour, those that archives end with, and the newest.
    ///
    /// # Errors
    /// When the database fails or stays busy.
    pub async fn prune_checkpoints(&self, day_ago: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.write_beside().await?;
        sqlx::query(
            "DELETE FROM checkpoints WHERE time < $1
               AND size NOT IN (SELECT max(size) FROM checkpoints WHERE time < $1 GROUP BY substr(time, 1, 13))
               AND size NOT IN (SELECT size FROM archives)",
        )
        .bind(rfc3339(day_ago))
        .execute(tx.conn())
        .await?;
        tx.commit().await
    }
}

fn archive(row: &AnyRow) -> Result<Archive, StoreError> {
    let file: String = row.try_get("file")?;
    let erased: String = row.try_get("erased")?;
    Ok(Archive {
        first: unsigned(row.try_get("first")?),
        size: unsigned(row.try_get("size")?),
        sha256: row.try_get("sha256")?,
        erased: serde_json::from_str(&erased).map_err(|e| StoreError::Malformed {
            table: "archive",
            id: file.clone(),
            problem: e.to_string(),
        })?,
        file,
    })
}
