//! Browsers on their way through an identity provider, to sign in or out. Each way is gone once, by the browser that set
//! out.

use jiff::{SignedDuration, Timestamp};
use sqlx::{AnyConnection, Row as _};

use super::StoreError;
use crate::{clock::rfc3339, secret::SecretHash};

/// How long a sign-in or sign-out at a provider may take.
pub const ON_THE_WAY: SignedDuration = SignedDuration::from_mins(10);
/// The most of a kind on the way at once; beyond it, those that set out first are forgotten.
const MOST: i64 = 10_000;

const OLD_SIGN_INS: &str = "DELETE FROM pending_sign_ins WHERE created_at <= $1 OR created_at <= \
    (SELECT created_at FROM pending_sign_ins ORDER BY created_at DESC LIMIT 1 OFFSET $2)";
const OLD_LOGOUTS: &str = "DELETE FROM pending_logouts WHERE created_at <= $1 OR created_at <= \
    (SELECT created_at FROM pending_logouts ORDER BY created_at DESC LIMIT 1 OFFSET $2)";

/// A sign-in on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingSignIn {
    /// The query of the authorization request to go back to.
    pub query: String,
    /// When it set out (RFC 3339).
    pub created_at: String,
}

/// Remembers a sign-in that sets out for the provider of this issuer.
///
/// # Errors
/// When the database fails.
pub async fn set_out(
    conn: &mut AnyConnection,
    state: &SecretHash,
    browser: &SecretHash,
    issuer: &str,
    query: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    make_room(conn, OLD_SIGN_INS, now).await?;
    sqlx::query(
        "INSERT INTO pending_sign_ins (state_hash, browser, issuer, query, created_at) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(state.as_bytes())
    .bind(browser.as_bytes())
    .bind(issuer)
    .bind(query)
    .bind(rfc3339(now))
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes a sign-in that has come back from the provider of this issuer, if it is this browser's. Another browser's stays
/// as it is.
///
/// # Errors
/// When the database fails.
pub async fn come_back(
    conn: &mut AnyConnection,
    state: &SecretHash,
    browser: &SecretHash,
    issuer: &str,
    now: Timestamp,
) -> Result<Option<PendingSignIn>, StoreError> {
    let row = sqlx::query(
        "DELETE FROM pending_sign_ins WHERE state_hash = $1 AND browser = $2 AND issuer = $3 AND created_at > $4 \
         RETURNING query, created_at",
    )
    .bind(state.as_bytes())
    .bind(browser.as_bytes())
    .bind(issuer)
    .bind(rfc3339(earliest(now)))
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        Ok(PendingSignIn {
            query: row.try_get("query")?,
            created_at: row.try_get("created_at")?,
        })
    })
    .transpose()
}

/// Remembers where a browser goes on to after it has signed out at a provider.
///
/// # Errors
/// When the database fails.
pub async fn set_out_to_leave(
    conn: &mut AnyConnection,
    state: &SecretHash,
    location: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    make_room(conn, OLD_LOGOUTS, now).await?;
    sqlx::query(
        "INSERT INTO pending_logouts (state_hash, location, created_at) VALUES ($1, $2, $3)",
    )
    .bind(state.as_bytes())
    .bind(location)
    .bind(rfc3339(now))
    .execute(conn)
    .await?;
    Ok(())
}

/// Where a browser goes on to that has signed out at a provider.
///
/// # Errors
/// When the database fails.
pub async fn has_left(
    conn: &mut AnyConnection,
    state: &SecretHash,
    now: Timestamp,
) -> Result<Option<String>, StoreError> {
    Ok(sqlx::query_scalar(
        "DELETE FROM pending_logouts WHERE state_hash = $1 AND created_at > $2 RETURNING location",
    )
    .bind(state.as_bytes())
    .bind(rfc3339(earliest(now)))
    .fetch_optional(conn)
    .await?)
}

/// Whether a logout token is seen for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogoutToken {
    /// It is; from now on it is not.
    Fresh,
    /// It was used before.
    Replayed,
}

/// Uses up a logout token, and remembers the provider's session that it ended.
///
/// # Errors
/// When the database fails.
pub async fn use_logout_token(
    conn: &mut AnyConnection,
    issuer: &str,
    jti: &str,
    sid: Option<&str>,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<LogoutToken, StoreError> {
    sqlx::query("DELETE FROM upstream_logouts WHERE expires_at <= $1")
        .bind(rfc3339(now))
        .execute(&mut *conn)
        .await?;
    let added = sqlx::query(
        "INSERT INTO upstream_logouts (issuer, jti, sid, expires_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (issuer, jti) DO NOTHING",
    )
    .bind(issuer)
    .bind(jti)
    .bind(sid)
    .bind(rfc3339(expires_at))
    .execute(conn)
    .await?;
    Ok(match added.rows_affected() {
        0 => LogoutToken::Replayed,
        _ => LogoutToken::Fresh,
    })
}

/// Whether a provider has ended this session of its own lately.
///
/// # Errors
/// When the database fails.
pub async fn is_ended(
    conn: &mut AnyConnection,
    issuer: &str,
    sid: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let ended = sqlx::query(
        "SELECT 1 FROM upstream_logouts WHERE issuer = $1 AND sid = $2 AND expires_at > $3",
    )
    .bind(issuer)
    .bind(sid)
    .bind(rfc3339(now))
    .fetch_optional(conn)
    .await?;
    Ok(ended.is_some())
}

fn earliest(now: Timestamp) -> Timestamp {
    now.checked_sub(ON_THE_WAY).unwrap_or(Timestamp::MIN)
}

/// Clears away what is no longer on its way, and the oldest of too many.
async fn make_room(
    conn: &mut AnyConnection,
    statement: &'static str,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(statement)
        .bind(rfc3339(earliest(now)))
        .bind(MOST)
        .execute(conn)
        .await?;
    Ok(())
}
