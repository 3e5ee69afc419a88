//! What policies were asked, beside the records of what they decided: kept for a while, to be asked again.

use jiff::Timestamp;
use sqlx::{AnyConnection, Row as _, any::AnyRow};
use writ_policy::kept::KeptInput;

use super::{Store, StoreError, audit};
use crate::audit::Record;

/// `INSERT INTO decision_inputs … SELECT …`, to be completed with a `FROM` that gives [`rows`] as JSONB in `value`.
macro_rules! input_insert {
    () => {
        "INSERT INTO decision_inputs (record, input, lacks) SELECT value ->> 0, value ->> 1, value ->> 2"
    };
}
pub(super) use input_insert;

/// So many are deleted at a time, so that nobody waits for all of them.
const SWEPT: u64 = 1000;

/// A record's input.
pub(super) type Kept<'a> = (&'a Record, &'a KeptInput);

/// The rows as JSON: record, document and what it lacks.
pub(super) fn rows(kept: &[Kept<'_>]) -> Result<String, StoreError> {
    let row = |(record, kept): &Kept<'_>| (record.id.clone(), kept.document.clone(), kept.lacks);
    super::json(&kept.iter().map(row).collect::<Vec<_>>())
}

pub(super) async fn insert(conn: &mut AnyConnection, kept: &[Kept<'_>]) -> Result<(), StoreError> {
    if kept.is_empty() {
        return Ok(());
    }
    sqlx::query(concat!(input_insert!(), " FROM jsonb_each($1)"))
        .bind(rows(kept)?)
        .execute(conn)
        .await?;
    Ok(())
}

/// Which decisions to read. Absent means any.
#[derive(Clone, Debug, Default)]
pub struct Decisions {
    /// Only from this time on (RFC 3339, UTC).
    pub since: Option<String>,
    /// Only before this time.
    pub until: Option<String>,
    /// Only about this agent's calls.
    pub agent: Option<String>,
    /// Only about calls to this server.
    pub server: Option<String>,
}

/// A record, its place in the trail, and what is kept of the input where a policy was asked.
#[derive(Clone, Debug)]
pub struct Decided {
    /// Grows from record to record.
    pub seq: i64,
    /// The record.
    pub record: Record,
    /// What the policy was asked.
    pub input: Option<KeptInput>,
}

const SELECT: &str = "SELECT a.*, NULL AS tally_count, CAST(i.record IS NOT NULL AS INTEGER) AS is_kept, i.input AS input, i.lacks AS lacks
         FROM records AS a LEFT JOIN decision_inputs AS i ON i.record = a.id ";

impl Store {
    /// Up to `limit` decisions of a policy about calls after `seq` that match, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn decisions_after(
        &self,
        of: &Decisions,
        seq: i64,
        limit: u32,
    ) -> Result<Vec<Decided>, StoreError> {
        let settled = self.settled().await?;
        // Whatever else is denied is denied without a policy, but for tokens for another subject, which another rule decides.
        let sql = format!(
            "{SELECT} WHERE a.seq > $1 AND ($2 IS NULL OR a.time >= $2) AND ($3 IS NULL OR a.time < $3)
               AND ($4 IS NULL OR a.agent = $4) AND ($5 IS NULL OR a.server = $5)
               AND (a.kind = 'mint' OR a.kind = 'denied' AND a.method <> 'token_exchange'
                    AND a.detail ->> 'cause' IN ('policy', 'undefined', 'wrong_shape', 'error', 'limit'))
               AND {settled} ORDER BY a.seq LIMIT $6"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(seq)
            .bind(of.since.as_deref())
            .bind(of.until.as_deref())
            .bind(of.agent.as_deref())
            .bind(of.server.as_deref())
            .bind(i64::from(limit))
            .fetch_all(&mut *self.read().await?)
            .await?;
        rows.iter().map(decided).collect()
    }

    /// The record of this id, whatever it is about.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn decided(&self, id: &str) -> Result<Option<Decided>, StoreError> {
        let sql = format!("{SELECT} WHERE a.id = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(id)
            .fetch_optional(&mut *self.read().await?)
            .await?;
        row.as_ref().map(decided).transpose()
    }

    /// Deletes the inputs of decisions before a moment.
    ///
    /// # Errors
    /// When the database fails or stays busy.
    pub async fn sweep_inputs(&self, before: Timestamp) -> Result<(), StoreError> {
        let first = audit::first_id_at(before);
        loop {
            let mut tx = self.write().await?;
            let swept = sqlx::query(
                "DELETE FROM decision_inputs WHERE record IN (
                   SELECT record FROM decision_inputs WHERE record < $1 ORDER BY record LIMIT $2)",
            )
            .bind(&first)
            .bind(i64::try_from(SWEPT).unwrap_or(i64::MAX))
            .execute(tx.conn())
            .await?
            .rows_affected();
            tx.commit().await?;
            if swept < SWEPT {
                return Ok(());
            }
        }
    }
}

fn decided(row: &AnyRow) -> Result<Decided, StoreError> {
    let entry = audit::entry(row)?;
    let lacks: Option<String> = row.try_get("lacks")?;
    let lacks = lacks.map(serde_json::Value::String);
    let lacks = lacks.map(serde_json::from_value).transpose();
    let kept = KeptInput {
        document: row.try_get("input")?,
        lacks: lacks.map_err(|e| StoreError::Malformed {
            table: "decision input",
            id: entry.record.id.clone(),
            problem: e.to_string(),
        })?,
    };
    let is_kept: i64 = row.try_get("is_kept")?;
    Ok(Decided {
        seq: entry.seq,
        record: entry.record,
        input: (is_kept != 0).then_some(kept),
    })
}

#[cfg(test)]
mod tests {
    use writ_policy::{
        Value,
        kept::{Carried, MOST_KEPT},
    };

    use super::*;
    use crate::{audit::Kind, store::commit::Mint};

    #[tokio::test]
    async fn inputs_are_deleted_when_their_time_has_come_and_records_stay() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&crate::store::Place::of_test(dir.path()))
            .await
            .unwrap();
        let input = Value::from_json_str(r#"{"mcp":{}}"#).unwrap();
        let kept = KeptInput::of(&input, Carried::Kept, MOST_KEPT);
        let now = Timestamp::now();
        for _ in 0..3 {
            let record = Record::new(Kind::Mint, now);
            let committed = store.commit_decision(1, record, Some(kept.clone()), Mint::default());
            committed.await.unwrap();
        }
        let inputs = async || {
            let all = store.decisions_after(&Decisions::default(), 0, 10).await;
            let all: Vec<_> = all.unwrap().into_iter().map(|d| d.input).collect();
            all
        };
        store.sweep_inputs(now).await.unwrap();
        assert_eq!(inputs().await, vec![Some(kept); 3]);
        let later = Timestamp::now() + jiff::SignedDuration::from_secs(1);
        store.sweep_inputs(later).await.unwrap();
        assert_eq!(inputs().await, [None, None, None]);
    }
}
