//! Published policies: each revision whole, and which is in force.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use super::{Store, StoreError, WriteTx};
use crate::{audit::Record, clock::rfc3339};

/// A revision that is to be published.
#[derive(Clone, Copy, Debug)]
pub struct NewRevision<'a> {
    /// The digest of what decides.
    pub revision: &'a str,
    /// Texts by path.
    pub files: &'a BTreeMap<String, String>,
    /// Where it was read from.
    pub origin: &'a str,
    /// What its manifest calls it.
    pub named: Option<&'a str>,
    /// Why.
    pub message: &'a str,
    /// By whom.
    pub author: &'a str,
}

/// A published revision.
#[derive(Clone, Debug)]
pub struct Published {
    /// Counts up from 1.
    pub number: i64,
    /// The digest of what decides, as audit records name it.
    pub revision: String,
    /// Why.
    pub message: String,
    /// By whom.
    pub author: String,
    /// Where it was read from.
    pub origin: String,
    /// What its manifest calls it.
    pub named: Option<String>,
    /// RFC 3339, UTC.
    pub published_at: String,
    /// Whether it is in force, and since when.
    pub in_force_since: Option<String>,
}

/// Which revision is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// By its number.
    Number(i64),
    /// By its digest; of several, the newest.
    Revision(String),
}

impl std::str::FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hex = |text: &str| text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        match text.parse() {
            _ if hex(text) => Ok(Self::Revision(text.to_ascii_lowercase())),
            Ok(number) if number > 0 => Ok(Self::Number(number)),
            _ => Err(format!(
                "{text:?} is no revision: give its number, or its 16 hexadecimal digits; `writ policy history` shows both"
            )),
        }
    }
}

impl std::fmt::Display for Which {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Revision(revision) => f.write_str(revision),
        }
    }
}

const SELECT: &str =
    "SELECT p.number, revision, message, author, origin, named, published_at, since
     FROM policy_revisions AS p LEFT JOIN policy_in_force AS f ON f.number = p.number ";

/// The number of the revision in force; none while nothing has been published.
pub(super) async fn in_force(conn: &mut AnyConnection) -> Result<Option<i64>, StoreError> {
    Ok(sqlx::query_scalar("SELECT number FROM policy_in_force")
        .fetch_optional(conn)
        .await?)
}

/// Publishes a revision and puts it in force, with its record; answers with its number. None where these very files are in
/// force already.
pub(super) async fn publish(
    tx: &mut WriteTx,
    new: &NewRevision<'_>,
    now: Timestamp,
) -> Result<Option<i64>, StoreError> {
    let files = super::json(new.files)?;
    let same: Option<i64> = sqlx::query_scalar(
        "SELECT number FROM policy_revisions JOIN policy_in_force USING (number) WHERE files = $1",
    )
    .bind(&files)
    .fetch_optional(tx.conn())
    .await?;
    if same.is_some() {
        return Ok(None);
    }
    let number = insert(tx, new, now).await?;
    put_in_force(
        tx,
        number,
        now,
        "policy publish",
        new.author,
        Some(new.message),
    )
    .await?;
    Ok(Some(number))
}

/// Keeps a revision, without putting it in force; answers with its number.
pub(super) async fn insert(
    tx: &mut WriteTx,
    new: &NewRevision<'_>,
    now: Timestamp,
) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar(
        "INSERT INTO policy_revisions (number, revision, files, message, author, origin, named, published_at)
         SELECT coalesce(max(number), 0) + 1, $1, $2, $3, $4, $5, $6, $7 FROM policy_revisions RETURNING number",
    )
    .bind(new.revision)
    .bind(super::json(new.files)?)
    .bind(new.message)
    .bind(new.author)
    .bind(new.origin)
    .bind(new.named)
    .bind(rfc3339(now))
    .fetch_one(tx.conn())
    .await?)
}

async fn is_last_bundle(
    conn: &mut AnyConnection,
    url: &str,
    digest: &[u8; 32],
) -> Result<bool, StoreError> {
    let last = sqlx::query("SELECT 1 FROM policy_bundle WHERE url = $1 AND digest = $2")
        .bind(url)
        .bind(digest.as_slice())
        .fetch_optional(conn)
        .await?;
    Ok(last.is_some())
}

async fn put_in_force(
    tx: &mut WriteTx,
    number: i64,
    now: Timestamp,
    command: &str,
    author: &str,
    message: Option<&str>,
) -> Result<(), StoreError> {
    let before = in_force(tx.conn()).await?;
    sqlx::query(
        "INSERT INTO policy_in_force (id, number, since) VALUES (1, $1, $2)
         ON CONFLICT (id) DO UPDATE SET number = excluded.number, since = excluded.since",
    )
    .bind(number)
    .bind(rfc3339(now))
    .execute(tx.conn())
    .await?;
    let revision: String =
        sqlx::query_scalar("SELECT revision FROM policy_revisions WHERE number = $1")
            .bind(number)
            .fetch_one(tx.conn())
            .await?;
    let mut record = Record::admin(now, command, &number.to_string());
    record.reason = message.map(str::to_owned);
    record.service_policy = Some(revision);
    record.detail = Some(json!({"author": author, "before": before}));
    tx.audit(&record).await
}

