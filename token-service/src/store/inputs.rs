//! What lies beside the records of decisions, for a while: what policies were asked, to be asked again, and what calls carried.

use sqlx::{AnyConnection, Row as _, any::AnyRow};
use writ_policy::kept::KeptInput;

use super::{Store, StoreError, audit, audit::COLUMNS};
use crate::audit::{Beside, Record};

/// `INSERT INTO decision_inputs … SELECT …`, to be completed with a `FROM` that gives [`rows`] as JSONB in `value`.
macro_rules! input_insert {
    () => {
        "INSERT INTO decision_inputs (record, input, lacks) SELECT value ->> 0, value ->> 1, value ->> 2"
    };
}
pub(super) use input_insert;

/// The same for [`argument_rows`].
macro_rules! argument_insert {
    () => {
        "INSERT INTO kept_arguments (record, carried) SELECT value ->> 0, value ->> 1"
    };
}
pub(super) use argument_insert;

/// A record, and what lies beside it.
pub(super) type Kept<'a> = (&'a Record, &'a Beside);

/// The rows as JSON: record, document and what it lacks.
pub(super) fn rows(kept: &[Kept<'_>]) -> Result<String, StoreError> {
    let row = |(record, beside): &Kept<'_>| {
        let input = beside.input.as_ref()?;
        Some((record.id.clone(), input.document.clone(), input.lacks))
    };
    super::json(&kept.iter().filter_map(row).collect::<Vec<_>>())
}

/// What calls carried, as rows: record, and the rest encrypted.
pub(super) fn argument_rows(kept: &[Kept<'_>]) -> Result<String, StoreError> {
    let row = |(record, beside): &Kept<'_>| Some((record.id.clone(), beside.carried.clone()?));
    super::json(&kept.iter().filter_map(row).collect::<Vec<_>>())
}

pub(super) async fn insert(conn: &mut AnyConnection, kept: &[Kept<'_>]) -> Result<(), StoreError> {
    if kept.is_empty() {
        return Ok(());
    }
    for (sql, rows) in [
        (
            concat!(input_insert!(), " FROM jsonb_each($1)"),
            rows(kept)?,
        ),
        (
            concat!(argument_insert!(), " FROM jsonb_each($1)"),
            argument_rows(kept)?,
        ),
    ] {
        if rows != "[]" {
            sqlx::query(sql).bind(rows).execute(&mut *conn).await?;
        }
    }
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

/// A record, its place in the trail, and what lies beside it.
#[derive(Clone, Debug)]
pub struct Decided {
    /// Grows from record to record.
    pub seq: i64,
    /// The record.
    pub record: Record,
    /// What the policy was asked; with what the call carried once that was put back
    /// ([`Key::put_back`](crate::audit::ArgumentsKey::put_back)).
    pub input: Option<KeptInput>,
    /// What the call carried, encrypted.
    pub carried: Option<String>,
    /// Whether not all of that is there.
    pub is_redacted: bool,
}

const FROM: &str = "NULL AS tally_count, CAST(i.record IS NOT NULL AS INTEGER) AS is_kept, i.input AS input, i.lacks AS lacks,
            k.carried AS carried
         FROM records AS a LEFT JOIN decision_inputs AS i ON i.record = a.id LEFT JOIN kept_arguments AS k ON k.record = a.id ";

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
            "SELECT {COLUMNS}, {FROM} WHERE a.seq > $1 AND ($2 IS NULL OR a.time >= $2) AND ($3 IS NULL OR a.time < $3)
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
        let sql = format!("SELECT {COLUMNS}, {FROM} WHERE a.id = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(id)
            .fetch_optional(&mut *self.read().await?)
            .await?;
        row.as_ref().map(decided).transpose()
    }

    /// What is kept of what a record's call carried, encrypted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn kept_arguments(&self, record: &str) -> Result<Option<String>, StoreError> {
        Ok(
            sqlx::query_scalar("SELECT carried FROM kept_arguments WHERE record = $1")
                .bind(record)
                .fetch_optional(&mut *self.read().await?)
                .await?,
        )
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
        carried: row.try_get("carried")?,
        is_redacted: false,
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
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
            let beside = Beside {
                input: Some(kept.clone()),
                carried: Some("sealed".to_owned()),
            };
            let committed = store.commit_decision(1, record, beside, Mint::default());
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

        // What calls carried has a time of its own.
        let carried = async || {
            let all = store.decisions_after(&Decisions::default(), 0, 10).await;
            all.unwrap().iter().filter(|d| d.carried.is_some()).count()
        };
        store.sweep_arguments(now).await.unwrap();
        assert_eq!(carried().await, 3);
        store.sweep_arguments(later).await.unwrap();
        assert_eq!(carried().await, 0);
    }
}
