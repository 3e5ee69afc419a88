//! Deleting what has expired and nobody needs any more; never anything of the audit trail. Some rows at a time, each time in a
//! transaction of its own, so that nobody waits long for their turn to write, however many there are.

use jiff::{SignedDuration, Timestamp};

use super::{
    Store, StoreError,
    audit::first_id_at,
    reported,
    tasks::{COUNTS_KEPT, KEPT},
    tokens,
};
use crate::{clock::rfc3339, rates::nanos, task::day};

/// How many rows are deleted at a time.
const AT_A_TIME: u64 = 1000;

impl Store {
    /// Deletes spent and expired tokens, what tells reports again, tasks that ended long ago, and rates that are past.
    ///
    /// # Errors
    /// When the database fails or stays busy.
    pub async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        let before = |kept: SignedDuration| now.checked_sub(kept).unwrap_or(Timestamp::UNIX_EPOCH);
        // A token's id has the time of its minting, which is before its expiry: so the oldest are found by their ids.
        let expired = before(tokens::KEPT_PAST_EXPIRY);
        self.sweep_all(
            "DELETE FROM tokens WHERE jti IN (
               SELECT jti FROM tokens WHERE jti < $1 AND exp < CAST($2 AS BIGINT) ORDER BY jti LIMIT $3)",
            &[first_id_at(expired), expired.as_second().to_string()],
        )
        .await?;
        self.sweep_all(
            "DELETE FROM reported WHERE key IN (
               SELECT key FROM reported WHERE seen_at < CAST($1 AS BIGINT) ORDER BY seen_at LIMIT $2)",
            &[before(reported::REMEMBERED).as_second().to_string()],
        )
        .await?;
        self.sweep_all(
            "DELETE FROM tasks WHERE id IN (SELECT id FROM tasks WHERE expires_at < $1 LIMIT $2)",
            &[rfc3339(before(KEPT))],
        )
        .await?;
        self.sweep_all(
            "DELETE FROM task_calls WHERE (subject, agent, day) IN (
               SELECT subject, agent, day FROM task_calls WHERE day < $1 LIMIT $2)",
            &[day(before(COUNTS_KEPT))],
        )
        .await?;
        // As seen by another service whose clock is behind, too.
        let past = nanos(before(tokens::KEPT_PAST_EXPIRY)).to_string();
        self.sweep_all(self.dialect.sweep_rates(), &[past]).await
    }

    /// Deletes the inputs of decisions before a moment.
    ///
    /// # Errors
    /// When the database fails or stays busy.
    pub async fn sweep_inputs(&self, before: Timestamp) -> Result<(), StoreError> {
        let sql = "DELETE FROM decision_inputs WHERE record IN (
                     SELECT record FROM decision_inputs WHERE record < $1 ORDER BY record LIMIT $2)";
        self.sweep_all(sql, &[first_id_at(before)]).await
    }

    /// Deletes what is kept of what calls before a moment carried.
    ///
    /// # Errors
    /// When the database fails or stays busy.
    pub async fn sweep_arguments(&self, before: Timestamp) -> Result<(), StoreError> {
        let sql = "DELETE FROM kept_arguments WHERE record IN (
                     SELECT record FROM kept_arguments WHERE record < $1 ORDER BY record LIMIT $2)";
        self.sweep_all(sql, &[first_id_at(before)]).await
    }

    /// Until fewer rows than it may are deleted by a statement, whose last parameter that is.
    async fn sweep_all(&self, sql: &'static str, bounds: &[String]) -> Result<(), StoreError> {
        loop {
            let mut tx = self.write_beside().await?;
            let mut query = sqlx::query(sql);
            for bound in bounds {
                query = query.bind(bound);
            }
            let limit = i64::try_from(AT_A_TIME).unwrap_or(i64::MAX);
            let swept = query.bind(limit).execute(tx.conn()).await?.rows_affected();
            tx.commit().await?;
            if swept < AT_A_TIME {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Place;

    #[tokio::test]
    async fn all_that_has_expired_goes_however_much_it_is_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&Place::of_test(dir.path())).await.unwrap();
        let now = Timestamp::now();
        let mut tx = store.write().await.unwrap();
        let many =
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) ";
        let insert = [
            "INSERT INTO tokens (jti, exp) SELECT '01990000-0000-7000-8000-' || CAST(100000000000 + i AS TEXT), 1 FROM n",
            "INSERT INTO reported (key, seen_at) SELECT unhex('000000000000000000000000' || CAST(10000000 + i AS TEXT)), 1 FROM n",
            "INSERT INTO task_calls (subject, agent, day, calls) SELECT CAST(i AS TEXT), 'a', '2026-01-01', 1 FROM n",
            "INSERT INTO rates (counter, cell, tat) SELECT 'address', i, i FROM n",
        ];
        for rows in insert {
            let sql = sqlx::AssertSqlSafe(rows.replacen(" SELECT", &format!(" {many}SELECT"), 1));
            sqlx::query(sql).execute(tx.conn()).await.unwrap();
        }
        let good = "INSERT INTO tokens (jti, exp) VALUES ($1, $2)";
        for (id, exp) in [
            (crate::secret::new_id(), now.as_second() + 30),
            // Minted long ago, and good for long.
            (
                "01990000-0000-7000-8000-000000000000".to_owned(),
                now.as_second(),
            ),
        ] {
            let query = sqlx::query(good).bind(id).bind(exp);
            query.execute(tx.conn()).await.unwrap();
        }
        let ahead = sqlx::query("UPDATE rates SET tat = $1 WHERE cell = 1200");
        let lately = now.checked_sub(tokens::KEPT_PAST_EXPIRY).unwrap();
        let ahead = ahead.bind(nanos(lately)).execute(tx.conn());
        ahead.await.unwrap();
        tx.commit().await.unwrap();
        store.sweep(now).await.unwrap();
        let mut tx = store.write().await.unwrap();
        for (table, left) in [
            ("tokens", 2_i64),
            ("reported", 0),
            ("task_calls", 0),
            ("rates", 1),
        ] {
            let sql = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
            let count: i64 = sqlx::query_scalar(sql).fetch_one(tx.conn()).await.unwrap();
            assert_eq!(count, left, "{table}");
        }
    }
}
