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
    /// The database takes nothing. Nothing was written.
    #[error("nothing can be put on record: {0}")]
    Unwritable(Unwritable),
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

/// Why a database takes nothing. It passes when somebody sees to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// No room.
    #[error("the database's disk is full; make room there")]
    Full,
    /// Reads only: a standby, perhaps, or a file without the permission.
    #[error("the database is read-only; is it a standby, or is its disk or file write-protected?")]
    ReadOnly,
    /// A write or a sync failed.
    #[error("the database's disk fails; its system's log says why")]
    Disk,
}

impl Unwritable {
    /// SQLite's result codes FULL, READONLY and IOERR, whose lowest byte says so; and PostgreSQL's disk_full, read_only_sql_transaction and io_error.
    fn of(code: &str) -> Option<Self> {
        match code {
            "53100" => return Some(Self::Full),
            "25006" => return Some(Self::ReadOnly),
            "58030" => return Some(Self::Disk),
            // PostgreSQL's have five characters, SQLite's at most four.
            _ if code.len() == 5 => return None,
            _ => {}
        }
        match code.parse::<u32>().ok()? & 0xff {
            13 => Some(Self::Full),
            8 => Some(Self::ReadOnly),
            10 => Some(Self::Disk),
            _ => None,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::ReadOnly => "read_only",
            Self::Disk => "disk",
        }
    }
}

impl StoreError {
    /// Where a database says that it takes nothing: counted, and logged.
    pub(super) fn unwritable(error: &sqlx::Error) -> Option<Self> {
        let code = error.as_database_error()?.code()?;
        let why = Unwritable::of(&code)?;
        metrics::counter!("writ_store_unwritable_total", "why" => why.word()).increment(1);
        tracing::error!(%error, "{}", Self::Unwritable(why));
        Some(Self::Unwritable(why))
    }

    /// What others are told whose work failed with it.
    pub(super) fn shared(&self) -> Self {
        match self {
            Self::Unwritable(why) => Self::Unwritable(*why),
            _ => Self::Busy,
        }
    }

    /// Whether the same may be done later: nobody asked for something wrong.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self, Self::Busy | Self::Stale | Self::Unwritable(_))
    }
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
        if code.as_deref().is_some_and(|code| NUL.contains(&code)) {
            return Self::Conflict("a text has a NUL character in it: leave it out");
        }
        if let Some(unwritable) = Self::unwritable(&error) {
            return unwritable;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_say_in_codes_why_they_take_nothing() {
        let told = [
            ("13", Some(Unwritable::Full)),
            ("53100", Some(Unwritable::Full)),
            ("8", Some(Unwritable::ReadOnly)),
            // SQLITE_READONLY_DBMOVED, SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC.
            ("1032", Some(Unwritable::ReadOnly)),
            ("778", Some(Unwritable::Disk)),
            ("1034", Some(Unwritable::Disk)),
            ("25006", Some(Unwritable::ReadOnly)),
            ("5", None),
            ("2067", None),
            ("23505", None),
            // Would be READONLY by its last byte.
            ("57352", None),
        ];
        for (code, why) in told {
            assert_eq!(Unwritable::of(code), why, "{code}");
        }
    }
}
