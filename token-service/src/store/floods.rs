//! The end of what is only counted: its first, its last and how many they were go on record, once nothing more has come for a while,
//! and again when the day is over if more came after that. What is counted lies in the database, so that neither a restart nor which
//! replica counted makes a difference.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use super::{Store, StoreError, audit, unsigned};
use crate::{
    audit::{Kind, Record, Verdict},
    clock::rfc3339,
};

/// What nothing has come of for so long is over.
const QUIET: SignedDuration = SignedDuration::from_mins(15);
/// So many are put on record at a time, so that nobody waits for all of them.
const AT_A_TIME: u32 = 200;

/// How a flood is found that is over, and how it is written down that it was told.
struct Counted {
    /// `$1` is today, `$2` when those that are over had their last, and `$3` how many are looked for.
    over: &'static str,
    told: &'static str,
    record: fn(&AnyRow, Timestamp) -> Result<Record, StoreError>,
}

const COUNTED: [Counted; 2] = [
    Counted {
        over: "SELECT day, kind, source_ip, server, record_id, first, last, count FROM tallies
               WHERE count > recorded AND (day < $1 OR (told = 0 AND last < $2)) ORDER BY last LIMIT $3",
        told: "UPDATE tallies SET recorded = count, told = told + 1
               WHERE day = $1 AND kind = $2 AND source_ip = $3 AND server = $4",
        record: tries,
    },
    Counted {
        over: "SELECT day, server, reporter, beyond, first, last, '' AS kind, reporter AS source_ip FROM rogue_counts
               WHERE beyond > recorded AND (day < $1 OR (told = 0 AND last < $2)) ORDER BY last LIMIT $3",
        told: "UPDATE rogue_counts SET recorded = beyond, told = told + 1
               WHERE day = $1 AND $2 = '' AND reporter = $3 AND server = $4",
        record: rogues,
    },
];

impl Store {
    /// Puts on record what has been counted and is over.
    ///
    /// # Errors
    /// When the database fails or stays busy.
    pub async fn tell_floods(&self, now: Timestamp) -> Result<(), StoreError> {
        for counted in COUNTED {
            while self.tell(&counted, now).await? == AT_A_TIME as usize {}
        }
        let mut tx = self.write_beside().await?;
        sqlx::query("DELETE FROM rogue_counts WHERE day < $1 AND beyond <= recorded")
            .bind(day(now))
            .execute(tx.conn())
            .await?;
        tx.commit().await
    }

    /// Answers with how many were put on record.
    async fn tell(&self, counted: &Counted, now: Timestamp) -> Result<usize, StoreError> {
        if over(&mut *self.read().await?, counted, now)
            .await?
            .is_empty()
        {
            return Ok(0);
        }
        // Nobody counts meanwhile, here or in another process.
        let mut tx = self.write().await?;
        let rows = over(tx.conn(), counted, now).await?;
        let mut records = Vec::with_capacity(rows.len());
        for row in &rows {
            records.push((counted.record)(row, now)?);
            let mut told = sqlx::query(counted.told);
            for column in ["day", "kind", "source_ip", "server"] {
                told = told.bind(row.try_get::<String, _>(column)?);
            }
            told.execute(tx.conn()).await?;
        }
        audit::append(tx.conn(), &records).await?;
        tx.commit().await?;
        Ok(records.len())
    }
}

async fn over(
    conn: &mut AnyConnection,
    counted: &Counted,
    now: Timestamp,
) -> Result<Vec<AnyRow>, StoreError> {
    let quiet_since = now.checked_sub(QUIET).unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(sqlx::query(counted.over)
        .bind(day(now))
        .bind(rfc3339(quiet_since))
        .bind(i64::from(AT_A_TIME))
        .fetch_all(conn)
        .await?)
}

/// Of tries of nobody in particular: how many there were that day.
fn tries(row: &AnyRow, now: Timestamp) -> Result<Record, StoreError> {
    let mut record = Record::new(Kind::Unauthenticated, now);
    let server: String = row.try_get("server")?;
    let kind: String = row.try_get("kind")?;
    record.server = Some(server).filter(|server| !server.is_empty());
    record.source_ip = Some(row.try_get("source_ip")?);
    record.decision = Some(Verdict::Deny);
    record.reason = Some(super::tally::reason(&kind).to_owned());
    record.detail = Some(json!({
        "first": row.try_get::<String, _>("first")?,
        "last": row.try_get::<String, _>("last")?,
        "count": unsigned(row.try_get("count")?),
        "begins_with": row.try_get::<String, _>("record_id")?,
    }));
    Ok(record)
}

/// Of rogue accesses: how many there were that have no record of their own.
fn rogues(row: &AnyRow, now: Timestamp) -> Result<Record, StoreError> {
    let mut record = Record::new(Kind::Rogue, now);
    let reporter: String = row.try_get("reporter")?;
    record.server = Some(row.try_get("server")?);
    record.gateway = Some(reporter).filter(|reporter| !reporter.is_empty());
    record.decision = Some(Verdict::Deny);
    record.reason = Some("more than have a record of their own in a day".to_owned());
    record.detail = Some(json!({
        "first": row.try_get::<Option<String>, _>("first")?,
        "last": row.try_get::<Option<String>, _>("last")?,
        "count": unsigned(row.try_get("beyond")?),
    }));
    Ok(record)
}

fn day(at: Timestamp) -> String {
    rfc3339(at).chars().take(10).collect()
}
