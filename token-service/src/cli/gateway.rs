//! `writ gateway …`

use clap::{Args, Subcommand};
use serde_json::json;

use super::{ById, CliError, Output, output::status_word, switch};
use crate::{
    clock::{Clock as _, SystemClock},
    registry::{Gateway, Id, Status},
    secret::{self, SecretHash},
    store::{Store, registrations::Registered},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Register a gateway; prints its secret.
    Add(Add),
    /// List the gateways.
    List,
    /// Refuse a gateway's requests, at once.
    Disable(ById),
    /// Let a gateway in again.
    Enable(ById),
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// Its id, as in the filter's configuration.
    id: Id,
    /// A server it may mint for; may be repeated.
    #[arg(long = "server", value_name = "ID", required = true)]
    servers: Vec<Id>,
}

impl Command {
    pub(super) async fn run(self, store: &Store, output: &mut Output) -> Result<(), CliError> {
        match self {
            Self::Add(add) => add.run(store, output).await,
            Self::List => list(store, output).await,
            Self::Disable(ById { id }) => {
                switch(store, output, Registered::Gateway, &id, Status::Disabled).await
            }
            Self::Enable(ById { id }) => {
                switch(store, output, Registered::Gateway, &id, Status::Approved).await
            }
        }
    }
}

impl Add {
    async fn run(self, store: &Store, output: &mut Output) -> Result<(), CliError> {
        let secret = secret::generate();
        let gateway = Gateway {
            id: self.id,
            secret: SecretHash::of(&secret),
            servers: self.servers.iter().map(Id::to_string).collect(),
            status: Status::Approved,
        };
        store.add_gateway(&gateway, SystemClock.now()).await?;
        output.added("gateway", gateway.id.as_str(), Some(("secret", &secret)))
    }
}

async fn list(store: &Store, output: &mut Output) -> Result<(), CliError> {
    let gateways = store.gateways().await?;
    if output.is_json() {
        return gateways.iter().try_for_each(|g| {
            output.json(&json!({"id": g.id, "servers": g.servers, "status": g.status}))
        });
    }
    output.table(&gateways, ["ID", "STATUS", "SERVERS"], |g| {
        let servers: Vec<&str> = g.servers.iter().map(String::as_str).collect();
        [
            g.id.to_string(),
            status_word(g.status).to_owned(),
            servers.join(" "),
        ]
    })
}
