//! Which identity providers there are, and which of them are switched on.
//!
//! The configuration names them; an administrator can switch one off at once, with everybody who comes from it.

use sqlx::{AnyConnection, Row as _};

use super::{Store, StoreError};
use crate::registry::Status;

/// A provider as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownProvider {
    /// Its id in the configuration.
    pub id: String,
    /// Its issuer identifier.
    pub issuer: String,
    /// Approved, or disabled by an administrator.
    pub status: Status,
}

impl Store {
    /// Takes over which providers the configuration names, as id and issuer. Those it names no more are switched off.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_providers(&self, named: &[(&str, &str)]) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let named = super::json(named)?;
        sqlx::query(
            "UPDATE identity_providers SET configured = 0 \
             WHERE configured = 1 AND issuer NOT IN (SELECT value ->> 1 FROM jsonb_each($1))",
        )
        .bind(&named)
        .execute(tx.conn())
        .await?;
        sqlx::query(
            "INSERT INTO identity_providers (id, issuer, configured, status) \
             SELECT value ->> 0, value ->> 1, 1, 'approved' FROM jsonb_each($1) WHERE true \
             ON CONFLICT (issuer) DO UPDATE SET id = excluded.id, configured = 1 \
             WHERE identity_providers.id <> excluded.id OR identity_providers.configured = 0",
        )
        .bind(&named)
        .execute(tx.conn())
        .await?;
        tx.commit().await
    }
}

/// The providers that the configuration names, by id.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut AnyConnection) -> Result<Vec<KnownProvider>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, issuer, status FROM identity_providers WHERE configured = 1 ORDER BY id",
    )
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(KnownProvider {
                id: row.try_get("id")?,
                issuer: row.try_get("issuer")?,
                status: match row.try_get("status")? {
                    "approved" => Status::Approved,
                    _ => Status::Disabled,
                },
            })
        })
        .collect()
}

/// A provider that the configuration names.
///
/// # Errors
/// [`StoreError::NotFound`] when it names none of this id; when the database fails.
pub async fn find(conn: &mut AnyConnection, id: &str) -> Result<KnownProvider, StoreError> {
    let mut all = list(conn).await?;
    all.retain(|p| p.id == id);
    all.pop().ok_or_else(|| unknown(id))
}

/// Whether people may sign in at the provider of this issuer.
///
/// # Errors
/// When the database fails.
pub async fn is_on(conn: &mut AnyConnection, issuer: &str) -> Result<bool, StoreError> {
    let on = sqlx::query(
        "SELECT 1 FROM identity_providers WHERE issuer = $1 AND configured = 1 AND status = 'approved'",
    )
    .bind(issuer)
    .fetch_optional(conn)
    .await?;
    Ok(on.is_some())
}

/// Switches a provider on or off. The registry's revision moves on, so that the tokens of everybody who comes from it
/// are refused from the next decision.
///
/// # Errors
/// [`StoreError::NotFound`] when the configuration names none of this id; when the database fails.
pub async fn set_active(
    conn: &mut AnyConnection,
    id: &str,
    active: bool,
) -> Result<(), StoreError> {
    let changed =
        sqlx::query("UPDATE identity_providers SET status = $1 WHERE id = $2 AND configured = 1")
            .bind(if active { "approved" } else { "disabled" })
            .bind(id)
            .execute(conn)
            .await?;
    if changed.rows_affected() == 0 {
        return Err(unknown(id));
    }
    Ok(())
}

fn unknown(id: &str) -> StoreError {
    StoreError::NotFound {
        what: "provider",
        id: id.to_owned(),
    }
}
