//! MCP servers on other SDKs: small programs in `tests/clients` that are told their port.

use std::process::Command;

use anyhow::Result;
use tokio::net::TcpStream;

use crate::process::Process;
use crate::scratch::Scratch;
use crate::wait::PATIENCE;
use crate::{ports, tools};

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    process: Process,
    port: u16,
}

impl Server {
    /// The server of the conformance suite's scenarios, on the TypeScript SDK, in both eras.
    pub async fn typescript_reference(scratch: &Scratch) -> Result<Self> {
        Self::node(scratch, "reference").await
    }

    /// Its sibling on the Python SDK, with what [`crate::reference`] has.
    pub async fn python_reference(scratch: &Scratch) -> Result<Self> {
        Self::python(scratch, "reference").await
    }

    /// A server on the TypeScript SDK that logs each call as it understood it.
    pub async fn typescript_witness(scratch: &Scratch) -> Result<Self> {
        Self::node(scratch, "witness").await
    }

    /// The same on the Python SDK.
    pub async fn python_witness(scratch: &Scratch) -> Result<Self> {
        Self::python(scratch, "witness").await
    }

    async fn python(scratch: &Scratch, name: &str) -> Result<Self> {
        let mut command = Command::new(tools::python()?);
        command.arg(tools::python_clients().join(format!("{name}.py")));
        Self::start(scratch, &format!("{name}-python"), command).await
    }

    async fn node(scratch: &Scratch, name: &str) -> Result<Self> {
        let mut command = Command::new(tools::node()?);
        command.arg(
            tools::typescript_clients()?
                .join("server")
                .join(format!("{name}.mjs")),
        );
        Self::start(scratch, name, command).await
    }

    async fn start(scratch: &Scratch, name: &str, mut command: Command) -> Result<Self> {
        let port = ports::free()?;
        command.env("PORT", port.to_string());
        let mut process = Process::spawn(name, command, scratch.path())?;
        process
            .until(&format!("the port of {name}"), PATIENCE, async |_| {
                TcpStream::connect(("127.0.0.1", port)).await.ok()
            })
            .await?;
        Ok(Self { process, port })
    }

    /// Its port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its MCP endpoint, past any gateway.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }
}
