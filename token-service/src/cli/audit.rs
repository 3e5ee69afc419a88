//! `writ audit …`

mod view;

use std::time::Duration;

use clap::{Args, Subcommand, builder::PossibleValuesParser};
use writ_policy::event::CallResult;

use super::{CliError, Output};
use crate::{
    audit::Kind,
    store::{
        Store,
        audit::{Entry, Filter},
    },
};

/// How often the trail is looked at for new records.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How many new records are read at a time.
const PAGE: u32 = 500;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show the newest records.
    List(List),
    /// Show the newest records, then each new one as it comes.
    Tail(List),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// How many of the newest records to begin with.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    limit: u32,
    /// Only this kind.
    #[arg(long, value_parser = PossibleValuesParser::new(Kind::ALL.map(Kind::as_str)))]
    kind: Option<String>,
    /// Only this user or workload.
    #[arg(long)]
    subject: Option<String>,
    /// Only this agent.
    #[arg(long)]
    agent: Option<String>,
    /// Only this server.
    #[arg(long)]
    server: Option<String>,
    /// Only this tool, prompt or URI.
    #[arg(long)]
    target: Option<String>,
    /// Only what belongs to the token of this id (`jti`).
    #[arg(long)]
    token: Option<String>,
    /// Only what belongs to this request (`x-request-id`).
    #[arg(long)]
    request: Option<String>,
    /// Only what belongs to this task.
    #[arg(long)]
    task: Option<String>,
    /// Only calls that ended like this.
    #[arg(long, value_parser = PossibleValuesParser::new(CallResult::ALL.map(CallResult::as_str)))]
    result: Option<String>,
    /// Only from this time on: RFC 3339, such as 2026-11-23T18:00:00Z.
    #[arg(long)]
    since: Option<jiff::Timestamp>,
}

impl List {
    fn filter(&self) -> Filter {
        Filter {
            kind: self
                .kind
                .as_deref()
                .and_then(|word| Kind::ALL.into_iter().find(|k| k.as_str() == word)),
            subject: self.subject.clone(),
            agent: self.agent.clone(),
            server: self.server.clone(),
            target: self.target.clone(),
            token_id: self.token.clone(),
            request_id: self.request.clone(),
            task: self.task.clone(),
            result: self
                .result
                .as_deref()
                .and_then(|word| CallResult::ALL.into_iter().find(|r| r.as_str() == word)),
            since: self.since.map(crate::clock::rfc3339),
        }
    }
}

impl Command {
    pub(super) async fn run(self, store: &Store, output: &mut Output) -> Result<(), CliError> {
        match self {
            Self::List(list) => {
                let entries = store.newest_records(&list.filter(), list.limit).await?;
                if output.is_json() {
                    return entries.iter().try_for_each(|e| output.json(&e.record));
                }
                view::table(&entries, output)
            }
            Self::Tail(list) => tail(store, &list, output).await,
        }
    }
}

async fn tail(store: &Store, list: &List, output: &mut Output) -> Result<(), CliError> {
    let filter = list.filter();
    let mut last = store.last_record().await?;
    let newest = store.newest_records(&filter, list.limit).await?;
    last = newest.last().map_or(last, |e| e.seq.max(last));
    newest.iter().try_for_each(|e| print(e, output))?;
    loop {
        let fresh = store.records_after(&filter, last, PAGE).await?;
        fresh.iter().try_for_each(|e| print(e, output))?;
        if let Some(newest) = fresh.last() {
            last = newest.seq;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY), if fresh.is_empty() => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
            () = std::future::ready(()), if !fresh.is_empty() => {}
        }
    }
}

fn print(entry: &Entry, output: &mut Output) -> Result<(), CliError> {
    if output.is_json() {
        output.json(&entry.record)
    } else {
        output.line(&view::line(&entry.record))
    }
}
