//! The audit trail's table: appended to and read, never changed.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use writ_policy::event::CallResult;

use super::{Store, StoreError};
use crate::{
    audit::{Finding, Kind, Record, Verdict},
    secret,
};

/// `INSERT INTO audit … SELECT …`, to be completed with a `FROM` that gives [`rows`] as JSONB in `value`; to be followed by
/// [`personal_insert`] of the same.
macro_rules! audit_insert {
    () => {
        "INSERT INTO audit (id, time, kind, agent, gateway, server, method, target, decision, gateway_policy, service_policy,
                            token_id, txn, subject_token_id, content_digest, result_digest, request_id, task)
         SELECT value ->> 'id', value ->> 'time', value ->> 'kind', value ->> 'agent', value ->> 'gateway',
                value ->> 'server', value ->> 'method',
                CASE WHEN value ->> 'method' IN ('tools/call', 'prompts/get') THEN value ->> 'target' END,
                value ->> 'decision', value ->> 'gateway_policy', value ->> 'service_policy', value ->> 'token_id',
                value ->> 'txn', value ->> 'subject_token_id', value ->> 'content_digest', value ->> 'result_digest',
                value ->> 'request_id', value ->> 'task'"
    };
}
pub(super) use audit_insert;

/// What is about a person; see [`audit_insert`].
macro_rules! personal_insert {
    () => {
        "INSERT INTO audit_personal (record, salt, subject, target, reason, source_ip, detail)
         SELECT value ->> 'id', value ->> 'salt', value ->> 'subject',
                CASE WHEN value ->> 'method' IN ('tools/call', 'prompts/get') THEN NULL ELSE value ->> 'target' END,
                value ->> 'reason', value ->> 'source_ip', value -> 'detail'"
    };
}
pub(super) use personal_insert;

/// What gateways reported, beside the mints that it is about.
macro_rules! reported_from {
    () => {
        " FROM jsonb_each($1) AS e
          LEFT JOIN audit AS mint
                 ON mint.kind = 'mint' AND mint.token_id = e.value ->> 'token_id'
                AND mint.gateway = e.value ->> 'gateway'
          LEFT JOIN audit_personal AS minted ON minted.record = mint.id"
    };
}

/// A record and the salt of what it says about a person.
#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    record: &'a Record,
    salt: String,
}

/// The rows as JSON.
pub(super) fn rows(records: &[&Record]) -> Result<String, StoreError> {
    let rows = records.iter().map(|record| Row {
        record,
        salt: secret::generate().to_string(),
    });
    super::json(&rows.collect::<Vec<_>>())
}

/// Appends records in order.
pub(super) async fn append(conn: &mut AnyConnection, records: &[Record]) -> Result<(), StoreError> {
    append_all(conn, &records.iter().collect::<Vec<_>>()).await
}

