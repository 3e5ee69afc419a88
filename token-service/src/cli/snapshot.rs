//! `writ snapshot …`

use clap::Subcommand;
use serde_json::json;

use super::{CliError, Output};
use crate::{
    clock::{Clock as _, SystemClock},
    config::Config,
    snapshot::{self, SnapshotKeys},
    store::Store,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print the key that snapshots are signed with: `snapshot_key` of a filter whose secret does not end with it.
    Key,
    /// Sign with a new key; the present one introduces it to the gateways.
    RotateKey {
        /// Somebody else may have the present key: gateways that trust it take no snapshot until they get the new one.
        #[arg(long)]
        distrust: bool,
    },
    /// After the database was restored from a backup: let gateways take what is older than what they have.
    NewEpoch,
}

impl Command {
    pub(super) async fn run(
        self,
        config: &Config,
        store: &Store,
        output: &mut Output,
    ) -> Result<(), CliError> {
        let (sealing, now) = (&config.keys.sealing, SystemClock.now());
        match self {
            Self::Key => {
                let keys = SnapshotKeys::read(store, sealing).await?;
                said_key(output, keys.signer().thumbprint())
            }
            Self::RotateKey { distrust } => {
                let key = snapshot::rotate(store, sealing, distrust, now).await?;
                said_key(output, &key)
            }
            Self::NewEpoch => {
                let epoch = snapshot::new_epoch(store, now).await?;
                match output.is_json() {
                    true => output.json(&json!({ "epoch": epoch })),
                    false => output.line(&format!("epoch {epoch} begins")),
                }
            }
        }
    }
}

fn said_key(output: &mut Output, key: &str) -> Result<(), CliError> {
    match output.is_json() {
        true => output.json(&json!({ "snapshot_key": key })),
        false => output.line(key),
    }
}
