//! The token service: the `writ` binary on loopback, and its command line on the same data directory.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::process::Process;
use crate::scratch::Scratch;
use crate::signer::Signer;
use crate::wait::PATIENCE;
use crate::{binaries, ports};

/// How to start it.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A directory with `.rego` files and `data.json`; the embedded library when absent.
    pub policy: Option<PathBuf>,
    /// Further settings as environment variables (`WRIT_TOKENS__MINTED_TTL`…).
    pub env: Vec<(String, String)>,
    /// The configuration file's text, for what has no environment variable.
    pub config: Option<String>,
    /// The binary to run, where not the one of this build profile.
    pub binary: Option<PathBuf>,
    /// The issuer's port, where it matters.
    pub public_port: Option<u16>,
    /// The key that signs its tokens, where somebody else is to sign like it.
    pub signer: Option<Signer>,
}

/// A data directory, and the service on it when started. Killed when dropped.
#[derive(Debug)]
pub struct TokenService {
    name: String,
    issuer: String,
    binary: PathBuf,
    data_dir: PathBuf,
    config: Option<PathBuf>,
    logs: PathBuf,
    public_port: u16,
    gateway_port: u16,
    options: Options,
    process: Option<Process>,
}

impl TokenService {
    /// Prepares a data directory; nothing runs yet, but [`Self::cli`] works.
    pub fn prepare(scratch: &Scratch, options: Options) -> Result<Self> {
        let data_dir = scratch.path().join("writ");
        std::fs::create_dir_all(&data_dir)?;
        let config = options
            .config
            .as_ref()
            .map(|text| scratch.write("writ.toml", text))
            .transpose()?;
        if let Some(signer) = &options.signer {
            signer.write_to(&data_dir)?;
        }
        let public_port = options.public_port.map_or_else(ports::free, Ok)?;
        Ok(Self {
            name: "writ".to_owned(),
            issuer: format!("http://127.0.0.1:{public_port}"),
            binary: options.binary.clone().map_or_else(binaries::writ, Ok)?,
            data_dir,
            config,
            logs: scratch.path().to_owned(),
            public_port,
            gateway_port: ports::free()?,
            options,
            process: None,
        })
    }

    /// Another one of the same installation, whose database is elsewhere than in the data directory.
    pub fn beside(&self, name: &str, gateway_port: u16, scratch: &Scratch) -> Result<Self> {
        let data_dir = scratch.path().join(name);
        std::fs::create_dir_all(&data_dir)?;
        Ok(Self {
            name: name.to_owned(),
            issuer: self.issuer.clone(),
            binary: self.binary.clone(),
            data_dir,
            config: self.config.clone(),
            logs: self.logs.clone(),
            public_port: ports::free()?,
            gateway_port,
            options: self.options.clone(),
            process: None,
        })
    }

    /// Prepares and starts.
    pub async fn start(scratch: &Scratch, options: Options) -> Result<Self> {
        let mut service = Self::prepare(scratch, options)?;
        service.serve().await?;
        Ok(service)
    }

    /// Starts `writ serve` and waits until it is ready; again after [`Self::stop`], on the same ports.
    pub async fn serve(&mut self) -> Result<()> {
        let mut command = self.command();
        command.arg("serve");
        let mut process = Process::spawn(&self.name, command, &self.logs)?;
        let url = format!("http://127.0.0.1:{}/readyz", self.public_port);
        let http = reqwest::Client::new();
        process
            .until("the token service's /readyz", PATIENCE, async |_| {
                let answer = http.get(&url).send().await.ok()?;
                answer.status().is_success().then_some(())
            })
            .await?;
        self.process = Some(process);
        Ok(())
    }

    /// Kills the service; the data directory stays.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// The running service's process.
    pub fn process(&self) -> Result<&Process> {
        self.process
            .as_ref()
            .context("the token service is not running")
    }

    /// The running service's process, to signal it or wait for its end.
    pub fn process_mut(&mut self) -> Result<&mut Process> {
        self.process
            .as_mut()
            .context("the token service is not running")
    }

    /// The issuer: the base of the public API.
    pub fn issuer(&self) -> String {
        self.issuer.clone()
    }

    /// The port of the listener for gateways.
    pub fn gateway_port(&self) -> u16 {
        self.gateway_port
    }

    /// The binary that runs.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Where its database and keys are.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// `writ` with this installation's configuration, without its arguments.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .env("WRIT_DATA_DIR", &self.data_dir)
            .env("WRIT_ISSUER", self.issuer())
            .env(
                "WRIT_PUBLIC__LISTEN",
                format!("127.0.0.1:{}", self.public_port),
            )
            .env(
                "WRIT_GATEWAY__LISTEN",
                format!("127.0.0.1:{}", self.gateway_port),
            )
            .envs(self.options.env.iter().map(|(name, value)| (name, value)));
        if let Some(policy) = &self.options.policy {
            command.env("WRIT_POLICY__DIR", policy);
        }
        if let Some(config) = &self.config {
            command.env("WRIT_CONFIG", config);
        }
        command
    }

    /// Runs `writ --json <arguments>` and returns the objects it printed, one a line.
    pub fn cli(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        self.cli_with_input(arguments, "")
    }

    /// The same, with `input` on its standard input.
    pub fn cli_with_input(&self, arguments: &[&str], input: &str) -> Result<Vec<Value>> {
        let mut child = self
            .command()
            .arg("--json")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", self.binary.display()))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!(
                "`writ {}` failed ({}): {}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| {
                serde_json::from_str(line).with_context(|| {
                    format!(
                        "`writ --json {}` printed no JSON: {line}",
                        arguments.join(" ")
                    )
                })
            })
            .collect()
    }

    /// What `writ <arguments>` prints for people.
    pub fn text(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command().args(arguments).output()?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "`writ {}`: {told}",
            arguments.join(" ")
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Runs `writ --json <arguments>`, whatever becomes of it.
    pub fn output(&self, arguments: &[&str]) -> Result<std::process::Output> {
        let mut command = self.command();
        command.arg("--json").args(arguments).stdin(Stdio::null());
        command
            .output()
            .with_context(|| format!("cannot run {}", self.binary.display()))
    }

    /// Runs a command that creates a credential and returns the secret it prints this once.
    pub fn cli_secret(&self, arguments: &[&str]) -> Result<String> {
        self.cli(arguments)?
            .iter()
            .find_map(|printed| printed.get("secret")?.as_str())
            .map(str::to_owned)
            .with_context(|| format!("`writ {}` printed no secret", arguments.join(" ")))
    }

    /// The newest audit records, oldest first.
    pub fn audit(&self) -> Result<Vec<Value>> {
        self.cli(&["audit", "list", "--limit", "10000"])
    }
}
