//! The other SDKs as clients: small scripts in `tests/clients` that play the steps they are given.
//!
//! Each prints one JSON object a line, as things happen, so that a test can act between two of them.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::mcp::Era;
use crate::tools;

/// How long a script may take for one step.
const STEP_LIMIT: Duration = Duration::from_secs(60);

/// An SDK, and the era it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sdk {
    /// npm `@modelcontextprotocol/sdk`, which knows sessions only.
    TypeScriptV1,
    /// npm `@modelcontextprotocol/client`.
    TypeScriptV2(Era),
    /// PyPI `mcp`.
    Python(Era),
}

impl Sdk {
    /// Every SDK in every era it speaks.
    pub const ALL: [Self; 5] = [
        Self::TypeScriptV1,
        Self::TypeScriptV2(Era::Sessions),
        Self::TypeScriptV2(Era::Stateless),
        Self::Python(Era::Sessions),
        Self::Python(Era::Stateless),
    ];

    /// How its script is told which era to speak.
    fn mode(self) -> &'static str {
        match self {
            Self::TypeScriptV1
            | Self::TypeScriptV2(Era::Sessions)
            | Self::Python(Era::Sessions) => "legacy",
            Self::TypeScriptV2(Era::Stateless) | Self::Python(Era::Stateless) => "auto",
        }
    }

    fn command(self) -> Result<Command> {
        let (program, script) = match self {
            Self::TypeScriptV1 => (
                tools::node()?,
                tools::typescript_clients().join("sdk-v1.mjs"),
            ),
            Self::TypeScriptV2(_) => (
                tools::node()?,
                tools::typescript_clients().join("sdk-v2.mjs"),
            ),
            Self::Python(_) => (tools::python()?, tools::python_clients().join("story.py")),
        };
        let mut command = Command::new(program);
        command.arg(script);
        Ok(command)
    }
}

/// A script on its way through its steps; killed when dropped.
#[derive(Debug)]
pub struct Story {
    sdk: Sdk,
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Story {
    /// Starts the script. A step is `{"list": true}` or `{"call": tool, "arguments": {…}, "progress": bool}`.
    pub async fn start(sdk: Sdk, url: &str, token: Option<&str>, steps: &Value) -> Result<Self> {
        let mut child = sdk
            .command()?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {sdk:?}"))?;
        let story = json!({ "url": url, "token": token, "mode": sdk.mode(), "steps": steps });
        let mut stdin = child
            .stdin
            .take()
            .context("the script has no standard input")?;
        stdin.write_all(story.to_string().as_bytes()).await?;
        drop(stdin);
        let stdout = child
            .stdout
            .take()
            .context("the script has no standard output")?;
        Ok(Self {
            sdk,
            lines: BufReader::new(stdout).lines(),
            _child: child,
        })
    }

    /// The next line; none after the last.
    pub async fn next(&mut self) -> Result<Option<Value>> {
        let Ok(line) = tokio::time::timeout(STEP_LIMIT, self.lines.next_line()).await else {
            bail!("{:?} said nothing for {STEP_LIMIT:?}", self.sdk);
        };
        line?
            .map(|line| {
                serde_json::from_str(&line)
                    .with_context(|| format!("{:?} printed {line:?}", self.sdk))
            })
            .transpose()
    }

    /// All remaining lines.
    pub async fn rest(mut self) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        while let Some(line) = self.next().await? {
            all.push(line);
        }
        Ok(all)
    }

    /// Plays the whole story; answers what each step answered, or the one error of a connection that failed.
    pub async fn play(
        sdk: Sdk,
        url: &str,
        token: Option<&str>,
        steps: &Value,
    ) -> Result<Vec<Value>> {
        let mut lines = Self::start(sdk, url, token, steps).await?.rest().await?;
        if lines
            .first()
            .is_some_and(|line| line.get("connected").is_some())
        {
            lines.remove(0);
        }
        Ok(lines)
    }
}
