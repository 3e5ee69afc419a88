//! The audit trail's table: appended to and read, never changed.

use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

use writ_policy::event::CallResult;

use super::{Store, StoreError};
use crate::audit::{Kind, Record};

/// `INSERT INTO audit … SELECT …`, to be completed with a `FROM` that gives records as JSONB in `value`.
macro_rules! audit_insert {
    () => {
        "INSERT INTO audit (id, time, kind, subject, agent, gateway, server, method, target, decision, reason,
                            gateway_policy, service_policy, token_id, txn, subject_token_id, content_digest,
                            request_id, source_ip, detail, task, result_digest)
         SELECT value ->> 'id', value ->> 'time', value ->> 'kind', value ->> 'subject', value ->> 'agent',
                value ->> 'gateway', value ->> 'server', value ->> 'method', value ->> 'target',
                value ->> 'decision', value ->> 'reason', value ->> 'gateway_policy',
                value ->> 'service_policy', value ->> 'token_id', value ->> 'txn',
                value ->> 'subject_token_id', value ->> 'content_digest', value ->> 'request_id',
                value ->> 'source_ip', value -> 'detail', value ->> 'task', value ->> 'result_digest'"
    };
}
pub(super) use audit_insert;

/// Appends records in order.
pub(super) async fn append(
    conn: &mut SqliteConnection,
    records: &[Record],
) -> Result<(), StoreError> {
    append_all(conn, &records.iter().collect::<Vec<_>>()).await
}

pub(super) async fn append_all(
    conn: &mut SqliteConnection,
    records: &[&Record],
) -> Result<(), StoreError> {
    if records.is_empty() {
        return Ok(());
    }
    sqlx::query(concat!(audit_insert!(), " FROM jsonb_each(?) ORDER BY key"))
        .bind(super::json(records)?)
        .execute(conn)
        .await?;
    Ok(())
}

/// Appends what gateways reported. An outcome names its token only; whose call it was is taken from that token's own
/// record.
pub(super) async fn append_reported(
    conn: &mut SqliteConnection,
    records: &[&Record],
) -> Result<(), StoreError> {
    if records.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO audit (id, time, kind, subject, agent, gateway, server, method, target, decision, reason,
                            gateway_policy, service_policy, token_id, txn, subject_token_id, content_digest,
                            request_id, source_ip, detail, task, result_digest)
         SELECT e.value ->> 'id', e.value ->> 'time', e.value ->> 'kind',
                coalesce(e.value ->> 'subject', mint.subject), coalesce(e.value ->> 'agent', mint.agent),
                e.value ->> 'gateway', coalesce(e.value ->> 'server', mint.server),
                coalesce(e.value ->> 'method', mint.method), coalesce(e.value ->> 'target', mint.target),
                e.value ->> 'decision', e.value ->> 'reason', e.value ->> 'gateway_policy',
                e.value ->> 'service_policy', e.value ->> 'token_id', mint.txn,
                coalesce(e.value ->> 'subject_token_id', mint.subject_token_id),
                coalesce(e.value ->> 'content_digest', mint.content_digest),
                e.value ->> 'request_id', coalesce(e.value ->> 'source_ip', mint.source_ip),
                e.value -> 'detail', coalesce(e.value ->> 'task', mint.task), e.value ->> 'result_digest'
         FROM jsonb_each(?) AS e
         LEFT JOIN audit AS mint
                ON mint.kind = 'mint' AND mint.token_id = e.value ->> 'token_id'
               AND mint.gateway = e.value ->> 'gateway'
         ORDER BY e.key",
    )
    .bind(super::json(records)?)
    .execute(conn)
    .await?;
    Ok(())
}

/// Which records to read. Absent means any.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only this kind.
    pub kind: Option<Kind>,
    /// Only this subject.
    pub subject: Option<String>,
    /// Only this agent.
    pub agent: Option<String>,
    /// Only this server.
    pub server: Option<String>,
    /// Only calls of this target.
    pub target: Option<String>,
    /// Only what belongs to this token.
    pub token_id: Option<String>,
    /// Only what belongs to this request.
    pub request_id: Option<String>,
    /// Only what belongs to this task.
    pub task: Option<String>,
    /// Only calls that ended like this.
    pub result: Option<CallResult>,
    /// Only from this time on (RFC 3339, UTC).
    pub since: Option<String>,
}

/// A record and its place in the trail.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Grows from record to record.
    pub seq: i64,
    /// The record; that of counted tries has the count so far in its detail.
    pub record: Record,
}

