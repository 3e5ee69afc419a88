//! What sign-in and the grants remember: sessions, authorization codes, used assertions, revoked tokens.
//!
//! Each insert clears away what has run out, so that no table grows past what is alive.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use super::StoreError;
use crate::{clock::rfc3339, registry::Revocation, secret::SecretHash};

/// The most rows one insert clears away: enough to keep up, too few to hold up the insert.
pub(super) const SWEEP: i64 = 64;

/// The session at an identity provider that a session here comes from.
#[derive(Clone, Copy)]
pub struct Upstream<'a> {
    /// The provider's issuer identifier.
    pub issuer: &'a str,
    /// Its session id, where it says.
    pub sid: Option<&'a str>,
    /// The ID token that it gave: the hint for signing out there.
    pub id_token: &'a str,
}

/// Starts a session of a user.
///
/// # Errors
/// When the database fails.
pub async fn start_session(
    conn: &mut AnyConnection,
    secret: &SecretHash,
    user: &str,
    upstream: Option<&Upstream<'_>>,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM sessions WHERE secret_hash IN \
         (SELECT secret_hash FROM sessions WHERE expires_at <= $1 LIMIT $2)",
    )
    .bind(rfc3339(now))
    .bind(SWEEP)
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "INSERT INTO sessions (secret_hash, user_name, created_at, expires_at, issuer, upstream_sid, id_token) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(secret.as_bytes())
    .bind(user)
    .bind(rfc3339(now))
    .bind(rfc3339(expires_at))
    .bind(upstream.map(|u| u.issuer))
    .bind(upstream.and_then(|u| u.sid))
    .bind(upstream.map(|u| u.id_token))
    .execute(conn)
    .await?;
    Ok(())
}

/// A live session of an active user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The user's name.
    pub user: String,
    /// When they signed in.
    pub since: Timestamp,
    /// What clients may know the session by (`sid`); it opens nothing.
    pub id: String,
    /// The SHA-256 of the authorization request that they signed in for.
    pub signed_in_for: Option<Vec<u8>>,
}

/// The session of a browser, while it lives and its user is active.
///
/// # Errors
/// When the database fails.
pub async fn session(
    conn: &mut AnyConnection,
    secret: &SecretHash,
    now: Timestamp,
) -> Result<Option<Session>, StoreError> {
    let Some(row) = sqlx::query(
        "SELECT user_name, created_at AS since, signed_in_for, issuer FROM sessions \
         WHERE secret_hash = $1 AND expires_at > $2 \
         AND NOT EXISTS (SELECT 1 FROM inactive_users WHERE name = user_name)",
    )
    .bind(secret.as_bytes())
    .bind(rfc3339(now))
    .fetch_optional(conn)
    .await?
    else {
        return Ok(None);
    };
    let user: String = row.try_get("user_name")?;
    let since = row
        .try_get::<&str, _>("since")?
        .parse()
        .map_err(|e| StoreError::Malformed {
            table: "sessions",
            id: user.clone(),
            problem: format!("created_at: {e}"),
        })?;
    Ok(Some(Session {
        user,
        since,
        id: known_as(secret.as_bytes()),
        signed_in_for: row.try_get("signed_in_for")?,
    }))
}

/// What clients may know a session by; it opens nothing.
fn known_as(secret_hash: &[u8]) -> String {
    let id = Sha256::new_with_prefix(b"writ session id\0").chain_update(secret_hash);
    URL_SAFE_NO_PAD.encode(id.finalize())
}

/// What a session remembers of an authorization request: the SHA-256 of its query.
#[must_use]
pub fn request_digest(query: &str) -> [u8; 32] {
    Sha256::digest(query).into()
}

/// Notes which authorization request a session's user signed in for; none once that request is answered.
///
/// # Errors
/// When the database fails.
pub async fn set_signed_in_for(
    conn: &mut AnyConnection,
    secret: &SecretHash,
    request: Option<&[u8]>,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE sessions SET signed_in_for = $1 WHERE secret_hash = $2")
        .bind(request)
        .bind(secret.as_bytes())
        .execute(conn)
        .await?;
    Ok(())
}

