//! What users have agreed to, so that they are not asked the same again.

use jiff::Timestamp;
use sqlx::AnyConnection;

use super::StoreError;
use crate::clock::rfc3339;

/// What somebody agrees to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent<'a> {
    /// Who.
    pub user: &'a str,
    /// For which client.
    pub client_id: &'a str,
    /// As it was shown: a client that moves is another one.
    pub redirect_host: &'a str,
    /// The server's resource identifier; empty where only the user's identity is asked for.
    pub resource: &'a str,
    /// Separated by spaces.
    pub scope: &'a str,
}

/// Remembers a consent beside what was agreed to before.
///
/// # Errors
/// When the database fails.
pub async fn remember(
    conn: &mut AnyConnection,
    consent: &Consent<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let before = remembered(conn, consent).await?.unwrap_or_default();
    let added = consent
        .scope
        .split(' ')
        .filter(|word| !before.split(' ').any(|known| known == *word));
    let scope: Vec<&str> = before
        .split(' ')
        .chain(added)
        .filter(|w| !w.is_empty())
        .collect();
    sqlx::query(
        "INSERT INTO consents (user_name, client_id, redirect_host, resource, scope, given_at) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (user_name, client_id, redirect_host, resource) \
         DO UPDATE SET scope = excluded.scope, given_at = excluded.given_at",
    )
    .bind(consent.user)
    .bind(consent.client_id)
    .bind(consent.redirect_host)
    .bind(consent.resource)
    .bind(scope.join(" "))
    .bind(rfc3339(now))
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether all of this was agreed to before.
///
/// # Errors
/// When the database fails.
pub async fn covers(conn: &mut AnyConnection, consent: &Consent<'_>) -> Result<bool, StoreError> {
    let before = remembered(conn, consent).await?;
    Ok(before.is_some_and(|before| {
        let known = |word: &str| before.split(' ').any(|one| one == word);
        consent
            .scope
            .split(' ')
            .all(|word| word.is_empty() || known(word))
    }))
}

/// Whether the user agreed to anything that this client asked for.
///
/// # Errors
/// When the database fails.
pub async fn is_known(
    conn: &mut AnyConnection,
    user: &str,
    client_id: &str,
) -> Result<bool, StoreError> {
    let known: Option<i64> = sqlx::query_scalar(
        "SELECT CAST(1 AS BIGINT) FROM consents WHERE user_name = $1 AND client_id = $2 LIMIT 1",
    )
    .bind(user)
    .bind(client_id)
    .fetch_optional(conn)
    .await?;
    Ok(known.is_some())
}

async fn remembered(
    conn: &mut AnyConnection,
    consent: &Consent<'_>,
) -> Result<Option<String>, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT scope FROM consents \
         WHERE user_name = $1 AND client_id = $2 AND redirect_host = $3 AND resource = $4",
    )
    .bind(consent.user)
    .bind(consent.client_id)
    .bind(consent.redirect_host)
    .bind(consent.resource)
    .fetch_optional(conn)
    .await?)
}
