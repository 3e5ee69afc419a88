//! The end of what somebody's sign-in has led to, all at once: sessions, codes, and the tokens that came of them.

use std::collections::BTreeSet;

use jiff::Timestamp;
use sqlx::AnyConnection;

use super::{StoreError, oauth::SWEEP};
use crate::clock::rfc3339;

/// Ends whatever a user's sign-ins have led to. Tokens that were issued are taken back for as long as they could live.
///
/// # Errors
/// When the database fails.
pub async fn end_everything(
    conn: &mut AnyConnection,
    user: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    super::oauth::end_sessions_of(conn, user).await?;
    super::grants::end_all_of(conn, user, now).await?;
    sqlx::query("DELETE FROM authorization_codes WHERE user_name = $1 AND grant_id IS NULL")
        .bind(user)
        .execute(conn)
        .await?;
    Ok(())
}

/// Ends whatever an agent was given, whoever by.
///
/// # Errors
/// When the database fails.
pub async fn end_all_of_agent(
    conn: &mut AnyConnection,
    client_id: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    super::grants::end_all_of_client(conn, client_id, now).await?;
    sqlx::query("DELETE FROM authorization_codes WHERE client_id = $1 AND grant_id IS NULL")
        .bind(client_id)
        .execute(conn)
        .await?;
    Ok(())
}

/// Ends one sign-in by the id that clients know it by (`sid`), and whatever it has led to.
///
/// # Errors
/// [`StoreError::NotFound`] when nothing is left of it; when the database fails.
pub async fn end_session(
    conn: &mut AnyConnection,
    sid: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let was_open = super::oauth::end_session_known_as(conn, sid).await?;
    let grants = super::grants::end_all_of_session(conn, sid, now).await?;
    sqlx::query("DELETE FROM authorization_codes WHERE session_id = $1 AND grant_id IS NULL")
        .bind(sid)
        .execute(conn)
        .await?;
    if was_open || grants > 0 {
        return Ok(());
    }
    Err(StoreError::NotFound {
        what: "session",
        id: sid.to_owned(),
    })
}

/// Remembers whom a provider means by a session of its own, until nothing that came of it can be alive.
///
/// # Errors
/// When the database fails.
pub async fn remember(
    conn: &mut AnyConnection,
    (issuer, sid): (&str, &str),
    user: &str,
    now: Timestamp,
    keep_until: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM upstream_sessions WHERE (issuer, sid, user_name) IN \
         (SELECT issuer, sid, user_name FROM upstream_sessions WHERE keep_until <= $1 LIMIT $2)",
    )
    .bind(rfc3339(now))
    .bind(SWEEP)
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "INSERT INTO upstream_sessions (issuer, sid, user_name, keep_until) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (issuer, sid, user_name) DO UPDATE SET keep_until = excluded.keep_until",
    )
    .bind(issuer)
    .bind(sid)
    .bind(user)
    .bind(rfc3339(keep_until))
    .execute(conn)
    .await?;
    Ok(())
}

/// Whom a provider means with a subject, a session of its own, or both.
///
/// # Errors
/// When the database fails.
pub async fn users_of(
    conn: &mut AnyConnection,
    issuer: &str,
    subject: Option<&str>,
    sid: Option<&str>,
) -> Result<BTreeSet<String>, StoreError> {
    let users: Vec<String> = sqlx::query_scalar(
        "SELECT user_name FROM identities WHERE issuer = $1 AND subject = $2 \
         UNION SELECT user_name FROM upstream_sessions WHERE issuer = $1 AND sid = $3",
    )
    .bind(issuer)
    .bind(subject)
    .bind(sid)
    .fetch_all(conn)
    .await?;
    Ok(users.into_iter().collect())
}
