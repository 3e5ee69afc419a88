//! The end of what somebody's sign-in has led to, all at once: sessions, codes, and the tokens that came of them.

use std::collections::BTreeSet;

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::StoreError;

/// Ends whatever a user's sign-ins have led to. Tokens that were issued are taken back for as long as they could live.
///
/// # Errors
/// When the database fails.
pub async fn end_everything(
    conn: &mut SqliteConnection,
    user: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    super::oauth::end_sessions_of(conn, user).await?;
    super::grants::end_all_of(conn, user, now).await?;
    sqlx::query("DELETE FROM authorization_codes WHERE user = ? AND grant_id IS NULL")
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
