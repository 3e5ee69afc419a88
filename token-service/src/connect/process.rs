//! A server's process: its pipes, its end, and that it does end.
//!
//! It runs in a process group of its own, so that what it starts (`npx` and `uvx` start the server proper) ends with it. What
//! it writes to standard output is messages; what it writes to standard error is for the log, and the last of it for the
//! operator when it does not start. Should this program be killed, the process reads the end of its standard input.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    io,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use super::channel::{Channel, Use};
use crate::{audit::printable, serve::told_to_stop};

/// Messages that wait for a process that is slow to read.
const WAITING: usize = 16;
/// The longest line of standard error that is kept, in bytes.
const LOG_LINE: u64 = 4096;
/// Lines of standard error that are shown when the process does not start.
const SHOWN: usize = 5;
/// How long a process has at each step of its end: after the end of its input, after SIGTERM, for its last words.
const STEP: Duration = Duration::from_secs(3);

/// What to run, and how.
#[derive(Debug)]
pub(super) struct Recipe {
    /// The server's id, for the log.
    pub(super) server: String,
    /// The program.
    program: OsString,
    /// Its arguments.
    arguments: Vec<OsString>,
    /// All of its environment.
    environment: Vec<(OsString, OsString)>,
    /// The longest message it may write, in bytes.
    max_message: usize,
    /// Processes that have not ended.
    alive: watch::Sender<usize>,
}

impl Recipe {
    /// Processes of `program` for the server of this id.
    pub(super) fn new(
        server: &str,
        program: &OsStr,
        arguments: &[OsString],
        environment: Vec<(OsString, OsString)>,
        max_message: usize,
    ) -> Self {
        Self {
            server: server.to_owned(),
            program: program.to_owned(),
            arguments: arguments.to_vec(),
            environment,
            max_message,
            alive: watch::Sender::new(0),
        }
    }

    /// Waits until none of them runs.
    pub(super) async fn all_ended(&self) {
        // The sender is our own: it is never gone.
        let _ = self.alive.subscribe().wait_for(|alive| *alive == 0).await;
    }

    /// The command, as a person knows it.
    pub(super) fn shown(&self) -> String {
        let mut words = vec![self.program.to_string_lossy()];
        words.extend(self.arguments.iter().map(|word| word.to_string_lossy()));
        printable(&words.join(" "))
    }

    /// Starts the process. It ends when the answer is dropped; `kept` is dropped once it has, with all that it started.
    ///
    /// # Errors
    /// When there is no such program, or it cannot be run.
    pub(super) fn start(
        self: &Arc<Self>,
        used: Use,
        kept: impl Send + 'static,
    ) -> io::Result<Process> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let missing = || io::Error::other("the process has no pipes");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        let group = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        let (to_process, messages) = mpsc::channel(WAITING);
        let channel = Arc::new(Channel::new(used, to_process));
        let last_words = Arc::new(LastWords::default());
        let (stop, stopped) = watch::channel(false);
        let (ended, has_ended) = watch::channel(None);
        let running = Running {
            recipe: Arc::clone(self),
            child,
            group,
            writer: tokio::spawn(write(stdin, messages)),
            log: tokio::spawn(log(self.server.clone(), stderr, Arc::clone(&last_words))),
            stopped,
        };
        let (told, recipe) = (Arc::clone(&channel), Arc::clone(self));
        self.alive.send_modify(|alive| *alive += 1);
        tokio::spawn(async move {
            let why = running.see_to_it(stdout, &told).await;
            told.end(&why);
            drop(kept);
            ended.send_replace(Some(Arc::from(why)));
            recipe.alive.send_modify(|alive| *alive -= 1);
        });
        Ok(Process {
            channel,
            stop,
            ended: has_ended,
            last_words,
        })
    }
}

/// A process that runs, or has run.
#[derive(Debug)]
pub(super) struct Process {
    /// To talk to it.
    pub(super) channel: Arc<Channel>,
    stop: watch::Sender<bool>,
    ended: watch::Receiver<Option<Arc<str>>>,
    last_words: Arc<LastWords>,
}

impl Process {
    /// Waits until it has ended, and all that it started; says how.
    pub(super) async fn ended(&self) -> Arc<str> {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_else(|| "".into()),
            Err(_) => "the MCP server's end was not seen".into(),
        }
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Ends it: its input ends first, then it is told to, then it is made to.
    pub(super) async fn stop(&self) {
        self.stop.send_replace(true);
        self.ended().await;
    }

    /// The last lines that it wrote to standard error.
    pub(super) fn last_words(&self) -> Vec<String> {
        self.last_words.lines().iter().cloned().collect()
    }
}

