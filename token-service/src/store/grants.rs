//! Grants and their refresh tokens: a family, from the code that began it to its end.
//!
//! A refresh token is good once. One that comes again means that two have it, and nobody can tell which of them is the
//! client: the whole family ends (RFC 9700 section 4.14.2), and with it whatever was derived from it.

use jiff::{SignedDuration, Timestamp};
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use super::{StoreError, oauth};
use crate::{clock::rfc3339, secret::SecretHash};

/// The most rows one insert clears away.
const SWEEP: i64 = 64;
/// Longer than a caller's token, and what is minted from it, can live under any configuration.
const DEAD_AFTER: SignedDuration = SignedDuration::from_secs(3600 + 60);

/// What a user gave a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// UUIDv7: `grant_id` in the tokens.
    pub id: String,
    /// The client.
    pub client_id: String,
    /// The user.
    pub user: String,
    /// The server's resource identifier; none where only the user's identity was asked for.
    pub resource: Option<String>,
    /// The scopes granted, separated by spaces.
    pub scope: String,
    /// When the user signed in, in seconds since the epoch.
    pub auth_time: u64,
    /// The session in which it was given (`sid`).
    pub session_id: String,
    /// The thumbprint of the key that its refresh tokens are bound to (RFC 9449 section 5).
    pub key: Option<String>,
    /// When nothing of it is good any more.
    pub expires_at: Timestamp,
}

/// What a refresh token turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presented {
    /// The one that is good now.
    Current(Family),
    /// One that was used before, of a family that still lives.
    Used(Family),
    /// It has run out, or its family has ended.
    Ended(Family),
    /// There is no such token.
    Unknown,
}

/// Begins a family.
///
/// # Errors
/// When the database fails.
pub async fn begin(
    conn: &mut AnyConnection,
    family: &Family,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM grants WHERE id IN (SELECT id FROM grants WHERE expires_at <= $1 LIMIT $2)",
    )
    .bind(rfc3339(now))
    .bind(SWEEP)
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "INSERT INTO grants (id, client_id, user_name, resource, scope, auth_time, session_id, dpop_jkt, created_at, \
         expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(&family.id)
    .bind(&family.client_id)
    .bind(&family.user)
    .bind(&family.resource)
    .bind(&family.scope)
    .bind(i64::try_from(family.auth_time).unwrap_or(i64::MAX))
    .bind(&family.session_id)
    .bind(&family.key)
    .bind(rfc3339(now))
    .bind(rfc3339(family.expires_at))
    .execute(conn)
    .await?;
    Ok(())
}

/// Adds the refresh token that carries a family on, and forgets those of it that have run out.
///
/// # Errors
/// When the database fails.
pub async fn add_refresh_token(
    conn: &mut AnyConnection,
    secret: &SecretHash,
    grant_id: &str,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM refresh_tokens WHERE grant_id = $1 AND expires_at <= $2")
        .bind(grant_id)
        .bind(rfc3339(now))
        .execute(&mut *conn)
        .await?;
    sqlx::query(
        "INSERT INTO refresh_tokens (secret_hash, grant_id, expires_at) VALUES ($1, $2, $3)",
    )
    .bind(secret.as_bytes())
    .bind(grant_id)
    .bind(rfc3339(expires_at))
    .execute(conn)
    .await?;
    Ok(())
}

