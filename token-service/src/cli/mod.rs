//! The command line: `writ serve`, the registries and the audit trail.
//!
//! Every command but `serve` works on the database directly, whether the service runs or not; a running service
//! notices at its next decision.

mod access;
mod agent;
mod audit;
mod connect;
mod doctor;
mod gateway;
mod keys;
mod migrate;
mod output;
mod pairs;
mod pins;
mod policy;
mod provider;
mod registration;
mod rogue;
mod serve;
mod server;
mod snapshot;
mod stop;
mod task;
mod user;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use output::Output;

use crate::{
    audit::Verdict,
    clock::{Clock as _, SystemClock},
    config::{Config, ConfigError},
    registry::Status,
    store::{Store, StoreError, registrations::Registered},
};

/// A token for each tool call: OAuth issuer, token exchange, registry and audit trail.
#[derive(Debug, Parser)]
#[command(name = "writ", version, propagate_version = true)]
pub struct Cli {
    /// Where the database is kept, unless the configuration names another [default: ./writ-data].
    #[arg(long, global = true, value_name = "DIR", env = "WRIT_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// The configuration file; everything in it has a default.
    #[arg(long, global = true, value_name = "FILE", env = "WRIT_CONFIG")]
    config: Option<PathBuf>,
    /// Print JSON: one object a line.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service.
    Serve,
    /// Put an MCP server that speaks on its standard streams behind an endpoint that only the gateway can use.
    Connect(Box<connect::Connect>),
    /// Look at a running installation and say what to do about what is wrong.
    Doctor(doctor::Doctor),
    /// Print the OpenAPI document of the service.
    Openapi,
    /// MCP servers that calls are governed for.
    #[command(subcommand)]
    Server(server::Command),
    /// Agents: the OAuth clients that call tools.
    #[command(subcommand)]
    Agent(agent::Command),
    /// What clients and servers register themselves with.
    #[command(subcommand)]
    Registration(registration::Command),
    /// People.
    #[command(subcommand)]
    User(user::Command),
    /// Identity providers that people sign in at.
    #[command(subcommand)]
    Provider(provider::Command),
    /// Gateways: the Envoys that run the filter.
    #[command(subcommand)]
    Gateway(gateway::Command),
    /// Tasks that agents have opened.
    #[command(subcommand)]
    Task(task::Command),
    /// Take tokens back.
    Revoke(stop::Revoke),
    /// Stop all calls but those on a list.
    Lockdown(stop::LockDown),
    /// The audit trail.
    #[command(subcommand)]
    Audit(audit::Command),
    /// What was found that should not be: credentials, servers, tools and agents that nobody knows of.
    #[command(subcommand)]
    Rogue(rogue::Command),
    /// Who could use what, and who did.
    #[command(subcommand)]
    Access(access::Command),
    /// Policies: check, test and publish them.
    #[command(subcommand)]
    Policy(policy::Command),
    /// The keys that tokens are signed with.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Move an installation to another database.
    #[command(subcommand)]
    Migrate(migrate::Command),
    /// What gateways decide from: who signs it, and which is the latest.
    #[command(subcommand)]
    Snapshot(snapshot::Command),
}

/// One registration.
#[derive(Debug, Args)]
struct ById {
    /// Its id.
    id: String,
}

/// One registration, and why it is switched on or off.
#[derive(Debug, Args)]
struct Switched {
    /// Its id.
    id: String,
    #[command(flatten)]
    reason: stop::Reason,
}