/// The session at a provider that a session comes from: the issuer, and the ID token that it gave.
///
/// # Errors
/// When the database fails.
pub async fn session_upstream(
    conn: &mut AnyConnection,
    secret: &SecretHash,
) -> Result<Option<(String, String)>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT issuer, id_token FROM sessions \
         WHERE secret_hash = $1 AND issuer IS NOT NULL AND id_token IS NOT NULL",
    )
    .bind(secret.as_bytes())
    .fetch_optional(conn)
    .await?)
}

/// Ends a session. One that is not there is ended already.
///
/// # Errors
/// When the database fails.
pub async fn end_session(conn: &mut AnyConnection, secret: &SecretHash) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM sessions WHERE secret_hash = $1")
        .bind(secret.as_bytes())
        .execute(conn)
        .await?;
    Ok(())
}

/// Ends the session that clients know by this id; answers whether there was one.
///
/// # Errors
/// When the database fails.
pub async fn end_session_known_as(conn: &mut AnyConnection, sid: &str) -> Result<bool, StoreError> {
    let all: Vec<Vec<u8>> = sqlx::query_scalar("SELECT secret_hash FROM sessions")
        .fetch_all(&mut *conn)
        .await?;
    let Some(hash) = all.into_iter().find(|hash| known_as(hash) == sid) else {
        return Ok(false);
    };
    sqlx::query("DELETE FROM sessions WHERE secret_hash = $1")
        .bind(hash)
        .execute(conn)
        .await?;
    Ok(true)
}

/// Ends all sessions of a user.
///
/// # Errors
/// When the database fails.
pub async fn end_sessions_of(conn: &mut AnyConnection, user: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM sessions WHERE user_name = $1")
        .bind(user)
        .execute(conn)
        .await?;
    Ok(())
}

/// What a user granted, and what the code for it is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeGrant {
    /// The client it was given to.
    pub client_id: String,
    /// The user who granted it.
    pub user: String,
    /// Where the code was sent, exactly as the request named it.
    pub redirect_uri: String,
    /// The server's resource identifier (RFC 8707); none where only the user's identity was asked for.
    pub resource: Option<String>,
    /// The scopes granted, separated by spaces.
    pub scope: String,
    /// The PKCE challenge (S256).
    pub code_challenge: String,
    /// What the ID token repeats (OpenID Connect Core section 3.1.2.1).
    pub nonce: Option<String>,
    /// When the user signed in, in seconds since the epoch.
    pub auth_time: u64,
    /// The session in which it was granted (`sid`).
    pub session_id: String,
}

/// What became of a code that a client presents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redeemed {
    /// It was good, and is used up now.
    Granted(CodeGrant),
    /// It was redeemed before.
    Again {
        /// What it was bound to.
        grant: CodeGrant,
        /// The grant that it began.
        grant_id: String,
    },
    /// It has run out.
    Expired,
    /// There is no such code.
    Unknown,
}

/// Keeps a new code until `expires_at`, and its memory until `keep_until`.
///
/// # Errors
/// When the database fails.
pub async fn add_code(
    conn: &mut AnyConnection,
    code: &SecretHash,
    grant: &CodeGrant,
    now: Timestamp,
    expires_at: Timestamp,
    keep_until: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM authorization_codes WHERE code_hash IN \
         (SELECT code_hash FROM authorization_codes WHERE keep_until <= $1 LIMIT $2)",
    )
    .bind(rfc3339(now))
    .bind(SWEEP)
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "INSERT INTO authorization_codes (code_hash, client_id, user_name, redirect_uri, resource, \
         scope, code_challenge, nonce, auth_time, session_id, expires_at, keep_until) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(code.as_bytes())
    .bind(&grant.client_id)
    .bind(&grant.user)
    .bind(&grant.redirect_uri)
    .bind(&grant.resource)
    .bind(&grant.scope)
    .bind(&grant.code_challenge)
    .bind(&grant.nonce)
    .bind(i64::try_from(grant.auth_time).unwrap_or(i64::MAX))
    .bind(&grant.session_id)
    .bind(rfc3339(expires_at))
    .bind(rfc3339(keep_until))
    .execute(conn)
    .await?;
    Ok(())
}

