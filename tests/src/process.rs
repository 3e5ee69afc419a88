//! A child process: its output in a file, itself gone when its owner is, failed or not.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::wait::until;

/// How much of a log is shown when something failed.
const TAIL_LINES: usize = 60;

/// See the module.
#[derive(Debug)]
pub struct Process {
    name: String,
    command: Box<Command>,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with both its outputs appended to `<dir>/<name>.log`.
    pub fn spawn(name: &str, mut command: Command, dir: &Path) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let child = start(name, &mut command, &log)?;
        Ok(Self {
            name: name.to_owned(),
            command: Box::new(command),
            child,
            log,
        })
    }

    /// Starts it again as it was, once it has ended or was killed.
    pub fn start_again(&mut self) -> Result<()> {
        self.kill();
        self.child = start(&self.name, &mut self.command, &self.log)?;
        Ok(())
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All it has written so far.
    pub fn log(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Asks `probe` until it answers; fails at once, with the log, when the process ends first.
    pub async fn until<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut probe: impl AsyncFnMut(&Self) -> Option<T>,
    ) -> Result<T> {
        let outcome = until(what, limit, async || {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(Err(status));
            }
            probe(self).await.map(Ok)
        })
        .await;
        match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(status)) => bail!(
                "{} ended ({status}) before {what}; the end of its log:\n{}",
                self.name,
                self.tail()
            ),
            Err(error) => bail!("{error}; the end of {}'s log:\n{}", self.name, self.tail()),
        }
    }

    /// Waits for it to end by itself.
    pub async fn exited(&mut self, limit: Duration) -> Result<ExitStatus> {
        until(&format!("the end of {}", self.name), limit, async || {
            self.child.try_wait().ok().flatten()
        })
        .await
    }

    /// Sends SIGTERM and waits for it to end.
    pub async fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal("TERM")?;
        self.exited(limit).await
    }

    /// Sends a signal by name (`TERM`, `HUP`, `STOP`, `CONT`…).
    pub fn signal(&self, signal: &str) -> Result<()> {
        let sent = Command::new("kill")
            .args(["-s", signal, &self.id().to_string()])
            .status()?
            .success();
        if !sent {
            bail!("{} is no longer there to be signalled", self.name);
        }
        Ok(())
    }

    /// Kills it without asking.
    pub fn kill(&mut self) {
        // Both fail only when it is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The last lines of its log.
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines
            .iter()
            .skip(lines.len().saturating_sub(TAIL_LINES))
            .flat_map(|line| ["  ", line, "\n"])
            .collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            anstream::eprintln!("the end of {}'s log:\n{}", self.name, self.tail());
        }
    }
}

fn start(name: &str, command: &mut Command, log: &Path) -> Result<Child> {
    let out = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot write {}", log.display()))?;
    command
        .stdin(Stdio::null())
        .stderr(out.try_clone()?)
        .stdout(out)
        .spawn()
        .with_context(|| format!("cannot start {name} ({:?})", command.get_program()))
}
