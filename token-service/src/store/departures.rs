//! The end of what somebody's sign-in has led to, all at once: sessions, codes, and the tokens that came of them.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use sqlx::SqliteConnection;

use super::StoreError;
use crate::clock::rfc3339;

/// Longer than a caller's token can live under any configuration.
const DEAD_AFTER: SignedDuration = SignedDuration::from_secs(3600 + 60);

/// Ends whatever a user's sign-ins have led to. Tokens that were issued are taken back for as long as they could live.
///
/// # Errors
/// When the database fails.
pub async fn end_everything(
    conn: &mut SqliteConnection,
    user: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let dead_by = now.checked_add(DEAD_AFTER).unwrap_or(Timestamp::MAX);
    super::oauth::end_sessions_of(conn, user).await?;
    sqlx::query(
        "INSERT INTO revoked_tokens (token_id, expires_at) \
         SELECT token_id, ? FROM authorization_codes WHERE user = ? AND token_id IS NOT NULL \
         ON CONFLICT (token_id) DO NOTHING",
    )
    .bind(rfc3339(dead_by))
    .bind(user)
    .execute(&mut *conn)
    .await?;
    sqlx::query("DELETE FROM authorization_codes WHERE user = ? AND token_id IS NULL")
        .bind(user)
        .execute(conn)
        .await?;
    Ok(())
}

/// Whom a provider means with a subject, a session of its own, or both.
///
/// # Errors
/// When the database fails.
pub async fn users_of(
    conn: &mut SqliteConnection,
    issuer: &str,
    subject: Option<&str>,
    sid: Option<&str>,
) -> Result<BTreeSet<String>, StoreError> {
    let users: Vec<String> = sqlx::query_scalar(
        "SELECT user FROM identities WHERE issuer = ?1 AND subject = ?2 \
         UNION SELECT user FROM sessions WHERE issuer = ?1 AND upstream_sid = ?3",
    )
    .bind(issuer)
    .bind(subject)
    .bind(sid)
    .fetch_all(conn)
    .await?;
    Ok(users.into_iter().collect())
}