/// The task that sees to a process's end.
struct Running {
    recipe: Arc<Recipe>,
    child: Child,
    group: Option<Pid>,
    writer: JoinHandle<()>,
    log: JoinHandle<()>,
    stopped: watch::Receiver<bool>,
}

/// Why a process is to end.
enum Cause {
    Exited(io::Result<ExitStatus>),
    Output(OutputEnd),
    Stopped,
}

impl Running {
    /// Reads what the process writes until it ends or shall end, and makes sure that it has.
    async fn see_to_it(mut self, stdout: ChildStdout, channel: &Arc<Channel>) -> String {
        let mut output = tokio::spawn(read(stdout, self.recipe.max_message, Arc::clone(channel)));
        let cause = tokio::select! {
            ended = &mut output => Cause::Output(ended.unwrap_or(OutputEnd::Closed)),
            status = self.child.wait() => Cause::Exited(status),
            // Whoever could stop it is gone: nobody needs it.
            () = told_to_stop(&mut self.stopped) => Cause::Stopped,
        };
        // The end of its input, whatever waits for it.
        self.writer.abort();
        let why = match cause {
            Cause::Exited(status) => {
                // What it has written is still in the pipe.
                let _ = timeout(STEP, &mut output).await;
                told(status)
            }
            Cause::Output(OutputEnd::TooLong) => {
                self.signal(Signal::KILL);
                let most = self.recipe.max_message;
                format!("the MCP server wrote a message of more than {most} bytes and was ended")
            }
            Cause::Output(OutputEnd::Closed) => match timeout(STEP, self.child.wait()).await {
                Ok(status) => told(status),
                Err(_) => "the MCP server closed its output and was ended".to_owned(),
            },
            Cause::Stopped => {
                let _ = timeout(STEP, self.child.wait()).await;
                "the MCP server was stopped".to_owned()
            }
        };
        // The rest of its group, and itself if it is still there.
        self.signal(Signal::TERM);
        if timeout(STEP, self.child.wait()).await.is_err() || self.group_is_there() {
            self.after_term().await;
        }
        output.abort();
        let _ = timeout(STEP, &mut self.log).await;
        self.log.abort();
        tracing::info!(server = self.recipe.server, "{why}");
        why
    }

    /// Waits for what SIGTERM has not ended yet, then ends it.
    async fn after_term(&mut self) {
        let gone = async {
            while self.group_is_there() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout(STEP, gone).await.is_err() {
            self.signal(Signal::KILL);
        }
        let _ = timeout(STEP, self.child.wait()).await;
    }

    fn signal(&self, signal: Signal) {
        // It fails when nobody of the group is left, which is what is wanted.
        let _ = self.group.map(|group| kill_process_group(group, signal));
    }

    fn group_is_there(&self) -> bool {
        self.group
            .is_some_and(|group| rustix::process::test_kill_process_group(group).is_ok())
    }
}

fn told(status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => format!("the MCP server ended ({status})"),
        Err(error) => format!("the MCP server's end could not be seen: {error}"),
    }
}

/// How a process's output ended.
enum OutputEnd {
    Closed,
    TooLong,
}

/// Reads messages, one a line, until the end or a line that is too long.
async fn read(stdout: impl AsyncRead + Unpin, most: usize, channel: Arc<Channel>) -> OutputEnd {
    let mut output = BufReader::new(stdout);
    let mut line = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    loop {
        line.clear();
        match (&mut output).take(limit).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return OutputEnd::Closed,
            Ok(_) if line.last() != Some(&b'\n') && line.len() > most => return OutputEnd::TooLong,
            Ok(_) => channel.take(&line),
        }
        // One large message is no reason to keep so much.
        line.shrink_to(64 * 1024);
    }
}

/// Writes messages, one a line, until there are no more or the process does not read.
async fn write(mut stdin: ChildStdin, mut messages: mpsc::Receiver<Vec<u8>>) {
    while let Some(mut line) = messages.recv().await {
        line.push(b'\n');
        if stdin.write_all(&line).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
    }
}

/// The last lines of standard error.
#[derive(Debug, Default)]
struct LastWords(Mutex<VecDeque<String>>);

impl LastWords {
    fn lines(&self) -> std::sync::MutexGuard<'_, VecDeque<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts what a process writes to standard error into the log, line by line.
async fn log(server: String, stderr: impl AsyncRead + Unpin, last_words: Arc<LastWords>) {
    let mut output = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut output)
            .take(LOG_LINE)
            .read_until(b'\n', &mut line)
            .await
        {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = printable(String::from_utf8_lossy(&line).trim_end());
        if text.is_empty() {
            continue;
        }
        tracing::info!(server, "{text}");
        let mut kept = last_words.lines();
        if kept.len() == SHOWN {
            kept.pop_front();
        }
        kept.push_back(text);
    }
}

#[cfg(test)]
mod tests;
