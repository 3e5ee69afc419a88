//! What SQLite says that takes nothing more is understood.

use jiff::Timestamp;
use writ_token_service::{
    audit::{Kind, Record},
    store::{Place, Store, StoreError},
};

/// What SQLite is told, by the connection that administrators' changes are written by.
async fn told(store: &Store, pragma: &str) {
    let mut tx = store.write().await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(pragma.to_owned()))
        .execute(tx.conn())
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

async fn written(store: &Store) -> Result<(), StoreError> {
    let mut record = Record::new(Kind::Admin, Timestamp::now());
    // A page does not hold it.
    record.reason = Some("x".repeat(5000));
    let mut tx = store.write().await?;
    tx.audit(&record).await?;
    tx.commit().await
}

#[tokio::test]
async fn a_full_disk_and_a_read_only_database_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::Directory(dir.path().to_owned());
    let store = Store::open(&place).await.unwrap();
    let refusal = async || {
        let refused = written(&store).await.unwrap_err();
        assert!(refused.passes(), "{refused}");
        refused.to_string()
    };
    // No page more than there are.
    told(&store, "PRAGMA max_page_count = 1").await;
    let full = refusal().await;
    assert!(full.contains("the database's disk is full"), "{full}");
    told(&store, "PRAGMA max_page_count = 4294967294").await;
    written(&store).await.unwrap();

    told(&store, "PRAGMA query_only = ON").await;
    let read_only = refusal().await;
    assert!(read_only.contains("is read-only"), "{read_only}");
}
