//! `writ audit …`

mod archive;
mod columns;
mod export;
mod list;
mod parquet;
mod show;
mod sinks;
mod verify;
mod view;

pub(super) use list::record_id;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{CliError, Output};
use crate::{config::Config, log, store::Store};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Say whether the log is what it was: every record, its place, and the checkpoints that were signed. Changes nothing.
    Verify(verify::Verify),
    #[command(flatten)]
    Stored(Stored),
}

/// What works on the database.
#[derive(Debug, Subcommand)]
pub(super) enum Stored {
    /// Show the newest records.
    List(Box<list::List>),
    /// Show the newest records, then each new one as it comes.
    Tail(Box<list::List>),
    /// Count calls by agent, server and tool: let through, refused, and ended badly.
    Stats(Box<list::Stats>),
    /// Show all that there is of a record.
    Show(show::Show),
    /// Write records to standard output or a file.
    Export(Box<export::Export>),
    /// Move old records to a file that verifies by itself and together with the database, which keeps their hashes.
    Archive(archive::Archive),
    /// Print the newest checkpoint of the log: keep it where nobody who can change the database can reach it.
    Checkpoint,
    /// Print the public key that checkpoints of the log are signed with, or that this service cosigns others' with.
    Key(Key),
    /// Show where the log is sent to, how far that is, and what last went wrong.
    Sinks,
}

const NO_CHECKPOINT: &str = "the log has no checkpoint yet: a running service signs one every few seconds, once there is a record";

const NO_WITNESS: &str = "this service is no witness: name it in `audit.witness.name`, and the logs that it is to see in `audit.witness.logs`";

/// Which key.
#[derive(Debug, Args)]
pub(super) struct Key {
    /// As a witness of others' logs.
    #[arg(long)]
    witness: bool,
}

impl Stored {
    pub(super) async fn run(
        self,
        config: &Config,
        store: &Store,
        output: &mut Output,
    ) -> Result<(), CliError> {
        match self {
            Self::List(list) => list.run(store, output).await,
            Self::Tail(list) => list.tail(store, output).await,
            Self::Stats(stats) => stats.run(store, output).await,
            Self::Show(show) => show.run(config, store, output).await,
            Self::Export(export) => export.run(store).await,
            Self::Archive(archive) => archive.run(config, store, output).await,
            Self::Sinks => sinks::run(config, store, output).await,
            Self::Checkpoint => {
                let newest = store.newest_checkpoint().await?;
                let newest = newest.ok_or_else(|| CliError::Usage(NO_CHECKPOINT.to_owned()))?;
                if output.is_json() {
                    return output.json(
                        &json!({ "size": newest.size, "time": newest.time, "note": newest.note }),
                    );
                }
                output.line(newest.note.trim_end())
            }
            Self::Key(which) => {
                let sealing = &config.keys.sealing;
                let key = match (which.witness, &config.audit.witness_name) {
                    (false, _) => log::keep::key(store, sealing, &config.issuer).await?,
                    (true, Some(name)) => log::keep::witness_key(store, sealing, name).await?,
                    (true, None) => return Err(CliError::Usage(NO_WITNESS.to_owned())),
                };
                if output.is_json() {
                    return output.json(&json!({ "key": key.public() }));
                }
                output.line(&key.public())
            }
        }
    }
}
