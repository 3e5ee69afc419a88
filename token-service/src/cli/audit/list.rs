//! `writ audit list` and `tail`.

use std::time::Duration;

use clap::{Args, builder::PossibleValuesParser};
use writ_policy::event::CallResult;

use super::{CliError, Output, view};
use crate::{
    audit::{Kind, Verdict},
    store::{
        Store,
        audit::{Entry, Filter},
    },
};

/// How often the trail is looked at for new records.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How many new records are read at a time.
const PAGE: u32 = 500;

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// How many of the newest records to begin with.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    limit: u32,
    #[command(flatten)]
    which: Which,
}

/// Which records; what is not given does not matter.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Only this kind.
    #[arg(long, value_parser = PossibleValuesParser::new(Kind::ALL.map(Kind::as_str)))]
    kind: Option<String>,
    /// Only what was found that should not be: as `--kind rogue`.
    #[arg(long, conflicts_with = "kind")]
    rogue: bool,
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
    /// Only what was decided like this.
    #[arg(long, value_parser = PossibleValuesParser::new(["allow", "deny"]))]
    decision: Option<String>,
    /// Only what belongs to the token of this id (`jti`).
    #[arg(long)]
    token: Option<String>,
    /// Only what belongs to this transaction (`txn`).
    #[arg(long)]
    txn: Option<String>,
    /// Only what belongs to this request (`x-request-id`).
    #[arg(long)]
    request: Option<String>,
    /// Only what belongs to this task.
    #[arg(long)]
    task: Option<String>,
    /// Only what belongs to the trace of this id (W3C Trace Context).
    #[arg(long, value_name = "ID", value_parser = trace_id)]
    trace: Option<String>,
    /// Only what belongs to this session at a server, as policies know it (`input.mcp.session`) and records have it.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Only calls that ended like this.
    #[arg(long, value_parser = PossibleValuesParser::new(CallResult::ALL.map(CallResult::as_str)))]
    result: Option<String>,
    /// Only calls that were let through and of which nobody has said how they ended.
    #[arg(long)]
    without_outcome: bool,
    /// Only from this time on: RFC 3339, such as 2026-11-23T18:00:00Z.
    #[arg(long)]
    since: Option<jiff::Timestamp>,
    /// Only before this time.
    #[arg(long)]
    until: Option<jiff::Timestamp>,
    /// Only before the record of this id: the first of a page, for the page before it.
    #[arg(long, value_name = "ID", value_parser = record_id)]
    before: Option<String>,
}

/// The id of a record.
pub(in crate::cli) fn record_id(text: &str) -> Result<String, String> {
    match uuid::Uuid::try_parse(text) {
        Ok(id) => Ok(id.to_string()),
        Err(_) => Err("a record's id is a UUID, as `writ audit list` shows it".to_owned()),
    }
}

/// The id of a trace, alone or in a `traceparent`.
fn trace_id(text: &str) -> Result<String, String> {
    let of_parent = || writ_core::trace::Context::parse(text).map(|context| context.trace_id());
    let is_one = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_one
        .then(|| text.to_owned())
        .or_else(of_parent)
        .ok_or_else(|| {
            "a trace's id has 32 digits 0-9 and a-f (W3C Trace Context section 3.2.2.3); a whole traceparent will do"
                .to_owned()
        })
}

impl Which {
    pub(super) fn filter(&self) -> Filter {
        let named = |word: &Option<String>| word.clone().unwrap_or_default();
        Filter {
            kind: Kind::ALL.into_iter().find(|kind| {
                kind.as_str() == named(&self.kind) || (self.rogue && *kind == Kind::Rogue)
            }),
            finding: None,
            subject: self.subject.clone(),
            agent: self.agent.clone(),
            server: self.server.clone(),
            target: self.target.clone(),
            decision: [Verdict::Allow, Verdict::Deny]
                .into_iter()
                .find(|verdict| verdict.as_str() == named(&self.decision)),
            token_id: self.token.clone(),
            txn: self.txn.clone(),
            request_id: self.request.clone(),
            task: self.task.clone(),
            trace: self.trace.clone(),
            session: self.session.clone(),
            result: CallResult::ALL
                .into_iter()
                .find(|result| result.as_str() == named(&self.result)),
            without_outcome: self.without_outcome,
            since: self.since,
            until: self.until,
            before: self.before.clone(),
        }
    }
}

impl List {
    pub(super) async fn run(self, store: &Store, output: &mut Output) -> Result<(), CliError> {
        let entries = store
            .newest_records(&self.which.filter(), self.limit)
            .await?;
        if output.is_json() {
            return entries.iter().try_for_each(|e| output.json(&e.record));
        }
        view::table(&entries, output)
    }

    pub(super) async fn tail(self, store: &Store, output: &mut Output) -> Result<(), CliError> {
        let filter = self.which.filter();
        let mut last = store.last_record().await?;
        let newest = store.newest_records(&filter, self.limit).await?;
        // What came since is read next, with what may still come before it.
        let mut settled = newest.iter().filter(|e| e.seq <= last);
        settled.try_for_each(|e| print(e, output))?;
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
}

/// Which calls to count.
#[derive(Debug, Args)]
pub(in crate::cli) struct Stats {
    /// How many of the most frequent to show.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    #[command(flatten)]
    which: Which,
}

impl Stats {
    pub(super) async fn run(self, store: &Store, output: &mut Output) -> Result<(), CliError> {
        let tallies = store.tally(&self.which.filter(), self.limit).await?;
        if output.is_json() {
            return tallies.iter().try_for_each(|tally| output.json(tally));
        }
        let header = [
            "AGENT",
            "SERVER",
            "CALL",
            "ALLOWED",
            "REFUSED",
            "ENDED BADLY",
        ];
        output.table(&tallies, header, |tally| {
            let text = |field: &Option<String>| field.clone().unwrap_or_default();
            [
                text(&tally.agent),
                text(&tally.server),
                text(&tally.target),
                tally.allowed.to_string(),
                tally.denied.to_string(),
                tally.failed.to_string(),
            ]
        })
    }
}

fn print(entry: &Entry, output: &mut Output) -> Result<(), CliError> {
    if output.is_json() {
        output.json(&entry.record)
    } else {
        output.line(&view::line(&entry.record))
    }
}
