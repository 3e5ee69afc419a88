//! `writ migrate …`

use clap::Subcommand;

use super::{CliError, Output};
use crate::{
    clock::{Clock as _, SystemClock},
    config::Config,
    store::{Place, transfer},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Copy the SQLite database of the data directory to the empty PostgreSQL database of `store.url`. The service must not run.
    SqliteToPostgres,
}

impl Command {
    pub(super) async fn run(self, config: &Config, output: &mut Output) -> Result<(), CliError> {
        let Self::SqliteToPostgres = self;
        let source = Place::Directory(config.data_dir.clone());
        let target = config.place();
        if source == target {
            return Err(CliError::Usage(
                "nowhere to copy to: set `store.url` or WRIT_STORE_URL to a new PostgreSQL database"
                    .to_owned(),
            ));
        }
        let copied = transfer::to_postgres(&source, &target, SystemClock.now()).await?;
        if output.is_json() {
            return copied.iter().try_for_each(|table| output.json(table));
        }
        output.table(&copied, ["table", "rows"], |table| {
            [table.table.clone(), table.rows.to_string()]
        })?;
        output.line(&format!(
            "{source} is copied to {target}: start the service with this configuration, and keep the file until you trust it"
        ))
    }
}