const SELECT: &str = "SELECT a.*, t.first AS tally_first, t.last AS tally_last, t.count AS tally_count
         FROM audit AS a LEFT JOIN tallies AS t ON a.kind = 'unauthenticated' AND t.record_id = a.id
         WHERE (?1 IS NULL OR a.kind = ?1) AND (?2 IS NULL OR a.subject = ?2) AND (?3 IS NULL OR a.agent = ?3)
           AND (?4 IS NULL OR a.server = ?4) AND (?5 IS NULL OR a.target = ?5)
           AND (?6 IS NULL OR a.token_id = ?6) AND (?7 IS NULL OR a.request_id = ?7)
           AND (?8 IS NULL OR a.time >= ?8) AND a.seq > ?9 AND (?11 IS NULL OR a.task = ?11)
           AND (?12 IS NULL OR (a.kind = 'outcome' AND a.detail ->> 'result' = ?12)) ";

impl Store {
    /// The newest `limit` records that match, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn newest_records(
        &self,
        filter: &Filter,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut entries = self
            .entries(filter, 0, limit, "ORDER BY a.seq DESC LIMIT ?10")
            .await?;
        entries.reverse();
        Ok(entries)
    }

    /// Up to `limit` records after `seq` that match, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn records_after(
        &self,
        filter: &Filter,
        seq: i64,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        self.entries(filter, seq, limit, "ORDER BY a.seq LIMIT ?10")
            .await
    }

    /// The place of the newest record; 0 when there is none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn last_record(&self) -> Result<i64, StoreError> {
        let mut conn = self.read().await?;
        Ok(
            sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM audit")
                .fetch_one(&mut *conn)
                .await?,
        )
    }

    async fn entries(
        &self,
        f: &Filter,
        after: i64,
        limit: u32,
        order: &str,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut conn = self.read().await?;
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!("{SELECT}{order}")))
            .bind(f.kind.map(Kind::as_str))
            .bind(f.subject.as_deref())
            .bind(f.agent.as_deref())
            .bind(f.server.as_deref())
            .bind(f.target.as_deref())
            .bind(f.token_id.as_deref())
            .bind(f.request_id.as_deref())
            .bind(f.since.as_deref())
            .bind(after)
            .bind(limit)
            .bind(f.task.as_deref())
            .bind(f.result.map(CallResult::as_str))
            .fetch_all(&mut *conn)
            .await?;
        rows.iter().map(entry).collect()
    }
}

pub(super) fn entry(row: &SqliteRow) -> Result<Entry, StoreError> {
    let id: String = row.try_get("id")?;
    let word = |column: &str| -> Result<Option<serde_json::Value>, StoreError> {
        Ok(row
            .try_get::<Option<String>, _>(column)?
            .map(serde_json::Value::String))
    };
    let malformed = |e: serde_json::Error| StoreError::Malformed {
        table: "audit record",
        id: id.clone(),
        problem: e.to_string(),
    };
    let kind = serde_json::from_value(word("kind")?.unwrap_or_default()).map_err(malformed)?;
    let decision = word("decision")?
        .map(serde_json::from_value)
        .transpose()
        .map_err(malformed)?;
    let detail: Option<String> = row.try_get("detail")?;
    let mut detail = detail
        .map(|d| serde_json::from_str(&d))
        .transpose()
        .map_err(malformed)?;
    if let Some(count) = row.try_get::<Option<i64>, _>("tally_count")? {
        let (first, last): (String, String) =
            (row.try_get("tally_first")?, row.try_get("tally_last")?);
        let mut merged = match detail {
            Some(serde_json::Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        };
        merged.insert("first".to_owned(), first.into());
        merged.insert("last".to_owned(), last.into());
        merged.insert("count".to_owned(), count.into());
        detail = Some(serde_json::Value::Object(merged));
    }
    let record = Record {
        time: row.try_get("time")?,
        kind,
        subject: row.try_get("subject")?,
        agent: row.try_get("agent")?,
        gateway: row.try_get("gateway")?,
        server: row.try_get("server")?,
        method: row.try_get("method")?,
        target: row.try_get("target")?,
        decision,
        reason: row.try_get("reason")?,
        gateway_policy: row.try_get("gateway_policy")?,
        service_policy: row.try_get("service_policy")?,
        token_id: row.try_get("token_id")?,
        txn: row.try_get("txn")?,
        subject_token_id: row.try_get("subject_token_id")?,
        content_digest: row.try_get("content_digest")?,
        result_digest: row.try_get("result_digest")?,
        request_id: row.try_get("request_id")?,
        source_ip: row.try_get("source_ip")?,
        detail,
        task: row.try_get("task")?,
        id,
    };
    Ok(Entry {
        seq: row.try_get("seq")?,
        record,
    })
}