pub(super) async fn append_all(
    conn: &mut AnyConnection,
    records: &[&Record],
) -> Result<(), StoreError> {
    if records.is_empty() {
        return Ok(());
    }
    let rows = rows(records)?;
    for insert in [
        concat!(audit_insert!(), " FROM jsonb_each($1) ORDER BY key"),
        concat!(personal_insert!(), " FROM jsonb_each($1)"),
    ] {
        sqlx::query(insert).bind(&rows).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Appends what gateways reported. An outcome names its token only; whose call it was is taken from that token's own
/// record.
pub(super) async fn append_reported(
    conn: &mut AnyConnection,
    records: &[&Record],
) -> Result<(), StoreError> {
    if records.is_empty() {
        return Ok(());
    }
    let rows = rows(records)?;
    for insert in [
        concat!(
            "INSERT INTO audit (id, time, kind, agent, gateway, server, method, target, decision, gateway_policy, service_policy,
                                token_id, txn, subject_token_id, content_digest, result_digest, request_id, task)
             SELECT e.value ->> 'id', e.value ->> 'time', e.value ->> 'kind', coalesce(e.value ->> 'agent', mint.agent),
                    e.value ->> 'gateway', coalesce(e.value ->> 'server', mint.server),
                    coalesce(e.value ->> 'method', mint.method),
                    CASE WHEN coalesce(e.value ->> 'method', mint.method) IN ('tools/call', 'prompts/get')
                         THEN coalesce(e.value ->> 'target', mint.target) END,
                    e.value ->> 'decision', e.value ->> 'gateway_policy', e.value ->> 'service_policy',
                    e.value ->> 'token_id', mint.txn, coalesce(e.value ->> 'subject_token_id', mint.subject_token_id),
                    coalesce(e.value ->> 'content_digest', mint.content_digest), e.value ->> 'result_digest',
                    e.value ->> 'request_id', coalesce(e.value ->> 'task', mint.task)",
            reported_from!(),
            " ORDER BY e.key"
        ),
        concat!(
            "INSERT INTO audit_personal (record, salt, subject, target, reason, source_ip, detail)
             SELECT e.value ->> 'id', e.value ->> 'salt', coalesce(e.value ->> 'subject', minted.subject),
                    CASE WHEN coalesce(e.value ->> 'method', mint.method) IN ('tools/call', 'prompts/get') THEN NULL
                         ELSE coalesce(e.value ->> 'target', minted.target) END,
                    e.value ->> 'reason', coalesce(e.value ->> 'source_ip', minted.source_ip), e.value -> 'detail'",
            reported_from!()
        ),
    ] {
        sqlx::query(insert).bind(&rows).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Which records to read. Absent means any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only this kind.
    pub kind: Option<Kind>,
    /// Only what was found like this.
    pub finding: Option<Finding>,
    /// Only this subject.
    pub subject: Option<String>,
    /// Only this agent.
    pub agent: Option<String>,
    /// Only this server.
    pub server: Option<String>,
    /// Only calls of this target.
    pub target: Option<String>,
    /// Only what was decided like this.
    pub decision: Option<Verdict>,
    /// Only what belongs to this token.
    pub token_id: Option<String>,
    /// Only what belongs to this transaction (`txn`).
    pub txn: Option<String>,
    /// Only what belongs to this request.
    pub request_id: Option<String>,
    /// Only what belongs to this task.
    pub task: Option<String>,
    /// Only what belongs to the trace of this id.
    pub trace: Option<String>,
    /// Only what belongs to this session at a server.
    pub session: Option<String>,
    /// Only calls that ended like this.
    pub result: Option<CallResult>,
    /// Only calls that were let through of which nobody has said how they ended.
    pub without_outcome: bool,
    /// Only from this time on.
    pub since: Option<Timestamp>,
    /// Only before this time.
    pub until: Option<Timestamp>,
    /// Only before the record of this id.
    pub before: Option<String>,
}

/// A discovery token is used again: each request that it went along with ends by itself.
const WITHOUT_OUTCOME: &str = "a.kind IN ('mint', 'discovery_use') AND NOT EXISTS
    (SELECT 1 FROM audit AS o WHERE o.kind = 'outcome' AND o.token_id = a.token_id AND o.request_id = a.request_id)";

impl Filter {
    /// The conditions that it sets, each ready to stand after a `WHERE`, and the texts to bind, from the first parameter on.
    fn conditions(&self) -> (Vec<String>, Vec<String>) {
        let text = |value: &Option<String>| value.clone();
        let id_at = |at: Option<Timestamp>| at.map(first_id_at);
        let each = [
            ("a.kind =", self.kind.map(|kind| kind.as_str().to_owned())),
            (
                "a.kind = 'rogue' AND a.detail ->> 'finding' =",
                self.finding.map(|finding| finding.as_str().to_owned()),
            ),
            ("a.subject =", text(&self.subject)),
            ("a.agent =", text(&self.agent)),
            ("a.server =", text(&self.server)),
            ("a.target =", text(&self.target)),
            (
                "a.decision =",
                self.decision.map(|verdict| verdict.as_str().to_owned()),
            ),
            ("a.token_id =", text(&self.token_id)),
            ("a.txn =", text(&self.txn)),
            ("a.request_id =", text(&self.request_id)),
            ("a.task =", text(&self.task)),
            ("a.detail ->> 'trace_id' =", text(&self.trace)),
            ("a.detail ->> 'session' =", text(&self.session)),
            (
                "a.kind = 'outcome' AND a.detail ->> 'result' =",
                self.result.map(|result| result.as_str().to_owned()),
            ),
            ("a.id >=", id_at(self.since)),
            ("a.id <", id_at(self.until)),
            ("a.id <", text(&self.before)),
        ];
        let set = each
            .into_iter()
            .filter_map(|(test, value)| Some((test, value?)));
        let (mut conditions, texts): (Vec<String>, Vec<String>) = set
            .zip(1..)
            .map(|((test, value), number)| (format!("{test} ${number}"), value))
            .unzip();
        if self.without_outcome {
            conditions.push(WITHOUT_OUTCOME.to_owned());
        }
        (conditions, texts)
    }
}

/// No record of this moment or later has a smaller id (RFC 9562 section 5.7).
pub(super) fn first_id_at(at: Timestamp) -> String {
    let millis = u64::try_from(at.as_millisecond()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10])
        .into_uuid()
        .to_string()
}

/// How often an agent called something, and how that went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// `client_id`.
    pub agent: Option<String>,
    /// Which server.
    pub server: Option<String>,
    /// Tool or prompt.
    pub target: Option<String>,
    /// Calls that were let through.
    pub allowed: i64,
    /// Calls that were refused.
    pub denied: i64,
    /// Calls that ended otherwise than well.
    pub failed: i64,
}