impl Switched {
    /// Switches a registration on or off and says so.
    async fn switch(
        &self,
        store: &Store,
        output: &mut Output,
        what: Registered,
        status: Status,
    ) -> Result<(), CliError> {
        let Self { id, reason } = self;
        let reason = reason.reason.as_deref();
        store
            .set_status(what, id, status, reason, SystemClock.now())
            .await?;
        output.switched(what.as_str(), id, status)
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The service.
    #[error(transparent)]
    Serve(#[from] crate::serve::ServeError),
    /// The signing keys.
    #[error(transparent)]
    Keys(#[from] crate::keys::KeyError),
    /// A server that is not connected.
    #[error(transparent)]
    Connect(#[from] crate::connect::ConnectError),
    /// A file with a secret.
    #[error(transparent)]
    PrivateFile(#[from] crate::private_file::PrivateFileError),
    /// What was given on the command line does not fit together.
    #[error("{0}")]
    Usage(String),
    /// A file or stream.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: String,
        /// Why it did not work.
        source: std::io::Error,
    },
    /// A policy that is not what it should be.
    #[error("{0}")]
    Policy(String),
    /// The files of a policy.
    #[error(transparent)]
    Source(#[from] crate::policy::SourceError),
    /// What `writ policy replay` found.
    #[error("{0} of these decisions would flip")]
    Flips(usize),
    /// Why `writ policy replay` found nothing out.
    #[error(transparent)]
    NotReplayed(Box<CliError>),
    /// Records do not become leaves.
    #[error(transparent)]
    Sequence(#[from] crate::log::sequence::SequenceError),
    /// What is kept of arguments.
    #[error(transparent)]
    Arguments(#[from] crate::audit::OpenError),
    /// Why nothing was archived.
    #[error(transparent)]
    Archive(#[from] crate::log::archive::ArchiveError),
    /// What `writ audit verify` found.
    #[error(transparent)]
    Verify(#[from] crate::log::verify::VerifyError),
    /// What `writ doctor` found.
    #[error("{0} of these are problems")]
    Problems(usize),
    /// Nothing can be written down.
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl CliError {
    fn output(source: std::io::Error) -> Self {
        Self::Io {
            action: "write to standard output".to_owned(),
            source,
        }
    }

    /// The status that a command ends with.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            Self::NotReplayed(_) => 2,
            _ => 1,
        }
    }

    /// Whether the reader of our output has gone (`writ audit list | head`), which is no error.
    #[must_use]
    pub fn reader_is_gone(&self) -> bool {
        match self {
            Self::NotReplayed(error) => error.reader_is_gone(),
            Self::Io { source, .. } => source.kind() == std::io::ErrorKind::BrokenPipe,
            _ => false,
        }
    }
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// What went wrong, in a sentence for the person at the terminal.
    pub fn run(self, output: &mut Output) -> Result<(), CliError> {
        let is_replay = matches!(&self.command, Command::Policy(command) if command.is_replay());
        match self.run_command(output) {
            Err(error) if is_replay && !matches!(error, CliError::Flips(_)) => {
                Err(CliError::NotReplayed(Box::new(error)))
            }
            ended => ended,
        }
    }

    fn run_command(self, output: &mut Output) -> Result<(), CliError> {
        if let Command::Keys(command) = &self.command
            && command.needs_nothing()
        {
            return keys::generate_encryption_key(output);
        }
        if let Command::Policy(policy::Command::Offline(command)) = self.command {
            return command.run(output);
        }
        // It works wherever the server is, without database and configuration.
        if let Command::Connect(connect) = self.command {
            return runtime(tokio::runtime::Builder::new_multi_thread())?
                .block_on(connect.run(output));
        }
        let mut config = match Config::load(self.config.as_deref(), std::env::vars()) {
            Err(error) if matches!(self.command, Command::Doctor(_)) => {
                return doctor::misconfigured(&error, output);
            }
            loaded => loaded?,
        };
        if let Some(data_dir) = self.data_dir {
            config.data_dir = data_dir;
        }
        let runtime = runtime(match self.command {
            Command::Serve => tokio::runtime::Builder::new_multi_thread(),
            _ => tokio::runtime::Builder::new_current_thread(),
        })?;
        runtime.block_on(async {
            match self.command {
                Command::Serve => serve::run(config, output).await,
                Command::Openapi => output.json(&crate::openapi::document(&config)),
                Command::Doctor(doctor) => doctor.run(&config, output).await,
                Command::Audit(audit::Command::Verify(verify)) => verify.run(&config, output).await,
                Command::Migrate(migrate) => migrate.run(&config, output).await,
                command => {
                    crate::audit::operator::answers_for_changes();
                    let store = Store::open(&config.place()).await?;
                    let done = command.run(&config, &store, output).await;
                    store.close().await;
                    done
                }
            }
        })
    }
}

fn runtime(mut builder: tokio::runtime::Builder) -> Result<tokio::runtime::Runtime, CliError> {
    builder.enable_all().build().map_err(|source| CliError::Io {
        action: "start the runtime".to_owned(),
        source,
    })
}

impl Command {
    async fn run(
        self,
        config: &Config,
        store: &Store,
        output: &mut Output,
    ) -> Result<(), CliError> {
        match self {
            Self::Serve
            | Self::Connect(_)
            | Self::Doctor(_)
            | Self::Openapi
            | Self::Audit(audit::Command::Verify(_))
            | Self::Migrate(_)
            | Self::Policy(policy::Command::Offline(_)) => Ok(()),
            Self::Server(command) => command.run(config, store, output).await,
            Self::Agent(command) => command.run(store, output).await,
            Self::Registration(command) => command.run(store, output).await,
            Self::User(command) => command.run(store, output).await,
            Self::Provider(command) => command.run(store, output).await,
            Self::Gateway(command) => command.run(config, store, output).await,
            Self::Task(command) => command.run(store, output).await,
            Self::Revoke(revoke) => revoke.run(store, output).await,
            Self::Lockdown(lockdown) => lockdown.run(store, output).await,
            Self::Audit(audit::Command::Stored(command)) => {
                command.run(config, store, output).await
            }
            Self::Policy(policy::Command::Stored(command)) => {
                command.run(config, store, output).await
            }
            Self::Access(command) => command.run(config, store, output).await,
            Self::Keys(command) => command.run(config, store, output).await,
            Self::Rogue(command) => command.run(config, store, output).await,
            Self::Snapshot(command) => command.run(config, store, output).await,
        }
    }
}

/// Decides about a registration that waits, and says so.
async fn decide(
    store: &Store,
    output: &mut Output,
    what: Registered,
    id: &str,
    verdict: Verdict,
) -> Result<(), CliError> {
    store.decide(what, id, verdict, SystemClock.now()).await?;
    let done = match verdict {
        Verdict::Allow => "approved",
        Verdict::Deny => "rejected",
    };
    output.done(what.as_str(), id, done)
}

/// Deletes a registration and says so.
async fn remove(
    store: &Store,
    output: &mut Output,
    what: Registered,
    id: &str,
) -> Result<(), CliError> {
    store.remove(what, id, SystemClock.now()).await?;
    output.done(what.as_str(), id, "removed")
}
