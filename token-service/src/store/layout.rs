//! The database's layout, step by step.

use sqlx::{AnyConnection, migrate::Migrator};

use super::{Store, StoreError, dialect::Dialect};

static SQLITE: Migrator = sqlx::migrate!("./migrations/sqlite");
/// Begins with the layout that SQLite's has at the same step.
static POSTGRES: Migrator = sqlx::migrate!("./migrations/postgres");

impl Dialect {
    fn steps(self) -> &'static Migrator {
        match self {
            Self::Sqlite => &SQLITE,
            Self::Postgres => &POSTGRES,
        }
    }
}

/// Takes the steps that are missing.
///
/// # Errors
/// When the database is of a later version, or fails.
pub(super) async fn bring_up_to_date(conn: &mut AnyConnection) -> Result<(), StoreError> {
    Ok(Dialect::of(conn)
        .steps()
        .run_direct(None, conn, false)
        .await?)
}

/// Whether all steps were taken.
pub(super) async fn is_current(conn: &mut AnyConnection) -> Result<bool, StoreError> {
    Ok(missing(conn).await?.is_empty())
}

async fn missing(conn: &mut AnyConnection) -> Result<Vec<i64>, StoreError> {
    let done: Vec<i64> = sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success")
        .fetch_all(&mut *conn)
        .await?;
    let steps = Dialect::of(conn).steps().iter().map(|step| step.version);
    Ok(steps.filter(|version| !done.contains(version)).collect())
}

impl Store {
    /// The steps of this version's layout that the database does not have.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn missing_migrations(&self) -> Result<Vec<i64>, StoreError> {
        missing(&mut *self.read().await?).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        log::{sequence, verify},
        store::{Place, audit::Filter, place::Role},
    };

    /// Two records as the step before the log has them: of a call, and of an administrator.
    const BEFORE: &str = r#"
        INSERT INTO audit (id, time, kind, subject, agent, method, target, decision, reason, token_id, detail) VALUES
            ('0190a', '2026-11-23T18:00:00.000000Z', 'mint', 'alice', 'assistant', 'tools/call', 'transfer', 'allow', 'why not', 'j1', '{"n": 1}');
        INSERT INTO audit (id, time, kind, method, target) VALUES
            ('0190b', '2026-11-23T18:00:01.000000Z', 'admin', 'user add', 'alice')"#;

    #[tokio::test]
    async fn records_of_an_earlier_version_are_as_they_were_and_become_leaves() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::Directory(dir.path().to_owned());
        std::fs::write(Place::file(dir.path()), "").unwrap();
        let mut conn = place.connect(Role::Builder).await.unwrap();
        let earlier = SQLITE.iter().filter(|step| step.version < 24).cloned();
        let earlier = Migrator::with_migrations(earlier.collect());
        earlier.run_direct(None, &mut conn, false).await.unwrap();
        sqlx::raw_sql(BEFORE).execute(&mut conn).await.unwrap();
        drop(conn);

        let store = Store::open(&place).await.unwrap();
        let records = store.newest_records(&Filter::default(), 10).await.unwrap();
        let [call, command] = records.as_slice() else {
            panic!("{records:?}")
        };
        let call = &call.record;
        assert_eq!(
            [&call.subject, &call.target, &call.reason].map(Option::as_deref),
            [Some("alice"), Some("transfer"), Some("why not")]
        );
        assert_eq!(call.detail, Some(serde_json::json!({"n": 1})));
        assert_eq!(command.record.target.as_deref(), Some("alice"));
        assert_eq!(sequence::catch_up(&store).await.unwrap(), 2);
        let verifier = verify::Verifier::new([]).unwrap();
        assert_eq!(verify::database(&store, verifier).await.unwrap().size, 2);
    }
}
