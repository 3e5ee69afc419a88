//! `writ provider …`

use clap::Subcommand;
use serde_json::json;

use super::{ById, CliError, Output, output::status_word};
use crate::{
    audit::Record,
    clock::{Clock as _, SystemClock},
    registry::Status,
    store::{Store, providers},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the identity providers that the running service's configuration names.
    List,
    /// Refuse everybody who comes from a provider, at once.
    Disable(ById),
    /// Let a provider's people in again.
    Enable(ById),
}

impl Command {
    pub(super) async fn run(self, store: &Store, output: &mut Output) -> Result<(), CliError> {
        match self {
            Self::List => list(store, output).await,
            Self::Disable(ById { id }) => switch(store, output, &id, Status::Disabled).await,
            Self::Enable(ById { id }) => switch(store, output, &id, Status::Approved).await,
        }
    }
}

async fn switch(
    store: &Store,
    output: &mut Output,
    id: &str,
    status: Status,
) -> Result<(), CliError> {
    let active = status == Status::Approved;
    let mut tx = store.write().await?;
    providers::set_active(tx.conn(), id, active).await?;
    let command = if active {
        "provider enable"
    } else {
        "provider disable"
    };
    tx.audit(&Record::admin(SystemClock.now(), command, id))
        .await?;
    tx.commit().await?;
    output.switched("provider", id, status)
}

async fn list(store: &Store, output: &mut Output) -> Result<(), CliError> {
    let all = providers::list(&mut *store.read().await?).await?;
    if output.is_json() {
        return all.iter().try_for_each(|p| {
            output.json(&json!({"id": p.id, "issuer": p.issuer, "status": p.status}))
        });
    }
    output.table(&all, ["ID", "STATUS", "ISSUER"], |p| {
        [
            p.id.clone(),
            status_word(p.status).to_owned(),
            p.issuer.clone(),
        ]
    })
}
