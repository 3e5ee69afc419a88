//! `writ keys …`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use serde_json::json;

use super::{CliError, Output};
use crate::{
    clock::{Clock as _, SystemClock, rfc3339},
    config::Config,
    keys::{self, Algorithm, EncryptionKey, Rotation},
    store::{Store, keys::KeyRow},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the keys: which are announced, which sign, which are still good.
    List,
    /// Announce the next key; it signs when everybody has had the time to fetch it.
    Rotate(Rotate),
    /// Remove a key that somebody else may have: all that it signed is refused, at once.
    Revoke {
        /// Its `kid`.
        kid: String,
    },
    /// Encrypt the keys with another encryption key; then configure that one and restart.
    Reencrypt(Reencrypt),
    /// Print a new encryption key, for `keys.encryption_key_file` or `keys.encryption_key_env`.
    GenerateEncryptionKey,
}

#[derive(Debug, Args)]
pub(super) struct Rotate {
    /// Of this algorithm [default: the one that signs].
    #[arg(long, value_enum)]
    alg: Option<AlgArg>,
    /// Sign with it at once. Who knows the keys by heart refuses tokens until it has fetched them again.
    #[arg(long)]
    now: bool,
}

#[derive(Debug, Args)]
pub(super) struct Reencrypt {
    /// A file with the new encryption key.
    #[arg(long, value_name = "FILE", required_unless_present = "to_env")]
    to_file: Option<PathBuf>,
    /// An environment variable with the new encryption key.
    #[arg(long, value_name = "NAME", conflicts_with = "to_file")]
    to_env: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AlgArg {
    #[value(name = "EdDSA")]
    EdDsa,
    #[value(name = "ES256")]
    Es256,
    #[value(name = "RS256")]
    Rs256,
}

impl From<AlgArg> for Algorithm {
    fn from(arg: AlgArg) -> Self {
        match arg {
            AlgArg::EdDsa => Self::EdDsa,
            AlgArg::Es256 => Self::Es256,
            AlgArg::Rs256 => Self::Rs256,
        }
    }
}

impl Command {
    /// Whether it works on nothing but what it prints.
    pub(super) fn needs_nothing(&self) -> bool {
        matches!(self, Self::GenerateEncryptionKey)
    }

    pub(super) async fn run(
        self,
        config: &Config,
        store: &Store,
        output: &mut Output,
    ) -> Result<(), CliError> {
        let now = SystemClock.now();
        match self {
            Self::List => list(store, output, now).await,
            Self::Rotate(rotate) => rotate.run(config, store, output, now).await,
            Self::Revoke { kid } => {
                let settings = (&config.keys.schedule, &config.keys.sealing);
                keys::revoke(store, settings, &kid, now).await?;
                said(output, &kid, "revoked")
            }
            Self::Reencrypt(reencrypt) => reencrypt.run(config, store, output, now).await,
            Self::GenerateEncryptionKey => generate_encryption_key(output),
        }
    }
}

pub(super) fn generate_encryption_key(output: &mut Output) -> Result<(), CliError> {
    let key = EncryptionKey::generate();
    match output.is_json() {
        true => output.json(&json!({"encryption_key": key.as_str()})),
        false => output.line(&key),
    }
}

impl Rotate {
    async fn run(
        self,
        config: &Config,
        store: &Store,
        output: &mut Output,
        now: Timestamp,
    ) -> Result<(), CliError> {
        let alg = self.alg.map_or(config.tokens.signing_alg, Algorithm::from);
        let rotation = match self.now {
            true => Rotation::Immediate,
            false => Rotation::Announced,
        };
        let settings = (&config.keys.schedule, &config.keys.sealing);
        let (kid, signs_from) = keys::rotate(store, settings, alg, rotation, now).await?;
        if output.is_json() {
            return output.json(&json!({
                "kid": kid, "alg": alg.name(), "signs_from": rfc3339(signs_from),
            }));
        }
        output.line(&format!("key {kid} ({alg}) signs from {signs_from:.0}"))
    }
}

impl Reencrypt {
    async fn run(
        self,
        config: &Config,
        store: &Store,
        output: &mut Output,
        now: Timestamp,
    ) -> Result<(), CliError> {
        let (text, origin) = match (&self.to_file, &self.to_env) {
            (Some(path), _) => (
                EncryptionKey::read(path)?,
                format!("--to-file {}", path.display()),
            ),
            (None, Some(name)) => (
                std::env::var(name)
                    .map_err(|_| CliError::Usage(format!("--to-env: {name} is not set")))?
                    .into(),
                format!("--to-env {name}"),
            ),
            (None, None) => return Err(CliError::Usage("--to-file or --to-env".to_owned())),
        };
        let to = EncryptionKey::parse(&text, origin.as_str())
            .map_err(|e| CliError::Usage(format!("{origin} {e}")))?;
        let count = keys::reseal(store, &config.keys.sealing, &to, now).await?;
        if output.is_json() {
            return output.json(&json!({"reencrypted": count}));
        }
        output.line(&format!(
            "{count} keys are encrypted anew; configure the new encryption key, and restart the service"
        ))
    }
}

async fn list(store: &Store, output: &mut Output, now: Timestamp) -> Result<(), CliError> {
    let keys = store.signing_keys().await?;
    if output.is_json() {
        return keys.iter().try_for_each(|key| {
            output.json(&json!({
                "kid": key.kid, "alg": key.alg.name(), "state": key.term.state(now).as_str(),
                "announced_at": rfc3339(key.term.announced_at), "signs_from": rfc3339(key.term.signs_from),
                "signs_until": key.term.signs_until.map(rfc3339), "gone_at": key.term.gone_at().map(rfc3339),
                "encrypted": key.private.is_sealed(),
            }))
        });
    }
    let header = [
        "KID",
        "ALG",
        "STATE",
        "SIGNS FROM",
        "UNTIL",
        "PUBLISHED UNTIL",
        "ENCRYPTED",
    ];
    output.table(&keys, header, |key: &KeyRow| {
        let time = |at: Option<Timestamp>| at.map_or(String::new(), |at| format!("{at:.0}"));
        [
            key.kid.clone(),
            key.alg.name().to_owned(),
            key.term.state(now).as_str().to_owned(),
            time(Some(key.term.signs_from)),
            time(key.term.signs_until),
            time(key.term.gone_at()),
            if key.private.is_sealed() { "yes" } else { "no" }.to_owned(),
        ]
    })
}

fn said(output: &mut Output, kid: &str, what: &str) -> Result<(), CliError> {
    if output.is_json() {
        return output.json(&json!({"kid": kid, "status": what}));
    }
    output.line(&format!("key {kid} is {what}"))
}
