//! What commands print: tables and sentences for people, JSON lines for machines.

use std::io::Write as _;

use comfy_table::{ContentArrangement, LineStyle, Table, presets};
use serde::Serialize;
use serde_json::json;

use super::CliError;
use crate::{
    audit::printable,
    registry::{Origin, Status},
};

/// Standard output and error of a command.
#[derive(Debug)]
pub struct Output {
    json: bool,
}

impl Output {
    /// For people, or for machines.
    #[must_use]
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether a machine reads it.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Standard output, for much.
    pub(super) fn writer() -> impl std::io::Write + Send {
        std::io::BufWriter::new(std::io::stdout())
    }

    /// One line, as it is; colours only reach a terminal.
    pub(super) fn line(&mut self, text: &str) -> Result<(), CliError> {
        let mut out = anstream::stdout().lock();
        writeln!(out, "{text}")
            .and_then(|()| out.flush())
            .map_err(CliError::output)
    }

    /// One object, on a line of its own.
    pub(super) fn json<T: Serialize>(&mut self, value: &T) -> Result<(), CliError> {
        let text = serde_json::to_string(value)?;
        self.line(&text)
    }

    /// What was registered, with the secret that is shown this once, if there is one.
    pub(super) fn added(
        &mut self,
        what: &str,
        id: &str,
        secret: Option<(&str, &str)>,
    ) -> Result<(), CliError> {
        if self.json {
            return match secret {
                Some((_, secret)) => self.json(&json!({"id": id, "secret": secret})),
                None => self.json(&json!({"id": id})),
            };
        }
        self.line(&format!("{what} {id} added"))?;
        match secret {
            Some((name, secret)) => self.line(&format!("{name} (shown this once): {secret}")),
            None => Ok(()),
        }
    }

    /// What was switched on or off.
    pub(super) fn switched(
        &mut self,
        what: &str,
        id: &str,
        status: Status,
    ) -> Result<(), CliError> {
        if self.json {
            return self.json(&json!({"id": id, "status": status}));
        }
        self.line(&format!("{what} {id} is {}", status_word(status)))
    }

    /// What has become of something: `done` is a participle.
    pub(super) fn done(&mut self, what: &str, id: &str, done: &str) -> Result<(), CliError> {
        if self.json {
            return self.json(&json!({"id": id, "done": done}));
        }
        self.line(&format!("{what} {} is {done}", printable(id)))
    }

    /// A table.
    pub(super) fn table<T, const N: usize>(
        &mut self,
        items: &[T],
        header: [&str; N],
        row: impl Fn(&T) -> [String; N],
    ) -> Result<(), CliError> {
        if items.is_empty() {
            return self.line("nothing found");
        }
        let mut table = Table::new();
        table
            .load_style(presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()))
            .set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(header);
        for item in items {
            table.add_row(row(item).map(|cell| printable(&cell)));
        }
        self.line(&table.trim_fmt())
    }

    /// Says what went wrong, on standard error.
    pub fn error(&mut self, error: &CliError) {
        if error.reader_is_gone() {
            return;
        }
        let style = anstyle::Style::new()
            .bold()
            .fg_color(Some(anstyle::AnsiColor::Red.into()));
        let _ = writeln!(anstream::stderr().lock(), "{style}error:{style:#} {error}");
    }
}

/// The word people read for a status.
pub(super) fn status_word(status: Status) -> &'static str {
    match status {
        Status::Approved => "enabled",
        Status::Pending => "pending",
        Status::Disabled => "disabled",
    }
}

/// The word people read for where a registration came from.
pub(super) fn origin_word(origin: Origin) -> &'static str {
    match origin {
        Origin::Admin => "admin",
        Origin::Dynamic => "itself",
        Origin::MetadataDocument => "its document",
    }
}
