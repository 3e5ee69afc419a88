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
