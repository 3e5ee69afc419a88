//! Where the database is, and how connections to it are made.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr as _,
    time::Duration,
};

use sqlx::{
    AnyConnection, AnyPool, ConnectOptions as _, Executor as _,
    any::{AnyConnectOptions, AnyPoolOptions},
};
use tokio::time::timeout;
use url::Url;

use super::{StoreError, WAIT, dialect::Dialect};

/// Where a database is.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    /// SQLite's, in this directory.
    Directory(PathBuf),
    /// PostgreSQL's, by its URL. It may hold a password.
    Postgres(Box<Url>),
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Makes the layout.
    Builder,
    /// Reads; the database refuses that it writes.
    Reader,
    /// Writes an administrator's or a person's changes.
    Writer,
    /// Reads a database that nobody else uses meanwhile.
    Source,
    /// Writes what calls cause, all that waits at once.
    Committer,
    /// Counts requests; what is lost with the machine is lost.
    Counter,
}

impl Place {
    /// SQLite's file in a data directory.
    #[must_use]
    pub fn file(data_dir: &Path) -> PathBuf {
        data_dir.join("writ.db")
    }

    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Directory(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    fn options(&self) -> Result<AnyConnectOptions, StoreError> {
        sqlx::any::install_default_drivers();
        Ok(match self {
            Self::Directory(dir) => {
                let path = Self::file(dir);
                // What a URL gives a meaning of its own.
                let path = path.to_string_lossy().replace('%', "%25");
                let path = path.replace('?', "%3F").replace('#', "%23");
                AnyConnectOptions::from_str(&format!("sqlite://{path}?mode=rw"))?
            }
            Self::Postgres(url) => AnyConnectOptions::from_url(url)?,
        })
    }

    /// Makes one connection.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] when there is no such database, or it does not answer in time, [`StoreError::Unwritable`] when it
    /// takes nothing.
    pub(super) async fn connect(&self, role: Role) -> Result<AnyConnection, StoreError> {
        let options = self.options()?;
        let connecting = async {
            let mut connection = options.connect().await?;
            prepare(&mut connection, role).await?;
            Ok::<_, sqlx::Error>(connection)
        };
        let problem = match timeout(WAIT, connecting).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => match StoreError::unwritable(&error) {
                Some(unwritable) => return Err(unwritable),
                None => error.to_string(),
            },
            Err(_) => "it does not answer".to_owned(),
        };
        Err(StoreError::Unreachable {
            place: self.to_string(),
            problem,
        })
    }

    /// Connections that are made when they are needed.
    pub(super) fn pool(&self, role: Role, most: u32) -> Result<AnyPool, StoreError> {
        let options = AnyPoolOptions::new()
            .max_connections(most)
            .acquire_timeout(WAIT)
            .idle_timeout(None)
            .max_lifetime(None)
            // A file is always there; a server may have been restarted since.
            .test_before_acquire(self.dialect() == Dialect::Postgres)
            .after_connect(move |connection, _| Box::pin(prepare(connection, role)));
        Ok(options.connect_lazy_with(self.options()?))
    }
}

/// Never with a password.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(dir) => write!(f, "{}", Self::file(dir).display()),
            Self::Postgres(url) => {
                let mut shown = (**url).clone();
                let _ = shown.set_password(None);
                shown.set_query(None);
                f.write_str(shown.as_str())
            }
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({self})")
    }
}

async fn prepare(connection: &mut AnyConnection, role: Role) -> Result<(), sqlx::Error> {
    let settings = Dialect::of(connection).settings(role);
    connection.execute(sqlx::raw_sql(settings)).await.map(drop)
}

/// How long the client waits for a transaction whose statements the server bounds to [`WAIT`].
pub(super) const PATIENCE: Duration = WAIT.saturating_mul(2);

#[cfg(test)]
impl Place {
    /// What the tests use as the database of this directory.
    pub(crate) fn of_test(dir: &Path) -> Self {
        match crate::test_database::url_of(dir) {
            Some(url) => Self::Postgres(Box::new(url)),
            None => Self::Directory(dir.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let url = "postgres://writ:hunter2@db.example/writ?password=hunter2";
        let place = Place::Postgres(Box::new(url.parse().unwrap()));
        assert_eq!(place.to_string(), "postgres://writ@db.example/writ");
        assert!(!format!("{place:?}").contains("hunter2"));
    }
}