/// A record and its place in the trail.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Grows from record to record.
    pub seq: i64,
    /// Its place in the log, once it is a leaf.
    pub leaf: Option<i64>,
    /// The record of the erasure, where what it said about a person was erased.
    pub erased_by: Option<String>,
    /// The record; that of counted tries has the count so far in its detail.
    pub record: Record,
}

/// What a record is read by, from `records AS a`.
pub(super) const COLUMNS: &str = "a.seq, a.id, a.time, a.kind, a.subject, a.agent, a.gateway, a.server, a.method, a.target, a.decision, a.reason,
    a.gateway_policy, a.service_policy, a.token_id, a.txn, a.subject_token_id, a.content_digest, a.result_digest, a.request_id,
    a.source_ip, a.detail, a.task, a.erased_by, a.leaf";

const FROM: &str = "t.first AS tally_first, t.last AS tally_last, t.count AS tally_count
         FROM records AS a LEFT JOIN tallies AS t ON a.kind = 'unauthenticated' AND t.record_id = a.id ";

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
        let (conditions, texts) = filter.conditions();
        let order = format!("ORDER BY a.id DESC LIMIT {limit}");
        let mut entries = self.entries(&conditions, &texts, &order).await?;
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
        let (mut conditions, texts) = filter.conditions();
        conditions.push(format!("a.seq > {seq}"));
        conditions.push(self.settled().await?);
        let order = format!("ORDER BY a.seq LIMIT {limit}");
        self.entries(&conditions, &texts, &order).await
    }

    /// The calls that match, counted by agent, server and target, the most frequent first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tally(&self, filter: &Filter, limit: u32) -> Result<Vec<Tally>, StoreError> {
        let (mut conditions, texts) = filter.conditions();
        conditions.push("a.kind IN ('mint', 'denied', 'outcome')".to_owned());
        let sql = format!(
            "SELECT a.agent, a.server, a.target,
                    count(*) FILTER (WHERE a.kind = 'mint') AS allowed,
                    count(*) FILTER (WHERE a.kind = 'denied') AS denied,
                    count(*) FILTER (WHERE a.kind = 'outcome' AND a.detail ->> 'result' <> 'ok') AS failed
             FROM records AS a WHERE {}
             GROUP BY a.agent, a.server, a.target
             ORDER BY count(*) DESC, a.agent, a.server, a.target LIMIT {limit}",
            conditions.join(" AND ")
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
        for text in &texts {
            query = query.bind(text);
        }
        let rows = query.fetch_all(&mut *self.read().await?).await?;
        let tally = |row: &AnyRow| {
            Ok(Tally {
                agent: row.try_get("agent")?,
                server: row.try_get("server")?,
                target: row.try_get("target")?,
                allowed: row.try_get("allowed")?,
                denied: row.try_get("denied")?,
                failed: row.try_get("failed")?,
            })
        };
        rows.iter().map(tally).collect()
    }

    /// The record of this id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn record_of(&self, id: &str) -> Result<Option<Entry>, StoreError> {
        let condition = ["a.id = $1".to_owned()];
        let found = self.entries(&condition, &[id.to_owned()], "").await?;
        Ok(found.into_iter().next())
    }

    /// The place of the newest record that nothing can come before any more; 0 when there is none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn last_record(&self) -> Result<i64, StoreError> {
        let settled = self.settled().await?;
        let sql = format!("SELECT coalesce(max(a.seq), 0) FROM audit AS a WHERE {settled}");
        Ok(sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
            .fetch_one(&mut *self.read().await?)
            .await?)
    }

    /// What is there under all of these conditions, which `texts` are bound to.
    pub(super) async fn entries(
        &self,
        conditions: &[String],
        texts: &[String],
        order: &str,
    ) -> Result<Vec<Entry>, StoreError> {
        let conditions = match conditions {
            [] => String::new(),
            some => format!("WHERE {} ", some.join(" AND ")),
        };
        let sql = format!("SELECT {COLUMNS}, {FROM}{conditions}{order}");
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
        for text in texts {
            query = query.bind(text);
        }
        let rows = query.fetch_all(&mut *self.read().await?).await?;
        rows.iter().map(entry).collect()
    }
}

pub(super) fn entry(row: &AnyRow) -> Result<Entry, StoreError> {
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
        leaf: row.try_get("leaf")?,
        erased_by: row.try_get("erased_by")?,
        record,
    })
}
