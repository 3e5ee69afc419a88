//! `writ audit export`

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{
    CliError, Output,
    columns::{NAMES, values},
    list::Which,
    parquet::Table,
};
use crate::{
    audit::Record,
    log::{
        lines::{Begin, Line},
        tree::Edge,
        verify::VerifyError,
    },
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
    /// Apache Parquet, for tables.
    Parquet,
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
        // It says what the database says, and is for as few.
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = BufWriter::new(options.open(&path).map_err(failed)?);
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
        to: &mut (dyn Write + Send),
    ) -> Result<(), CliError> {
        match self {
            Self::Log => log(store, to).await,
            Self::Jsonl => each(store, filter, |record| json_line(to, record)).await,
            Self::Csv => csv(store, filter, to).await,
            Self::Parquet => {
                let mut table = Table::begin(to)?;
                each(store, filter, |record| table.add(record)).await?;
                table.end()
            }
        }
    }
}

async fn log(store: &Store, to: &mut dyn Write) -> Result<(), CliError> {
    if let Some(key) = store.log_key().await? {
        json_line(to, &Line::Key(key))?;
    }
    let (begins, erased) = store.log_begins().await?;
    if begins > 0 {
        let tiles = store.tiles(Edge::tiles(begins)).await?;
        let edge = Edge::read(begins, &tiles).map_err(VerifyError::from)?;
        json_line(to, &Line::Begin(Begin::after(&edge, erased, None)))?;
    }
    for checkpoint in store.checkpoints().await? {
        json_line(to, &Line::Checkpoint(checkpoint.note))?;
    }
    let mut next = begins;
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
    to.write_record(NAMES).map_err(failed)?;
    each(store, filter, |record| {
        let cells = values(record).map(|value| value.map(|text| cell(&text)).unwrap_or_default());
        to.write_record(cells).map_err(failed)
    })
    .await?;
    to.flush().map_err(CliError::output)
}

/// What strangers wrote is no formula in anybody's spreadsheet.
fn cell(text: &str) -> String {
    match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{text}"),
        false => text.to_owned(),
    }
}
