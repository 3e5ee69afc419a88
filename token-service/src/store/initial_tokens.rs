//! Initial access tokens (RFC 7591 section 3): how often and until when they are good, and what they vouch for.

use jiff::Timestamp;
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use super::{StoreError, registrations::Registered};
use crate::{clock::rfc3339, registry::Labels, secret::SecretHash};

/// An initial access token, without its secret.
#[derive(Clone, Debug)]
pub struct InitialToken {
    /// Names it in commands and records.
    pub id: String,
    /// Whom it was given to.
    pub owner: String,
    /// Put on what registers with it.
    pub labels: Labels,
    /// How many registrations it is good for in all.
    pub count: u32,
    /// How many there were.
    pub used: u32,
    /// Until when it is good (RFC 3339).
    pub expires_at: String,
}

/// Keeps a new token.
///
/// # Errors
/// When the database fails.
pub async fn add(
    conn: &mut AnyConnection,
    token: &InitialToken,
    secret: &SecretHash,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO initial_access_tokens (id, secret_hash, owner, labels, count, expires_at, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&token.id)
    .bind(secret.as_bytes())
    .bind(&token.owner)
    .bind(super::json(&token.labels)?)
    .bind(i64::from(token.count))
    .bind(&token.expires_at)
    .bind(rfc3339(now))
    .execute(conn)
    .await?;
    Ok(())
}

/// All tokens, the oldest first.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut AnyConnection) -> Result<Vec<InitialToken>, StoreError> {
    let rows = sqlx::query("SELECT id, owner, labels, count, used, expires_at FROM initial_access_tokens ORDER BY created_at, id")
        .fetch_all(conn)
        .await?;
    rows.iter().map(read).collect()
}

/// Takes a token back. What has registered with it stays.
///
/// # Errors
/// [`StoreError::NotFound`] when there is none of this id.
pub async fn revoke(conn: &mut AnyConnection, id: &str) -> Result<(), StoreError> {
    let deleted = sqlx::query("DELETE FROM initial_access_tokens WHERE id = $1")
        .bind(id)
        .execute(conn)
        .await?;
    if deleted.rows_affected() == 0 {
        return Err(StoreError::NotFound {
            what: "registration token",
            id: id.to_owned(),
        });
    }
    Ok(())
}

/// The token of this secret, if it is still good for a registration.
///
/// # Errors
/// When the database fails.
pub async fn find(
    conn: &mut AnyConnection,
    secret: &SecretHash,
    now: Timestamp,
) -> Result<Option<InitialToken>, StoreError> {
    let row = sqlx::query(
        "SELECT id, owner, labels, count, used, expires_at FROM initial_access_tokens WHERE secret_hash = $1 AND used < count AND expires_at > $2",
    )
    .bind(secret.as_bytes())
    .bind(rfc3339(now))
    .fetch_optional(conn)
    .await?;
    row.as_ref().map(read).transpose()
}

/// Uses a token once more. `false` when it has been used up or taken back since it was found.
///
/// # Errors
/// When the database fails.
pub async fn spend(conn: &mut AnyConnection, id: &str) -> Result<bool, StoreError> {
    let spent = sqlx::query(
        "UPDATE initial_access_tokens SET used = used + 1 WHERE id = $1 AND used < count",
    )
    .bind(id)
    .execute(conn)
    .await?;
    Ok(spent.rows_affected() == 1)
}

/// Remembers what the token vouched for, with the registration that was made with it.
///
/// # Errors
/// When the database fails.
pub async fn vouch(
    conn: &mut AnyConnection,
    what: Registered,
    id: &str,
    labels: &Labels,
) -> Result<(), StoreError> {
    let sql = match what {
        Registered::Server => "UPDATE servers SET token_labels = $1 WHERE id = $2",
        _ => "UPDATE agents SET token_labels = $1 WHERE id = $2",
    };
    sqlx::query(sql)
        .bind(super::json(labels)?)
        .bind(id)
        .execute(conn)
        .await?;
    Ok(())
}

/// What the token vouched for that a registration was made with; `None` where there was none.
///
/// # Errors
/// When the database fails.
pub async fn vouched(
    conn: &mut AnyConnection,
    what: Registered,
    id: &str,
) -> Result<Option<Labels>, StoreError> {
    let sql = match what {
        Registered::Server => "SELECT token_labels FROM servers WHERE id = $1",
        _ => "SELECT token_labels FROM agents WHERE id = $1",
    };
    let labels: Option<Option<String>> = sqlx::query_scalar(sql)
        .bind(id)
        .fetch_optional(conn)
        .await?;
    labels
        .flatten()
        .map(|text| labels_of(id, &text))
        .transpose()
}

/// How many clients have come by themselves.
///
/// # Errors
/// When the database fails.
pub async fn self_registered(conn: &mut AnyConnection) -> Result<i64, StoreError> {
    Ok(
        sqlx::query_scalar("SELECT COUNT(*) FROM agents WHERE origin <> 'admin'")
            .fetch_one(conn)
            .await?,
    )
}

fn read(row: &AnyRow) -> Result<InitialToken, StoreError> {
    let id: String = row.try_get("id")?;
    Ok(InitialToken {
        owner: row.try_get("owner")?,
        labels: labels_of(&id, row.try_get("labels")?)?,
        count: count(row.try_get("count")?),
        used: count(row.try_get("used")?),
        expires_at: row.try_get("expires_at")?,
        id,
    })
}

fn count(stored: i64) -> u32 {
    u32::try_from(stored).unwrap_or(u32::MAX)
}

fn labels_of(id: &str, text: &str) -> Result<Labels, StoreError> {
    serde_json::from_str(text).map_err(|e| StoreError::Malformed {
        table: "registration",
        id: id.to_owned(),
        problem: e.to_string(),
    })
}
