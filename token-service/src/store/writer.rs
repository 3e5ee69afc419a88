//! The group commit's own connection.
//!
//! Held for as long as it works; after any failure it is closed, which rolls back whatever was open on it, and made
//! anew for the next transaction.

use sqlx::{AnyConnection, Connection as _};
use tokio::time::timeout;

use super::{
    StoreError, Turns,
    batch::{self, Work},
    commit::Spent,
    place::{PATIENCE, Place, Role},
};

/// What each caller of a transaction is told.
pub(super) type Answers = Vec<Result<Spent, StoreError>>;

pub(super) struct Writer {
    place: Place,
    turns: Turns,
    connection: Option<AnyConnection>,
}

impl Writer {
    pub(super) fn new(place: Place, turns: Turns) -> Self {
        Self {
            place,
            turns,
            connection: None,
        }
    }

    /// Writes the work of all callers in one transaction. When this returns answers, they are durable.
    pub(super) async fn transaction(&mut self, work: &[&Work]) -> Result<Answers, StoreError> {
        let _turn = self.turns.take().await?;
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.place).await?,
        };
        let written = async {
            match batch::same_decisions(work) {
                Some(decisions) => batch::commit_decisions(&mut connection, &decisions).await,
                None => step_by_step(&mut connection, work).await,
            }
        };
        // A server that is gone without a word is waited for no longer than one that is busy.
        let answers = timeout(PATIENCE, written)
            .await
            .map_err(|_| StoreError::Busy)??;
        self.connection = Some(connection);
        Ok(answers)
    }
}

async fn connect(place: &Place) -> Result<AnyConnection, StoreError> {
    place.connect(Role::Committer).await.map_err(|error| {
        if matches!(error, StoreError::Unwritable(_)) {
            return error;
        }
        tracing::error!(%error, "there is no database to commit to; it is tried again");
        StoreError::Busy
    })
}

async fn step_by_step(
    connection: &mut AnyConnection,
    work: &[&Work],
) -> Result<Answers, StoreError> {
    let (begin, locks) = batch::begin(connection, work);
    let mut tx = connection.begin_with(begin).await?;
    if let Some(locks) = locks {
        sqlx::raw_sql(locks).execute(&mut *tx).await?;
    }
    let answers = batch::write(&mut tx, work).await?;
    tx.commit().await?;
    Ok(answers)
}
