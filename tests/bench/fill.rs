//! Filling a trail: records like the last one that was minted, written as fast as the database takes them.

use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, ConnectOptions as _, Connection as _};
use writ_tests::wait::until;

use crate::service::Bench;

/// Records in one transaction.
const AT_A_TIME: u64 = 200_000;

/// The service's database.
pub struct Database {
    options: AnyConnectOptions,
}

impl Database {
    /// Of this service.
    pub async fn of(bench: &Bench, url: Option<&str>) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let file = bench.service.data_dir().join("writ.db");
        let url = url.map_or_else(|| format!("sqlite://{}", file.display()), str::to_owned);
        Ok(Self {
            options: url.parse()?,
        })
    }

    /// How many records there are.
    pub async fn records(&self) -> Result<u64> {
        let mut connection = self.options.connect().await?;
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM audit")
            .fetch_one(&mut connection)
            .await?;
        Ok(u64::try_from(count)?)
    }

    /// So many records more, each with an id, a token and a salt of its own.
    pub async fn fill(&self, records: u64) -> Result<()> {
        let mut connection = self.options.connect().await?;
        let mut from = 0;
        while from < records {
            let to = records.min(from + AT_A_TIME);
            write(&mut connection, from, to).await?;
            from = to;
            crate::say(&format!("{from} of {records} records"));
        }
        self.tidy().await
    }

    /// What the database does by itself after so many new rows, or is told to, and would do in the middle of what is measured.
    pub async fn tidy(&self) -> Result<()> {
        let mut connection = self.options.connect().await?;
        let does: &[&str] = match connection.backend_name() {
            "SQLite" => &["ANALYZE"],
            _ => &["VACUUM (ANALYZE)", "CHECKPOINT"],
        };
        for sql in does {
            sqlx::query(sqlx::AssertSqlSafe(*sql))
                .execute(&mut connection)
                .await?;
        }
        Ok(())
    }

    /// Waits until every record is a leaf.
    pub async fn all_are_leaves(&self, patience: Duration) -> Result<()> {
        let mut connection = self.options.connect().await?;
        until("all records to be leaves", patience, async || {
            let left = "SELECT (SELECT max(seq) FROM audit) - (SELECT seq FROM log_state)";
            let left: i64 = sqlx::query_scalar(left)
                .fetch_one(&mut connection)
                .await
                .ok()?;
            (left == 0).then_some(())
        })
        .await
    }

    /// For how long the oldest record waits that is no leaf yet.
    pub async fn leaf_lag(connection: &mut AnyConnection) -> Result<Duration> {
        let oldest: Option<String> = sqlx::query_scalar(
            "SELECT time FROM audit WHERE seq > (SELECT seq FROM log_state) ORDER BY seq LIMIT 1",
        )
        .fetch_optional(connection)
        .await?;
        let Some(oldest) = oldest else {
            return Ok(Duration::ZERO);
        };
        let oldest: Timestamp = oldest.parse()?;
        Ok(Duration::try_from(Timestamp::now().duration_since(oldest)).unwrap_or_default())
    }

    /// A connection of its own.
    pub async fn connect(&self) -> Result<AnyConnection> {
        Ok(self.options.connect().await?)
    }

    /// What it takes on disk, in bytes.
    pub async fn size(&self) -> Result<u64> {
        let mut connection = self.options.connect().await?;
        let size = match connection.backend_name() {
            "SQLite" => "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
            _ => "SELECT pg_database_size(current_database())",
        };
        let size: i64 = sqlx::query_scalar(size).fetch_one(&mut connection).await?;
        Ok(u64::try_from(size)?)
    }

    /// The ids of tokens that are on record, all over the trail.
    pub async fn some_tokens(&self, how_many: usize) -> Result<Vec<String>> {
        let mut connection = self.options.connect().await?;
        let last: i64 = sqlx::query_scalar("SELECT max(seq) FROM audit")
            .fetch_one(&mut connection)
            .await?;
        let mut tokens = Vec::new();
        for n in 0..i64::try_from(how_many)? {
            let from = last * n / i64::try_from(how_many)?;
            let token =
                "SELECT token_id FROM audit WHERE seq > $1 AND kind = 'mint' ORDER BY seq LIMIT 1";
            tokens.push(
                sqlx::query_scalar(token)
                    .bind(from)
                    .fetch_one(&mut connection)
                    .await?,
            );
        }
        Ok(tokens)
    }
}

async fn write(connection: &mut AnyConnection, from: u64, to: u64) -> Result<()> {
    let mut tx = connection.begin().await?;
    let numbers = "WITH RECURSIVE n(i) AS (SELECT CAST($1 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i + 1 < $2),
        one AS (SELECT * FROM audit WHERE kind = 'mint' AND id NOT LIKE '01990000-%' ORDER BY seq DESC LIMIT 1)";
    let id = |variant: u8| {
        format!("'01990000-0000-7000-{variant}000-' || CAST(100000000000 + i AS TEXT)")
    };
    let records = format!(
        "INSERT INTO audit (id, time, kind, agent, gateway, server, method, target, decision, gateway_policy, service_policy,
            token_id, txn, subject_token_id, content_digest, request_id)
         {numbers}
         SELECT {}, time, kind, agent, gateway, server, method, target, decision, gateway_policy, service_policy,
            {}, {}, subject_token_id, content_digest, request_id
         FROM n CROSS JOIN one",
        id(8), id(9), id(9),
    );
    let personal = format!(
        "INSERT INTO audit_personal (record, salt, subject, target, reason, source_ip, detail)
         {numbers}
         SELECT {}, substr(p.salt, 1, length(p.salt) - 12) || CAST(100000000000 + i AS TEXT), 'user-' || CAST(i % 1000 AS TEXT),
            p.target, p.reason, p.source_ip, p.detail
         FROM n CROSS JOIN one JOIN audit_personal AS p ON p.record = one.id",
        id(8),
    );
    for text in [records, personal] {
        sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(i64::try_from(from)?)
            .bind(i64::try_from(to)?)
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(())
}
