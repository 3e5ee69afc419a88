//! `writ task …`

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::json;

use super::{ById, CliError, Output};
use crate::{
    clock::{Clock as _, SystemClock, rfc3339},
    store::{Store, StoreError},
    task::{Task, Tools},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the tasks, the newest first.
    List(List),
    /// Show one task.
    Show(ById),
    /// End a task: calls within it are refused, at once.
    Close(ById),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// How many at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

impl Command {
    pub(super) async fn run(self, store: &Store, output: &mut Output) -> Result<(), CliError> {
        let now = SystemClock.now();
        match self {
            Self::List(List { limit }) => list(&store.tasks(limit).await?, now, output),
            Self::Show(ById { id }) => {
                let found = store.task(&id, now).await?;
                let found = found.ok_or(StoreError::NotFound { what: "task", id })?;
                show(&found.task, now, output)
            }
            Self::Close(ById { id }) => {
                let task = store.close_task(&id, now).await?;
                if output.is_json() {
                    return show(&task, now, output);
                }
                output.line(&format!("task {} is {}", task.id, task.state(now).as_str()))
            }
        }
    }
}

fn list(tasks: &[Task], now: Timestamp, output: &mut Output) -> Result<(), CliError> {
    if output.is_json() {
        return tasks.iter().try_for_each(|t| show(t, now, output));
    }
    let header = ["ID", "STATE", "WHO", "AGENT", "CALLS", "TOOLS", "PURPOSE"];
    output.table(tasks, header, |t| {
        [
            t.id.clone(),
            t.state(now).as_str().to_owned(),
            t.subject.clone(),
            t.agent.clone(),
            calls(t),
            tools(&t.tools),
            t.purpose.clone(),
        ]
    })
}

fn show(task: &Task, now: Timestamp, output: &mut Output) -> Result<(), CliError> {
    if output.is_json() {
        return output.json(&json!({
            "id": task.id, "state": task.state(now), "subject": task.subject, "agent": task.agent, "purpose": task.purpose,
            "tools": task.tools, "calls": task.calls, "max_calls": task.max_calls, "opened": rfc3339(task.opened),
            "expires": rfc3339(task.expires), "closed": task.closed.map(rfc3339), "txn": task.txn,
        }));
    }
    let rows = [
        ("id", task.id.clone()),
        ("state", task.state(now).as_str().to_owned()),
        ("who", task.subject.clone()),
        ("agent", task.agent.clone()),
        ("purpose", task.purpose.clone()),
        ("tools", tools(&task.tools)),
        ("calls", calls(task)),
        ("opened", rfc3339(task.opened)),
        ("expires", rfc3339(task.expires)),
        ("closed", task.closed.map(rfc3339).unwrap_or_default()),
        ("txn", task.txn.clone()),
    ];
    output.table(&rows, ["", ""], |(name, value)| {
        [(*name).to_owned(), value.clone()]
    })
}

fn calls(task: &Task) -> String {
    match task.max_calls {
        Some(most) => format!("{} of {most}", task.calls),
        None => task.calls.to_string(),
    }
}

/// `server:tool server:tool`, as they are typed.
fn tools(tools: &Tools) -> String {
    tools
        .iter()
        .flat_map(|(server, tools)| tools.iter().map(move |tool| format!("{server}:{tool}")))
        .collect::<Vec<_>>()
        .join(" ")
}
