//! A PostgreSQL of its own, that is killed and started as a test says; gone when dropped.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::binaries::workspace;

/// See the module.
#[derive(Debug)]
pub struct Cluster {
    script: Child,
    answers: Lines<BufReader<ChildStdout>>,
    url: String,
}

impl Cluster {
    /// Starts it, in memory where there is enough: what it says is durable outlasts its processes.
    pub fn start() -> Result<Self> {
        Self::run(&["--told"])
    }

    /// The same on disk, for measuring.
    pub fn on_disk() -> Result<Self> {
        Self::run(&["--told", "--on-disk"])
    }

    fn run(arguments: &[&str]) -> Result<Self> {
        let mut script = Command::new("sh")
            .arg(workspace().join("tests/postgres.sh"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let answers = script.stdout.take().context("no output")?;
        let mut answers = BufReader::new(answers).lines();
        let url = answers.next().context("PostgreSQL did not start")??;
        Ok(Self {
            script,
            answers,
            url,
        })
    }

    /// Where its database is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends all its processes at once, as a crash would.
    pub fn kill(&mut self) -> Result<()> {
        self.tell("kill")
    }

    /// Starts it again; it recovers what was committed.
    pub fn start_again(&mut self) -> Result<()> {
        self.tell("start")
    }

    fn tell(&mut self, what: &str) -> Result<()> {
        let input = self.script.stdin.as_mut().context("no input")?;
        writeln!(input, "{what}")?;
        let answer = self.answers.next().transpose()?;
        ensure!(
            answer.as_deref() == Some(what),
            "told to {what}, PostgreSQL did not"
        );
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The script ends, and the cluster with it, where its input does.
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}
