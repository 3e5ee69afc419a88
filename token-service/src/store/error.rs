//! What can go wrong with the store.

/// Why the store did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(sqlx::Error),
    /// The database cannot be reached.
    #[error("cannot open the database {place}: {problem}")]
    Unreachable {
        /// Where it should be.
        place: String,
        /// Why.
        problem: String,
    },
    /// The database's layout could not be brought up to date.
    #[error("the database could not be brought up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The file or directory could not be prepared.
    #[error("cannot prepare {path}: {source}")]
    File {
        /// Which one.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Not committed within the bounded wait, or the connection was lost; nothing is known to be on record.
    #[error("the audit record could not be committed in time; try again")]
    Busy,
    /// The registry has changed since the decision; nothing was written. Decide again.
    #[error("the registry has changed since the decision")]
    Stale,
    /// There is one already.
    #[error("{what} {id:?} exists already")]
    Exists {
        /// `server`, `agent`, …
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// There is none.
    #[error("there is no {what} {id:?}; `writ {what} list` shows what there is")]
    NotFound {
        /// `server`, `agent`, …
        what: &'static str,
        /// The id asked for.
        id: String,
    },
    /// No record of that id.
    #[error("there is no record {0:?} in the audit trail")]
    NoRecord(String),
    /// No policy of that name was published.
    #[error("no policy {0} was published; `writ policy history` shows what there is")]
    NoPolicy(String),
    /// The tool has no pin.
    #[error("{tool:?} of {server} is not pinned; `writ server pins {server}` shows what is")]
    NoPin {
        /// The server's id.
        server: String,
        /// The tool's name.
        tool: String,
    },
    /// Two registrations contradict each other.
    #[error("{0}")]
    Conflict(&'static str),
    /// Something in the database is not what this version writes.
    #[error("{table} {id:?} in the database cannot be read: {problem}")]
    Malformed {
        /// Which table.
        table: &'static str,
        /// Which row.
        id: String,
        /// What is wrong.
        problem: String,
    },
}

/// SQLite's primary result code for a lock held by somebody else (`SQLITE_BUSY`), and the conditions of PostgreSQL's that pass:
/// a lock or a statement that took too long, two transactions in each other's way, a server that has no room, stops or has just
/// begun, and a transaction that was left idle (appendix A of its manual). Class 08 is a lost connection.
const PASSING: [&str; 11] = [
    "5", "25P03", "40001", "40P01", "53300", "55P03", "57014", "57P01", "57P02", "57P03", "57P05",
];

/// A text with a NUL in it, as such or as an escape of JSON, which PostgreSQL does not keep.
const NUL: [&str; 2] = ["22021", "22P05"];

/// What passes when it is tried again is [`StoreError::Busy`].
impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|e| e.code());
        if code.is_some_and(|code| NUL.contains(&&*code)) {
            return Self::Conflict("a text has a NUL character in it: leave it out");
        }
        let passes = match &error {
            sqlx::Error::PoolTimedOut | sqlx::Error::Io(_) => true,
            sqlx::Error::Database(e) => {
                let code = e.code().unwrap_or_default();
                PASSING.contains(&&*code) || (code.len() == 5 && code.starts_with("08"))
            }
            _ => false,
        };
        match passes {
            true => {
                tracing::warn!(%error, "the database did not answer");
                Self::Busy
            }
            false => Self::Database(error),
        }
    }
}
