//! Keys that all processes on one database share, as rows. What they are sealed with is [`crate::keys`]'s business.

use sqlx::{AnyConnection, Row as _, any::AnyRow};

use super::StoreError;

/// One key as it is kept.
pub struct SharedKeyRow {
    /// What it is for.
    pub purpose: String,
    /// The key, or the same encrypted.
    pub key: Vec<u8>,
    /// Whether it is encrypted.
    pub sealed: bool,
}

impl std::fmt::Debug for SharedKeyRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedKeyRow")
            .field("purpose", &self.purpose)
            .field("sealed", &self.sealed)
            .finish_non_exhaustive()
    }
}

/// All keys.
///
/// # Errors
/// When the database fails.
pub async fn all(conn: &mut AnyConnection) -> Result<Vec<SharedKeyRow>, StoreError> {
    sqlx::query("SELECT purpose, key, sealed FROM shared_keys ORDER BY purpose")
        .fetch_all(conn)
        .await?
        .iter()
        .map(row)
        .collect()
}

/// The key for a purpose, if there is one.
///
/// # Errors
/// When the database fails.
pub async fn find(
    conn: &mut AnyConnection,
    purpose: &str,
) -> Result<Option<SharedKeyRow>, StoreError> {
    sqlx::query("SELECT purpose, key, sealed FROM shared_keys WHERE purpose = $1")
        .bind(purpose)
        .fetch_optional(conn)
        .await?
        .as_ref()
        .map(row)
        .transpose()
}

/// Keeps a key, in place of the one for its purpose if there is one.
///
/// # Errors
/// When the database fails.
pub async fn put(conn: &mut AnyConnection, row: &SharedKeyRow) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO shared_keys (purpose, key, sealed) VALUES ($1, $2, $3) \
         ON CONFLICT (purpose) DO UPDATE SET key = excluded.key, sealed = excluded.sealed",
    )
    .bind(&row.purpose)
    .bind(row.key.as_slice())
    .bind(i64::from(row.sealed))
    .execute(conn)
    .await?;
    Ok(())
}

fn row(row: &AnyRow) -> Result<SharedKeyRow, StoreError> {
    Ok(SharedKeyRow {
        purpose: row.try_get("purpose")?,
        key: row.try_get("key")?,
        sealed: row.try_get::<i64, _>("sealed")? != 0,
    })
}
