//! Tasks, and the counts of calls within them.

use jiff::Timestamp;
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use super::{Store, StoreError, commit::Charge, signed};
use crate::{
    audit::{Kind, Record, Verdict, clip},
    clock::rfc3339,
    task::{Task, day},
};

/// How long a task is remembered after its end, so that a late call is told why.
pub(super) const KEPT: jiff::SignedDuration = jiff::SignedDuration::from_hours(7 * 24);
/// How long counts are kept beyond their day.
pub(super) const COUNTS_KEPT: jiff::SignedDuration = jiff::SignedDuration::from_hours(48);

/// What a subject and agent have going on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Their open tasks.
    pub open: u64,
    /// Their calls within tasks today.
    pub calls_today: u64,
}

/// A task with today's calls of its subject and agent.
#[derive(Clone, Debug)]
pub struct Found {
    /// The task.
    pub task: Task,
    /// Calls within tasks since midnight UTC.
    pub calls_today: u64,
}

/// What a subject and agent have going on, as of `now`.
///
/// # Errors
/// When the database fails.
pub async fn counts(
    conn: &mut AnyConnection,
    subject: &str,
    agent: &str,
    now: Timestamp,
) -> Result<Counts, StoreError> {
    let row = sqlx::query(
        "SELECT (SELECT count(*) FROM tasks WHERE subject = $1 AND agent = $2 AND closed_at IS NULL AND expires_at > $3) AS open,
                coalesce((SELECT calls FROM task_calls WHERE subject = $1 AND agent = $2 AND day = $4), 0) AS today",
    )
    .bind(subject)
    .bind(agent)
    .bind(rfc3339(now))
    .bind(day(now))
    .fetch_one(conn)
    .await?;
    Ok(Counts {
        open: count(&row, "open")?,
        calls_today: count(&row, "today")?,
    })
}

/// Puts an approved task down.
///
/// # Errors
/// When the database fails.
pub async fn add(conn: &mut AnyConnection, task: &Task) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO tasks (id, txn, subject, agent, purpose, tools, max_calls, opened_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(&task.id)
    .bind(&task.txn)
    .bind(&task.subject)
    .bind(&task.agent)
    .bind(&task.purpose)
    .bind(super::json(&task.tools)?)
    .bind(task.max_calls.map(signed))
    .bind(rfc3339(task.opened))
    .bind(rfc3339(task.expires))
    .execute(conn)
    .await?;
    Ok(())
}

/// Closes a task that is open. `false` when it was closed before.
///
/// # Errors
/// When the database fails.
pub async fn close(conn: &mut AnyConnection, id: &str, now: Timestamp) -> Result<bool, StoreError> {
    let closed = sqlx::query("UPDATE tasks SET closed_at = $1 WHERE id = $2 AND closed_at IS NULL")
        .bind(rfc3339(now))
        .bind(id)
        .execute(conn)
        .await?;
    Ok(closed.rows_affected() > 0)
}

/// Closes the tasks of a transaction that are open.
///
/// # Errors
/// When the database fails.
pub async fn close_transaction(
    conn: &mut AnyConnection,
    txn: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE tasks SET closed_at = $1 WHERE txn = $2 AND closed_at IS NULL")
        .bind(rfc3339(now))
        .bind(txn)
        .execute(conn)
        .await?;
    Ok(())
}

/// Counts one call, if nothing has changed since its decision; `false` otherwise.
pub(super) async fn charge(conn: &mut AnyConnection, charge: &Charge) -> Result<bool, StoreError> {
    let counted = sqlx::query(
        "UPDATE tasks SET calls = calls + 1
         WHERE id = $1 AND closed_at IS NULL AND calls = $2
           AND coalesce((SELECT calls FROM task_calls WHERE subject = $3 AND agent = $4 AND day = $5), 0) = $6",
    )
    .bind(&charge.task)
    .bind(signed(charge.calls))
    .bind(&charge.subject)
    .bind(&charge.agent)
    .bind(&charge.day)
    .bind(signed(charge.calls_today))
    .execute(&mut *conn)
    .await?;
    if counted.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO task_calls (subject, agent, day, calls) VALUES ($1, $2, $3, 1)
         ON CONFLICT (subject, agent, day) DO UPDATE SET calls = task_calls.calls + 1",
    )
    .bind(&charge.subject)
    .bind(&charge.agent)
    .bind(&charge.day)
    .execute(conn)
    .await?;
    Ok(true)
}

