//! Authorization requests that clients pushed (RFC 9126), until they are answered or run out.

use jiff::Timestamp;
use sqlx::AnyConnection;

use super::StoreError;
use crate::{clock::rfc3339, secret::SecretHash};

/// The most rows one insert clears away.
const SWEEP: i64 = 64;

/// Keeps a request of a client, form-encoded.
///
/// # Errors
/// When the database fails.
pub async fn add(
    conn: &mut AnyConnection,
    reference: &SecretHash,
    client_id: &str,
    parameters: &str,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM pushed_requests WHERE secret_hash IN \
         (SELECT secret_hash FROM pushed_requests WHERE expires_at <= $1 LIMIT $2)",
    )
    .bind(rfc3339(now))
    .bind(SWEEP)
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "INSERT INTO pushed_requests (secret_hash, client_id, parameters, expires_at) \
         VALUES ($1, $2, $3, $4)",
    )
    .bind(reference.as_bytes())
    .bind(client_id)
    .bind(parameters)
    .bind(rfc3339(expires_at))
    .execute(conn)
    .await?;
    Ok(())
}

/// A client's request that waits for its answer.
///
/// # Errors
/// When the database fails.
pub async fn find(
    conn: &mut AnyConnection,
    reference: &SecretHash,
    client_id: &str,
    now: Timestamp,
) -> Result<Option<String>, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT parameters FROM pushed_requests \
         WHERE secret_hash = $1 AND client_id = $2 AND expires_at > $3",
    )
    .bind(reference.as_bytes())
    .bind(client_id)
    .bind(rfc3339(now))
    .fetch_optional(conn)
    .await?)
}

/// Keeps a request longer: its user is at it.
///
/// # Errors
/// When the database fails.
pub async fn keep(
    conn: &mut AnyConnection,
    reference: &SecretHash,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE pushed_requests SET expires_at = $1 WHERE secret_hash = $2")
        .bind(rfc3339(expires_at))
        .bind(reference.as_bytes())
        .execute(conn)
        .await?;
    Ok(())
}

/// Uses a request up; `false` when somebody else has.
///
/// # Errors
/// When the database fails.
pub async fn use_up(conn: &mut AnyConnection, reference: &SecretHash) -> Result<bool, StoreError> {
    let used = sqlx::query("DELETE FROM pushed_requests WHERE secret_hash = $1")
        .bind(reference.as_bytes())
        .execute(conn)
        .await?;
    Ok(used.rows_affected() == 1)
}
