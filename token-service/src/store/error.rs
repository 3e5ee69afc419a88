//! What can go wrong with the store.

/// Why the store did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
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
    /// Not committed within the bounded wait; nothing is known to be on record.
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
