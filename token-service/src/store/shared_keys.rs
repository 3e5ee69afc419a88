//! Keys that all processes on one database share.

use super::{Store, StoreError};

impl Store {
    /// The key for a purpose, made when there is none yet.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn shared_key(&self, purpose: &'static str) -> Result<[u8; 32], StoreError> {
        let mut tx = self.write().await?;
        let new: [u8; 32] = rand::random();
        sqlx::query(
            "INSERT INTO shared_keys (purpose, key) VALUES (?, ?) ON CONFLICT (purpose) DO NOTHING",
        )
        .bind(purpose)
        .bind(new.as_slice())
        .execute(tx.conn())
        .await?;
        let key: Vec<u8> = sqlx::query_scalar("SELECT key FROM shared_keys WHERE purpose = ?")
            .bind(purpose)
            .fetch_one(tx.conn())
            .await?;
        tx.commit().await?;
        key.try_into().map_err(|_| StoreError::Malformed {
            table: "shared key",
            id: purpose.to_owned(),
            problem: "it must have 32 bytes".to_owned(),
        })
    }
}
