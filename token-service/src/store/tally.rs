//! Counting what anybody can cause, so that it cannot drown the trail.
//!
//! Per day, the first of each kind, address and server has a record in the trail; the rest only moves its
//! count, which goes on record when it is over ([`super::floods`]). A day has a bounded number of these; past it everything goes
//! into one overflow count.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;
use sqlx::AnyConnection;

use super::{StoreError, audit, signed};
use crate::{
    audit::{Kind, Record, Verdict},
    clock::rfc3339,
};

/// Distinct kinds, addresses and servers that are told apart in one day.
const DISTINCT_A_DAY: i64 = 2000;
/// Rogue accesses at one server that have a record of their own in one day, for each guard that sees them and for the server.
const ROGUES_A_DAY: i64 = 10_000;
/// Stands for "any" in an overflow count.
const ANY: &str = "*";

/// Tries of nobody in particular.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// What was wrong with them: a word from a closed list.
    pub kind: String,
    /// Where they came from.
    pub source_ip: String,
    /// The server they were for, or empty.
    pub server: String,
    /// The gateway that saw them; absent when the service itself did.
    pub gateway: Option<String>,
    /// The first of them.
    pub first: Timestamp,
    /// The last of them.
    pub last: Timestamp,
    /// How many.
    pub count: u64,
}

type Key<'a> = (String, &'a str, &'a str, &'a str);

pub(super) async fn count(conn: &mut AnyConnection, tried: &[&Tried]) -> Result<(), StoreError> {
    let mut merged: BTreeMap<Key<'_>, Tried> = BTreeMap::new();
    for t in tried {
        let key = (
            day(t.last),
            t.kind.as_str(),
            t.source_ip.as_str(),
            t.server.as_str(),
        );
        merged
            .entry(key)
            .and_modify(|m| {
                m.first = m.first.min(t.first);
                m.last = m.last.max(t.last);
                m.count = m.count.saturating_add(t.count);
            })
            .or_insert_with(|| (*t).clone());
    }
    for (key, t) in &merged {
        if !add(conn, key, t).await? {
            begin(conn, key, t).await?;
        }
    }
    Ok(())
}

/// Moves an existing count; `false` when there is none.
async fn add(conn: &mut AnyConnection, key: &Key<'_>, t: &Tried) -> Result<bool, StoreError> {
    let (day, kind, source_ip, server) = key;
    let moved = sqlx::query(
        "UPDATE tallies SET count = count + $5, first = CASE WHEN first < $6 THEN first ELSE $6 END,
             last = CASE WHEN last > $7 THEN last ELSE $7 END
         WHERE day = $1 AND kind = $2 AND source_ip = $3 AND server = $4",
    )
    .bind(day)
    .bind(kind)
    .bind(source_ip)
    .bind(server)
    .bind(signed(t.count))
    .bind(rfc3339(t.first))
    .bind(rfc3339(t.last))
    .execute(conn)
    .await?;
    Ok(moved.rows_affected() > 0)
}

/// Begins a count with a record in the trail, in the overflow when the day has enough of them.
async fn begin(conn: &mut AnyConnection, key: &Key<'_>, t: &Tried) -> Result<(), StoreError> {
    let (day, kind, source_ip, server) = key;
    let distinct: i64 = sqlx::query_scalar("SELECT count(*) FROM tallies WHERE day = $1")
        .bind(day)
        .fetch_one(&mut *conn)
        .await?;
    let (kind, source_ip, server) = if distinct < DISTINCT_A_DAY {
        (*kind, *source_ip, *server)
    } else {
        (ANY, ANY, ANY)
    };
    if kind == ANY && add(conn, &(day.clone(), ANY, ANY, ANY), t).await? {
        return Ok(());
    }
    let mut record = Record::new(Kind::Unauthenticated, t.first);
    record.gateway.clone_from(&t.gateway);
    record.server = Some(server.to_owned()).filter(|s| !s.is_empty());
    record.source_ip = Some(source_ip.to_owned());
    record.decision = Some(Verdict::Deny);
    record.reason = Some(reason(kind).to_owned());
    record.detail = Some(json!({
        "first": rfc3339(t.first),
        "last": rfc3339(t.last),
        "count": t.count,
    }));
    sqlx::query(
        "INSERT INTO tallies (day, kind, source_ip, server, record_id, first, last, count, recorded)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)",
    )
    .bind(day)
    .bind(kind)
    .bind(source_ip)
    .bind(server)
    .bind(&record.id)
    .bind(rfc3339(t.first))
    .bind(rfc3339(t.last))
    .bind(signed(t.count))
    .execute(&mut *conn)
    .await?;
    audit::append(conn, &[record]).await
}

/// What is said to be wrong with what is counted as this.
pub(super) fn reason(kind: &str) -> &str {
    match kind {
        ANY => "overflow",
        kind => kind,
    }
}

/// Counts a rogue access and says whether it still gets a record of its own.
pub(super) async fn rogue_is_recorded(
    conn: &mut AnyConnection,
    record: &Record,
) -> Result<bool, StoreError> {
    let count: i64 = sqlx::query_scalar(
        "INSERT INTO rogue_counts (day, server, reporter, count) VALUES (substr($1, 1, 10), $2, $3, 1)
         ON CONFLICT (day, server, reporter) DO UPDATE SET count = rogue_counts.count + 1
         RETURNING count",
    )
    .bind(&record.time)
    .bind(record.server.as_deref().unwrap_or_default())
    .bind(record.gateway.as_deref().unwrap_or_default())
    .fetch_one(&mut *conn)
    .await?;
    if count <= ROGUES_A_DAY {
        return Ok(true);
    }
    // A guard may have counted several before it reported them.
    let seen = record
        .detail
        .as_ref()
        .and_then(|detail| detail["count"].as_u64());
    sqlx::query(
        "UPDATE rogue_counts SET beyond = beyond + $4, first = coalesce(first, $1), last = $1
         WHERE day = substr($1, 1, 10) AND server = $2 AND reporter = $3",
    )
    .bind(&record.time)
    .bind(record.server.as_deref().unwrap_or_default())
    .bind(record.gateway.as_deref().unwrap_or_default())
    .bind(signed(seen.unwrap_or(1)))
    .execute(conn)
    .await?;
    Ok(false)
}

fn day(at: Timestamp) -> String {
    rfc3339(at).chars().take(10).collect()
}