/// Uses up a code for the grant of id `grant_id`. Inside a transaction that is rolled back when the code turns out
/// not to be the client's, so that nobody can spoil another's code.
///
/// # Errors
/// When the database fails.
pub async fn redeem_code(
    conn: &mut AnyConnection,
    code: &SecretHash,
    grant_id: &str,
    now: Timestamp,
) -> Result<Redeemed, StoreError> {
    let Some(row) = sqlx::query(
        "SELECT client_id, user_name, redirect_uri, resource, scope, code_challenge, nonce, auth_time, \
         session_id, expires_at, grant_id FROM authorization_codes WHERE code_hash = $1",
    )
    .bind(code.as_bytes())
    .fetch_optional(&mut *conn)
    .await?
    else {
        return Ok(Redeemed::Unknown);
    };
    let grant = code_grant(&row)?;
    if let Some(grant_id) = row.try_get("grant_id")? {
        return Ok(Redeemed::Again { grant, grant_id });
    }
    if row.try_get::<&str, _>("expires_at")? <= rfc3339(now).as_str() {
        return Ok(Redeemed::Expired);
    }
    sqlx::query("UPDATE authorization_codes SET grant_id = $1 WHERE code_hash = $2")
        .bind(grant_id)
        .bind(code.as_bytes())
        .execute(conn)
        .await?;
    Ok(Redeemed::Granted(grant))
}

fn code_grant(row: &AnyRow) -> Result<CodeGrant, StoreError> {
    Ok(CodeGrant {
        client_id: row.try_get("client_id")?,
        user: row.try_get("user_name")?,
        redirect_uri: row.try_get("redirect_uri")?,
        resource: row.try_get("resource")?,
        scope: row.try_get("scope")?,
        code_challenge: row.try_get("code_challenge")?,
        nonce: row.try_get("nonce")?,
        auth_time: u64::try_from(row.try_get::<i64, _>("auth_time")?).unwrap_or(0),
        session_id: row.try_get("session_id")?,
    })
}

/// Whether a client assertion is seen for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assertion {
    /// It is; from now on it is not.
    Fresh,
    /// It was used before.
    Replayed,
}

/// Uses up a client assertion, named by a digest over client and `jti`, until it runs out by itself.
///
/// # Errors
/// When the database fails.
pub async fn use_assertion(
    conn: &mut AnyConnection,
    digest: &[u8; 32],
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<Assertion, StoreError> {
    sqlx::query(
        "DELETE FROM client_assertions WHERE digest IN \
         (SELECT digest FROM client_assertions WHERE expires_at <= $1 LIMIT $2)",
    )
    .bind(rfc3339(now))
    .bind(SWEEP)
    .execute(&mut *conn)
    .await?;
    let added = sqlx::query(
        "INSERT INTO client_assertions (digest, expires_at) VALUES ($1, $2) \
         ON CONFLICT (digest) DO NOTHING",
    )
    .bind(digest.as_slice())
    .bind(rfc3339(expires_at))
    .execute(conn)
    .await?;
    Ok(match added.rows_affected() {
        0 => Assertion::Replayed,
        _ => Assertion::Fresh,
    })
}

/// Takes a caller's token, or a whole grant, back by its id. The registry's revision moves on with it.
///
/// # Errors
/// When the database fails.
pub async fn revoke_token(
    conn: &mut AnyConnection,
    token_id: &str,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM revoked_tokens WHERE expires_at <= $1")
        .bind(rfc3339(now))
        .execute(&mut *conn)
        .await?;
    sqlx::query(
        "INSERT INTO revoked_tokens (token_id, expires_at) VALUES ($1, $2) \
         ON CONFLICT (token_id) DO NOTHING",
    )
    .bind(token_id)
    .bind(rfc3339(expires_at))
    .execute(conn)
    .await?;
    Ok(())
}

/// What was taken back after the entry of this number and could still be alive.
///
/// # Errors
/// When the database fails.
pub async fn revoked_since(
    conn: &mut AnyConnection,
    number: i64,
) -> Result<Vec<Revocation>, StoreError> {
    let rows: Vec<(i64, String, String)> =
        sqlx::query_as("SELECT number, token_id, expires_at FROM revoked_tokens WHERE number > $1")
            .bind(number)
            .fetch_all(conn)
            .await?;
    let revocation = |(number, id, expires_at)| Revocation {
        number,
        id,
        expires_at,
    };
    Ok(rows.into_iter().map(revocation).collect())
}