impl Store {
    /// A task by id, with today's count.
    ///
    /// # Errors
    /// When the database fails or has a row in it that this version does not write.
    pub async fn task(&self, id: &str, now: Timestamp) -> Result<Option<Found>, StoreError> {
        let row = sqlx::query(
            "SELECT t.id, t.txn, t.subject, t.agent, t.purpose, t.tools, t.max_calls, t.calls, t.opened_at, t.expires_at,
                    t.closed_at, coalesce(c.calls, 0) AS today
             FROM tasks AS t
             LEFT JOIN task_calls AS c ON c.subject = t.subject AND c.agent = t.agent AND c.day = $2
             WHERE t.id = $1",
        )
        .bind(id)
        .bind(day(now))
        .fetch_optional(&mut *self.read().await?)
        .await?;
        row.map(|row| {
            Ok(Found {
                calls_today: count(&row, "today")?,
                task: task(&row)?,
            })
        })
        .transpose()
    }

    /// Up to `limit` tasks, the newest first.
    ///
    /// # Errors
    /// As for [`Store::task`].
    pub async fn tasks(&self, limit: u32) -> Result<Vec<Task>, StoreError> {
        let rows = sqlx::query("SELECT id, txn, subject, agent, purpose, tools, max_calls, calls, opened_at, expires_at, closed_at FROM tasks ORDER BY id DESC LIMIT $1")
            .bind(i64::from(limit))
            .fetch_all(&mut *self.read().await?)
            .await?;
        rows.iter().map(task).collect()
    }

    /// Closes a task for an administrator.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; when the database fails.
    pub async fn close_task(&self, id: &str, now: Timestamp) -> Result<Task, StoreError> {
        let mut found = self
            .task(id, now)
            .await?
            .ok_or_else(|| StoreError::NotFound {
                what: "task",
                id: clip(id, 80),
            })?;
        let mut tx = self.write().await?;
        if close(tx.conn(), id, now).await? {
            let mut record = record(&found.task, "close", now);
            record.kind = Kind::Admin;
            record.method = Some("task close".to_owned());
            record.target = Some(id.to_owned());
            tx.audit(&record).await?;
            tx.commit().await?;
            found.task.closed = Some(now);
        }
        Ok(found.task)
    }
}

/// What is put on record about a task.
#[must_use]
pub fn record(task: &Task, what: &str, now: Timestamp) -> Record {
    let mut record = Record::new(Kind::Task, now);
    record.method = Some(what.to_owned());
    record.subject = Some(clip(&task.subject, 512));
    record.agent = Some(clip(&task.agent, 512));
    record.task = Some(task.id.clone());
    record.txn = Some(task.txn.clone());
    record.decision = Some(Verdict::Allow);
    record.detail = Some(serde_json::json!({
        "purpose": task.purpose, "tools": task.tools, "max_calls": task.max_calls, "calls": task.calls,
        "expires": rfc3339(task.expires),
    }));
    record
}

fn task(row: &AnyRow) -> Result<Task, StoreError> {
    let id: String = row.try_get("id")?;
    let malformed = |problem: String| StoreError::Malformed {
        table: "task",
        id: id.clone(),
        problem,
    };
    let time = |text: String| {
        text.parse::<Timestamp>()
            .map_err(|e| malformed(e.to_string()))
    };
    Ok(Task {
        txn: row.try_get("txn")?,
        subject: row.try_get("subject")?,
        agent: row.try_get("agent")?,
        purpose: row.try_get("purpose")?,
        tools: serde_json::from_str(row.try_get("tools")?).map_err(|e| malformed(e.to_string()))?,
        max_calls: row
            .try_get::<Option<i64>, _>("max_calls")?
            .map(i64::unsigned_abs),
        calls: count(row, "calls")?,
        opened: time(row.try_get("opened_at")?)?,
        expires: time(row.try_get("expires_at")?)?,
        closed: row
            .try_get::<Option<String>, _>("closed_at")?
            .map(time)
            .transpose()?,
        id,
    })
}

fn count(row: &AnyRow, column: &str) -> Result<u64, StoreError> {
    Ok(row.try_get::<i64, _>(column)?.unsigned_abs())
}
