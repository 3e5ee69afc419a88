//! `writ audit export`

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::PathBuf,
};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::{CliError, Output, list::Which};
use crate::{
    audit::Record,
    log::leaf::Logged,
    store::{Store, audit::Filter},
};

/// How many records are read at a time.
const PAGE: u32 = 5000;

#[derive(Debug, Args)]
pub(in crate::cli) struct Export {
    /// How: the log as it is verified, or records for other programs.
    #[arg(long, value_enum, default_value_t = Format::Log)]
    format: Format,
    /// Where to; standard output when absent.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    which: Which,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// JSON lines that `writ audit verify` reads: all of the log, and its checkpoints.
    Log,
    /// JSON lines, a record each.
    Jsonl,
    /// Comma-separated values (RFC 4180).
    Csv,
}

/// A line of an export of the log.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// The public key that checkpoints are signed with.
    Key(String),
    /// A checkpoint that was signed: a C2SP signed note. All come before the records.
    Checkpoint(String),
    /// A record.
    Record(Box<Logged>),
}

impl Export {
    pub(super) async fn run(self, store: &Store) -> Result<(), CliError> {
        let filter = self.which.filter();
        if self.format == Format::Log && filter != Filter::default() {
            return Err(CliError::Usage(
                "a log is verified from its first record on: leave the filters out, or export --format jsonl"
                    .to_owned(),
            ));
        }
        let Some(path) = self.output else {
            return self
                .format
                .write(store, filter, &mut Output::writer())
                .await;
        };
        let failed = |source| CliError::Io {
            action: format!("write {}", path.display()),
            source,
        };
        let mut file = BufWriter::new(File::create(&path).map_err(failed)?);
        self.format.write(store, filter, &mut file).await?;
        let file = file.into_inner().map_err(|e| failed(e.into_error()))?;
        file.sync_all().map_err(failed)
    }
}

impl Format {
    async fn write(
        self,
        store: &Store,
        filter: Filter,
        to: &mut dyn Write,
    ) -> Result<(), CliError> {
        match self {
            Self::Log => log(store, to).await,
            Self::Jsonl => each(store, filter, |record| json_line(to, record)).await,
            Self::Csv => csv(store, filter, to).await,
        }
    }
}

async fn log(store: &Store, to: &mut dyn Write) -> Result<(), CliError> {
    if let Some(key) = store.log_key().await? {
        json_line(to, &Line::Key(key))?;
    }
    for checkpoint in store.checkpoints().await? {
        json_line(to, &Line::Checkpoint(checkpoint.note))?;
    }
    let mut next = 0;
    loop {
        let page = store.logged(next, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        next = last.index + 1;
        for logged in page {
            json_line(to, &Line::Record(Box::new(logged)))?;
        }
    }
}

/// Records that match, the oldest first.
async fn each(
    store: &Store,
    filter: Filter,
    mut write: impl FnMut(&Record) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut last = 0;
    loop {
        let page = store.records_after(&filter, last, PAGE).await?;
        let Some(newest) = page.last() else {
            return Ok(());
        };
        last = newest.seq;
        page.iter().try_for_each(|entry| write(&entry.record))?;
    }
}

fn json_line(to: &mut dyn Write, value: &impl Serialize) -> Result<(), CliError> {
    serde_json::to_writer(&mut *to, value)?;
    to.write_all(b"\n").map_err(CliError::output)
}

async fn csv(store: &Store, filter: Filter, to: &mut dyn Write) -> Result<(), CliError> {
    let failed = |error: csv::Error| CliError::output(io::Error::other(error));
    let mut to = csv::Writer::from_writer(to);
    to.write_record(COLUMNS).map_err(failed)?;
    each(store, filter, |record| {
        to.write_record(columns(record)).map_err(failed)
    })
    .await?;
    to.flush().map_err(CliError::output)
}

const COLUMNS: [&str; 22] = [
    "id",
    "time",
    "kind",
    "subject",
    "agent",
    "gateway",
    "server",
    "method",
    "target",
    "decision",
    "reason",
    "gateway_policy",
    "service_policy",
    "token_id",
    "txn",
    "subject_token_id",
    "content_digest",
    "result_digest",
    "request_id",
    "source_ip",
    "task",
    "detail",
];

/// `detail` is JSON.
fn columns(record: &Record) -> [String; 22] {
    let detail = record.detail.as_ref().map(serde_json::Value::to_string);
    [
        Some(&record.id),
        Some(&record.time),
        Some(&record.kind.as_str().to_owned()),
        record.subject.as_ref(),
        record.agent.as_ref(),
        record.gateway.as_ref(),
        record.server.as_ref(),
        record.method.as_ref(),
        record.target.as_ref(),
        record
            .decision
            .map(|verdict| verdict.as_str().to_owned())
            .as_ref(),
        record.reason.as_ref(),
        record.gateway_policy.as_ref(),
        record.service_policy.as_ref(),
        record.token_id.as_ref(),
        record.txn.as_ref(),
        record.subject_token_id.as_ref(),
        record.content_digest.as_ref(),
        record.result_digest.as_ref(),
        record.request_id.as_ref(),
        record.source_ip.as_ref(),
        record.task.as_ref(),
        detail.as_ref(),
    ]
    .map(|value| value.map(|text| cell(text)).unwrap_or_default())
}

/// What strangers wrote is no formula in anybody's spreadsheet.
fn cell(text: &str) -> String {
    match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{text}"),
        false => text.to_owned(),
    }
}
