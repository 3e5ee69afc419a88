//! What SQLite and PostgreSQL are told in different words. All other statements are the same text for both.

use sqlx::AnyConnection;

use super::{
    audit::{audit_insert, personal_insert},
    inputs::{argument_insert, input_insert},
    place::Role,
};

/// The two databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// What this connection speaks.
    pub(super) fn of(connection: &AnyConnection) -> Self {
        match connection.backend_name() {
            "PostgreSQL" => Self::Postgres,
            _ => Self::Sqlite,
        }
    }

    /// What each new connection is told first.
    pub(super) fn settings(self, role: Role) -> &'static str {
        match (self, role) {
            (Self::Sqlite, Role::Reader) => {
                "PRAGMA busy_timeout = 2000; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA query_only = ON"
            }
            // What is deleted is gone: signing keys are.
            (Self::Sqlite, Role::Builder | Role::Writer) => {
                "PRAGMA busy_timeout = 2000; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
                 PRAGMA journal_mode = WAL; PRAGMA secure_delete = ON"
            }
            (Self::Sqlite, Role::Committer) => {
                "PRAGMA busy_timeout = 2000; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA journal_mode = WAL"
            }
            (Self::Sqlite, Role::Counter) => {
                "PRAGMA busy_timeout = 2000; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; PRAGMA journal_mode = WAL"
            }
            (Self::Sqlite, Role::Source) => {
                "PRAGMA busy_timeout = 200; PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE"
            }
            // Another replica may be at it, and a step may take its time.
            (Self::Postgres, Role::Builder | Role::Source) => "SET lock_timeout = '60s'",
            // Several statements of one transaction see the same moment.
            (Self::Postgres, Role::Reader) => {
                "SET lock_timeout = '2s'; SET default_transaction_read_only = on; \
                 SET default_transaction_isolation = 'repeatable read'"
            }
            // A process that has stopped with the registry's lock in its hands loses it.
            (Self::Postgres, Role::Writer) => {
                "SET lock_timeout = '2s'; SET statement_timeout = '10s'; \
                 SET idle_in_transaction_session_timeout = '10s'; SET synchronous_commit = on; \
                 SET default_transaction_isolation = 'read committed'"
            }
            (Self::Postgres, Role::Committer) => {
                "SET lock_timeout = '2s'; SET statement_timeout = '2s'; \
                 SET idle_in_transaction_session_timeout = '2s'; SET synchronous_commit = on; \
                 SET default_transaction_isolation = 'read committed'"
            }
            (Self::Postgres, Role::Counter) => {
                "SET lock_timeout = '2s'; SET statement_timeout = '2s'; \
                 SET idle_in_transaction_session_timeout = '2s'; SET synchronous_commit = off; \
                 SET default_transaction_isolation = 'read committed'"
            }
        }
    }

    /// How a transaction begins that nobody else writes beside, in this process or another.
    pub(super) fn begin_alone(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Sqlite => ("BEGIN IMMEDIATE", None),
            Self::Postgres => (
                "BEGIN",
                Some("SELECT pg_advisory_xact_lock(registry_lock())"),
            ),
        }
    }

    /// How a transaction begins during which the registry stays as it is.
    pub(super) fn begin_batch(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Sqlite => ("BEGIN IMMEDIATE", None),
            Self::Postgres => (
                "BEGIN",
                Some("SELECT pg_advisory_xact_lock_shared(registry_lock())"),
            ),
        }
    }

    /// The same where what is counted together is written: nobody else counts meanwhile.
    pub(super) fn begin_counting(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Sqlite => ("BEGIN IMMEDIATE", None),
            Self::Postgres => (
                "BEGIN",
                Some(
                    "SELECT pg_advisory_xact_lock_shared(registry_lock()); SELECT pg_advisory_xact_lock(counting_lock())",
                ),
            ),
        }
    }

    /// Writes and commits decisions in one trip, and answers the registry's revision. `$1` are the records, `$2` the tokens,
    /// `$3` is the revision they were made at, `$4` are the inputs and `$5` is what calls carried.
    pub(super) fn commit_decisions(self) -> &'static str {
        match self {
            Self::Sqlite => concat!(
                "BEGIN IMMEDIATE; ",
                audit_insert!(),
                " FROM jsonb_each($1) WHERE $3 = (SELECT revision FROM registry_revision) ORDER BY key; ",
                personal_insert!(),
                " FROM jsonb_each($1) WHERE $3 = (SELECT revision FROM registry_revision); ",
                "INSERT INTO tokens (jti, exp) SELECT value ->> 0, value ->> 1 FROM jsonb_each($2) ",
                "WHERE $3 = (SELECT revision FROM registry_revision); ",
                input_insert!(),
                " FROM jsonb_each($4) WHERE $3 = (SELECT revision FROM registry_revision); ",
                argument_insert!(),
                " FROM jsonb_each($5) WHERE $3 = (SELECT revision FROM registry_revision); ",
                "SELECT revision FROM registry_revision; ",
                "COMMIT",
            ),
            Self::Postgres => "SELECT keep_arguments(commit_decisions($1, $2, $3, $4), $3, $5)",
        }
    }

    /// Spends tokens at the time `$2`: those of `$1` that nobody has spent.
    pub(super) fn spend(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "UPDATE tokens SET consumed_at = $2
                 WHERE jti IN (SELECT value FROM json_each($1)) AND consumed_at IS NULL
                 RETURNING jti"
            }
            // Taken in one order by all, so that no two wait for each other.
            Self::Postgres => {
                "WITH unspent AS (
                     SELECT jti FROM tokens WHERE jti IN (SELECT value FROM json_each($1)) AND consumed_at IS NULL
                     ORDER BY jti FOR UPDATE)
                 UPDATE tokens SET consumed_at = $2 FROM unspent WHERE tokens.jti = unspent.jti RETURNING tokens.jti"
            }
        }
    }

    /// Deletes at most `$2` rates that were past at the time `$1`.
    pub(super) fn sweep_rates(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "DELETE FROM rates WHERE (counter, cell) IN (
                   SELECT counter, cell FROM rates WHERE tat < CAST($1 AS BIGINT) ORDER BY tat LIMIT $2)"
            }
            // Nobody who counts is waited for, or waits.
            Self::Postgres => {
                "DELETE FROM rates WHERE (counter, cell) IN (
                   SELECT counter, cell FROM rates WHERE tat < CAST($1 AS BIGINT) ORDER BY tat LIMIT $2 FOR UPDATE SKIP LOCKED)"
            }
        }
    }

    /// Each server with its pins, as a JSON object.
    pub(super) fn pins(self) -> &'static str {
        match self {
            Self::Sqlite => "SELECT server, json_group_object(tool, pin) FROM pins GROUP BY server",
            Self::Postgres => {
                "SELECT server, CAST(json_object_agg(tool, pin) AS TEXT) FROM pins GROUP BY server"
            }
        }
    }
}