impl Store {
    /// Publishes a revision and puts it in force, with its audit record; answers with its number.
    ///
    /// # Errors
    /// When these very files are in force already, or the database fails.
    pub async fn publish_policy(
        &self,
        new: &NewRevision<'_>,
        now: Timestamp,
    ) -> Result<i64, StoreError> {
        let mut tx = self.write().await?;
        let number = publish(&mut tx, new, now).await?;
        let number = number.ok_or(StoreError::Conflict(
            "this very policy is in force already; nothing is published",
        ))?;
        tx.commit().await?;
        Ok(number)
    }

    /// Whether this bundle is the last of that server's that was published.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn bundle_is_published(
        &self,
        url: &str,
        digest: &[u8; 32],
    ) -> Result<bool, StoreError> {
        is_last_bundle(&mut *self.read().await?, url, digest).await
    }

    /// Publishes a bundle and puts it in force, unless another process has done so meanwhile, or its files are in force
    /// already.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn publish_bundle(
        &self,
        new: &NewRevision<'_>,
        url: &str,
        digest: &[u8; 32],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        if is_last_bundle(tx.conn(), url, digest).await? {
            return Ok(());
        }
        publish(&mut tx, new, now).await?;
        sqlx::query(
            "INSERT INTO policy_bundle (id, url, digest) VALUES (1, $1, $2)
             ON CONFLICT (id) DO UPDATE SET url = excluded.url, digest = excluded.digest",
        )
        .bind(url)
        .bind(digest.as_slice())
        .execute(tx.conn())
        .await?;
        tx.commit().await
    }

    /// Puts a revision in force that has been published before.
    ///
    /// # Errors
    /// When there is none of that number, it is in force already, or the database fails.
    pub async fn put_policy_in_force(
        &self,
        number: i64,
        author: &str,
        message: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        if in_force(tx.conn()).await? == Some(number) {
            return Err(StoreError::Conflict("this policy is in force already"));
        }
        put_in_force(&mut tx, number, now, "policy rollback", author, message).await?;
        tx.commit().await
    }

    /// The number of the revision in force; none while nothing has been published.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn policy_in_force(&self) -> Result<Option<i64>, StoreError> {
        in_force(&mut *self.read().await?).await
    }

    /// The newest `limit` revisions, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn policy_history(&self, limit: u32) -> Result<Vec<Published>, StoreError> {
        let sql = format!("{SELECT} ORDER BY p.number DESC LIMIT $1");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(i64::from(limit))
            .fetch_all(&mut *self.read().await?)
            .await?;
        rows.iter().map(published).collect()
    }

    /// The revision that was published before the one in force.
    ///
    /// # Errors
    /// When there is none, or the database fails.
    pub async fn policy_before(&self) -> Result<i64, StoreError> {
        let before: Option<i64> = sqlx::query_scalar(
            "SELECT max(p.number) FROM policy_revisions AS p JOIN policy_in_force AS f ON p.number < f.number",
        )
        .fetch_one(&mut *self.read().await?)
        .await?;
        before.ok_or(StoreError::Conflict(
            "there is no earlier policy; `writ policy history` shows what there is",
        ))
    }

    /// A revision.
    ///
    /// # Errors
    /// When there is none of that name, or the database fails.
    pub async fn published_policy(&self, which: &Which) -> Result<Published, StoreError> {
        let sql = format!("{SELECT} WHERE p.number = $1 OR revision = $2 ORDER BY p.number DESC");
        let (number, revision) = match which {
            Which::Number(number) => (Some(*number), None),
            Which::Revision(revision) => (None, Some(revision)),
        };
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(number)
            .bind(revision)
            .fetch_optional(&mut *self.read().await?)
            .await?;
        match row {
            Some(row) => published(&row),
            None => Err(StoreError::NoPolicy(which.to_string())),
        }
    }

    /// The files of a revision.
    ///
    /// # Errors
    /// When there is none of that number, it cannot be read, or the database fails.
    pub async fn policy_files(&self, number: i64) -> Result<BTreeMap<String, String>, StoreError> {
        let files: Option<String> =
            sqlx::query_scalar("SELECT files FROM policy_revisions WHERE number = $1")
                .bind(number)
                .fetch_optional(&mut *self.read().await?)
                .await?;
        let files = files.ok_or_else(|| StoreError::NoPolicy(number.to_string()))?;
        serde_json::from_str(&files).map_err(|e| StoreError::Malformed {
            table: "policy revision",
            id: number.to_string(),
            problem: e.to_string(),
        })
    }
}

fn published(row: &AnyRow) -> Result<Published, StoreError> {
    Ok(Published {
        number: row.try_get("number")?,
        revision: row.try_get("revision")?,
        message: row.try_get("message")?,
        author: row.try_get("author")?,
        origin: row.try_get("origin")?,
        named: row.try_get("named")?,
        published_at: row.try_get("published_at")?,
        in_force_since: row.try_get("since")?,
    })
}