/// What a refresh token is, as of now.
///
/// # Errors
/// When the database fails.
pub async fn present(
    conn: &mut AnyConnection,
    secret: &SecretHash,
    now: Timestamp,
) -> Result<Presented, StoreError> {
    let Some(row) = sqlx::query(
        "SELECT grants.*, refresh_tokens.expires_at AS token_expires_at, used_at \
         FROM refresh_tokens JOIN grants ON grants.id = grant_id WHERE secret_hash = $1",
    )
    .bind(secret.as_bytes())
    .fetch_optional(conn)
    .await?
    else {
        return Ok(Presented::Unknown);
    };
    let family = family(&row)?;
    let revoked = row.try_get::<Option<&str>, _>("revoked_at")?.is_some();
    let used = row.try_get::<Option<&str>, _>("used_at")?.is_some();
    let expired = row.try_get::<&str, _>("token_expires_at")? <= rfc3339(now).as_str()
        || family.expires_at <= now;
    Ok(match (revoked, used, expired) {
        (true, _, _) => Presented::Ended(family),
        (false, true, _) => Presented::Used(family),
        (false, false, true) => Presented::Ended(family),
        (false, false, false) => Presented::Current(family),
    })
}

/// Uses a refresh token up.
///
/// # Errors
/// When the database fails.
pub async fn use_up(
    conn: &mut AnyConnection,
    secret: &SecretHash,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE refresh_tokens SET used_at = $1 WHERE secret_hash = $2")
        .bind(rfc3339(now))
        .bind(secret.as_bytes())
        .execute(conn)
        .await?;
    Ok(())
}

/// Ends a family, and all that was derived from it: the registry's revision moves on with it.
///
/// # Errors
/// When the database fails.
pub async fn end(
    conn: &mut AnyConnection,
    grant_id: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE grants SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL")
        .bind(rfc3339(now))
        .bind(grant_id)
        .execute(&mut *conn)
        .await?;
    oauth::revoke_token(conn, grant_id, now, dead_by(now)).await
}

/// Ends all families of a user.
///
/// # Errors
/// When the database fails.
pub async fn end_all_of(
    conn: &mut AnyConnection,
    user: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "UPDATE grants SET revoked_at = $1 WHERE user_name = $2 AND revoked_at IS NULL RETURNING id";
    end_those(conn, sql, user, now).await.map(drop)
}

/// Ends all families of a client.
///
/// # Errors
/// When the database fails.
pub async fn end_all_of_client(
    conn: &mut AnyConnection,
    client_id: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "UPDATE grants SET revoked_at = $1 WHERE client_id = $2 AND revoked_at IS NULL RETURNING id";
    end_those(conn, sql, client_id, now).await.map(drop)
}

/// Ends all families of a session; answers how many there were.
///
/// # Errors
/// When the database fails.
pub async fn end_all_of_session(
    conn: &mut AnyConnection,
    sid: &str,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let sql = "UPDATE grants SET revoked_at = $1 WHERE session_id = $2 AND revoked_at IS NULL RETURNING id";
    end_those(conn, sql, sid, now).await
}

async fn end_those(
    conn: &mut AnyConnection,
    sql: &'static str,
    whose: &str,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let ended: Vec<String> = sqlx::query_scalar(sql)
        .bind(rfc3339(now))
        .bind(whose)
        .fetch_all(&mut *conn)
        .await?;
    for grant_id in &ended {
        oauth::revoke_token(conn, grant_id, now, dead_by(now)).await?;
    }
    Ok(ended.len())
}

/// By when every token that was issued before now has expired by itself.
#[must_use]
pub fn dead_by(now: Timestamp) -> Timestamp {
    now.checked_add(DEAD_AFTER).unwrap_or(Timestamp::MAX)
}

fn family(row: &AnyRow) -> Result<Family, StoreError> {
    let id: String = row.try_get("id")?;
    let expires_at =
        row.try_get::<&str, _>("expires_at")?
            .parse()
            .map_err(|e| StoreError::Malformed {
                table: "grants",
                id: id.clone(),
                problem: format!("expires_at: {e}"),
            })?;
    Ok(Family {
        id,
        client_id: row.try_get("client_id")?,
        user: row.try_get("user_name")?,
        resource: row.try_get("resource")?,
        scope: row.try_get("scope")?,
        auth_time: u64::try_from(row.try_get::<i64, _>("auth_time")?).unwrap_or(0),
        session_id: row.try_get("session_id")?,
        key: row.try_get("dpop_jkt")?,
        expires_at,
    })
}
