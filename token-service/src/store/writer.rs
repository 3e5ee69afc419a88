//! The group commit's own connection.
//!
//! Held for as long as it works; after any failure it is closed, which rolls back whatever was open on it, and made
//! anew for the next transaction.

use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{
    StoreError, Turns,
    batch::{self, Work},
    commit::Spent,
    timed_out,
};

/// What each caller of a transaction is told.
pub(super) type Answers = Vec<Result<Spent, StoreError>>;

pub(super) struct Writer {
    options: SqliteConnectOptions,
    turns: Turns,
    connection: Option<SqliteConnection>,
}

impl Writer {
    pub(super) fn new(options: SqliteConnectOptions, turns: Turns) -> Self {
        Self {
            options,
            turns,
            connection: None,
        }
    }

    /// Writes the work of all callers in one transaction. When this returns answers, they are durable.
    pub(super) async fn transaction(&mut self, work: &[&Work]) -> Result<Answers, StoreError> {
        let _turn = self.turns.take().await?;
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.options.connect().await.map_err(timed_out)?,
        };
        let answers = match batch::same_decisions(work) {
            Some(decisions) => batch::commit_decisions(&mut connection, &decisions).await,
            None => step_by_step(&mut connection, work).await,
        }?;
        self.connection = Some(connection);
        Ok(answers)
    }
}

async fn step_by_step(
    connection: &mut SqliteConnection,
    work: &[&Work],
) -> Result<Answers, StoreError> {
    let mut tx = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(timed_out)?;
    let answers = batch::write(&mut tx, work).await?;
    tx.commit().await.map_err(timed_out)?;
    Ok(answers)
}
