//! Single-use tokens: a row from mint until expiry, spent at most once.

use std::collections::HashSet;

use jiff::SignedDuration;
use sqlx::AnyConnection;

use super::{
    Store, StoreError,
    commit::{SingleUse, Spent},
    dialect::Dialect,
};

/// How long a token's row outlives the token: longer than any clock's error.
pub(super) const KEPT_PAST_EXPIRY: SignedDuration = SignedDuration::from_secs(300);

/// The rows as JSON: `jti` and `exp`.
pub(super) fn rows(minted: &[&SingleUse]) -> Result<String, StoreError> {
    let rows: Vec<(&str, u64)> = minted.iter().map(|t| (t.jti.as_str(), t.exp)).collect();
    super::json(&rows)
}

pub(super) async fn insert(
    conn: &mut AnyConnection,
    minted: &[&SingleUse],
) -> Result<(), StoreError> {
    if minted.is_empty() {
        return Ok(());
    }
    sqlx::query("INSERT INTO tokens (jti, exp) SELECT value ->> 0, CAST(value ->> 1 AS BIGINT) FROM jsonb_each($1)")
        .bind(rows(minted)?)
        .execute(conn)
        .await?;
    Ok(())
}

/// Spends those of `jtis` that can be spent, and returns them.
pub(super) async fn spend(
    conn: &mut AnyConnection,
    jtis: &[&str],
    now: u64,
) -> Result<HashSet<String>, StoreError> {
    if jtis.is_empty() {
        return Ok(HashSet::new());
    }
    let spent: Vec<String> = sqlx::query_scalar(Dialect::of(conn).spend())
        .bind(super::json(&jtis)?)
        .bind(i64::try_from(now).unwrap_or(i64::MAX))
        .fetch_all(conn)
        .await?;
    Ok(spent.into_iter().collect())
}

impl Store {
    /// What would become of a token that is spent now, without spending it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn peek(&self, jti: &str) -> Result<Spent, StoreError> {
        let unspent: Option<i64> =
            sqlx::query_scalar("SELECT 1 FROM tokens WHERE jti = $1 AND consumed_at IS NULL")
                .bind(jti)
                .fetch_optional(&mut *self.read().await?)
                .await?;
        Ok(if unspent.is_some() {
            Spent::Now
        } else {
            Spent::Before
        })
    }
}
