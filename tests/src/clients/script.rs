//! A client in another language: a small script that prints one JSON object a line, as things happen, and is told
//! things the same way.
//!
//! Where it wants a person to open a page it prints `{"open": url}` and goes on when it is told `{"landed": url}`:
//! where the browser ended up.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::oauth::Browser;
use crate::tools;

/// How long a script may take for one line.
const LINE_LIMIT: Duration = Duration::from_secs(60);

/// A running script; killed when dropped.
#[derive(Debug)]
pub struct Script {
    name: String,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Script {
    /// Starts `tests/clients/ts/<name>` in Node and tells it what to do.
    pub async fn node(name: &str, told: &Value) -> Result<Self> {
        let mut command = Command::new(tools::node()?);
        command.arg(tools::typescript_clients()?.join(name));
        Self::start(name, command, told).await
    }

    /// Starts `tests/clients/python/<name>` and tells it what to do.
    pub async fn python(name: &str, told: &Value) -> Result<Self> {
        let mut command = Command::new(tools::python()?);
        command.arg(tools::python_clients().join(name));
        Self::start(name, command, told).await
    }

    async fn start(name: &str, mut command: Command, told: &Value) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let stdin = child
            .stdin
            .take()
            .context("the script has no standard input")?;
        let stdout = child
            .stdout
            .take()
            .context("the script has no standard output")?;
        let mut script = Self {
            name: name.to_owned(),
            stdin,
            lines: BufReader::new(stdout).lines(),
            _child: child,
        };
        script.tell(told).await?;
        Ok(script)
    }

    /// Tells it something.
    pub async fn tell(&mut self, line: &Value) -> Result<()> {
        self.stdin
            .write_all(format!("{line}\n").as_bytes())
            .await
            .with_context(|| format!("{} no longer listens", self.name))
    }

    /// The next line; none after the last.
    pub async fn next(&mut self) -> Result<Option<Value>> {
        let Ok(line) = tokio::time::timeout(LINE_LIMIT, self.lines.next_line()).await else {
            bail!("{} said nothing for {LINE_LIMIT:?}", self.name);
        };
        line?
            .map(|line| {
                serde_json::from_str(&line)
                    .with_context(|| format!("{} printed {line:?}", self.name))
            })
            .transpose()
    }

    /// The next line, the browser having opened whatever the script wanted opened before it.
    pub async fn next_with(&mut self, browser: &mut Browser) -> Result<Option<Value>> {
        loop {
            let line = self.next().await?;
            let open = line.as_ref().and_then(|line| line.get("open")?.as_str());
            let Some(url) = open else { return Ok(line) };
            let landed = browser
                .open(url)
                .await
                .with_context(|| format!("the pages that {} opened", self.name))?;
            self.tell(&json!({ "landed": landed })).await?;
        }
    }

    /// The one thing the script has to say in the end.
    pub async fn outcome(mut self, browser: &mut Browser) -> Result<Value> {
        let outcome = self
            .next_with(browser)
            .await?
            .with_context(|| format!("{} ended without a word", self.name))?;
        match outcome.get("error") {
            Some(error) => bail!("{}: {error}", self.name),
            None => Ok(outcome),
        }
    }
}
