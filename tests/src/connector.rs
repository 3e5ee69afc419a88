//! `writ connect`: a server on standard streams, in place of the ledger behind the gateway.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::process::Process;
use crate::registrations::SERVER;
use crate::scratch::Scratch;
use crate::token_service::TokenService;
use crate::wait::PATIENCE;

/// The gateway as which it guards the server.
pub const GUARD: &str = "laptop";

/// How to start it.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Options before the `--`.
    pub options: Vec<String>,
    /// The server's command.
    pub command: Vec<String>,
    /// Variables of its environment.
    pub env: Vec<(String, String)>,
    /// Where it runs, when not where we do.
    pub directory: Option<std::path::PathBuf>,
}

/// A connected server. Killed when dropped.
#[derive(Debug)]
pub struct Connector {
    /// `writ connect` itself.
    pub process: Process,
    port: u16,
}

impl Connector {
    /// Registers a gateway for it and starts it on this port of loopback; it is ready when this returns.
    pub async fn start(
        service: &TokenService,
        scratch: &Scratch,
        port: u16,
        options: Options,
    ) -> Result<Self> {
        let secret = service.cli_secret(&[
            "gateway", "add", GUARD, "--kind", "guard", "--server", SERVER,
        ])?;
        let command = Self::command(
            service.binary(),
            &secret,
            service.gateway_port(),
            port,
            &options,
        );
        let mut process = Process::spawn("connect", command, scratch.path())?;
        process
            .until("a connected server", PATIENCE, async |process| {
                process
                    .log()
                    .lines()
                    .any(|line| line == "ready")
                    .then_some(())
            })
            .await?;
        Ok(Self { process, port })
    }

    fn command(writ: &Path, secret: &str, service: u16, port: u16, options: &Options) -> Command {
        let mut command = Command::new(writ);
        command
            .args(["connect", "--server", SERVER, "--gateway", GUARD])
            .args(["--service", &format!("http://127.0.0.1:{service}")])
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(&options.options)
            .arg("--")
            .args(&options.command)
            .env("WRIT_GATEWAY_SECRET", secret)
            .envs(options.env.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &options.directory {
            command.current_dir(directory);
        }
        command
    }

    /// Its own endpoint, past the gateway.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }
}
