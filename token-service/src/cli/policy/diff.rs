//! `writ policy diff`

use std::collections::BTreeSet;

use anstyle::{AnsiColor, Style};
use clap::Args;
use serde_json::json;
use similar::TextDiff;

use super::{CliError, Output, harmless, named};
use crate::{audit::printable, store::Store};

#[derive(Debug, Args)]
pub(in crate::cli) struct Diff {
    /// A published policy by its number or digest, or a directory or OPA bundle.
    from: String,
    /// Another.
    to: String,
}

impl Diff {
    pub(super) async fn run(self, store: &Store, output: &mut Output) -> Result<(), CliError> {
        let from = named(store, &self.from).await?.files;
        let to = named(store, &self.to).await?.files;
        let paths: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
        for path in paths {
            let (before, after) = (from.get(path), to.get(path));
            let change = match (before, after) {
                (before, after) if before == after => continue,
                (None, _) => "added",
                (_, None) => "removed",
                _ => "changed",
            };
            let text = |side: Option<&String>| side.map_or("", |text| text.as_str()).to_owned();
            let name = |side: &str, there: bool| match there {
                true => format!("{side}/{}", printable(path)),
                false => "/dev/null".to_owned(),
            };
            let unified = TextDiff::from_lines(text(before), text(after))
                .unified_diff()
                .header(&name("a", before.is_some()), &name("b", after.is_some()))
                .to_string();
            if output.is_json() {
                output.json(&json!({"path": path, "change": change, "diff": unified}))?;
            } else {
                unified
                    .lines()
                    .try_for_each(|line| output.line(&coloured(line)))?;
            }
        }
        Ok(())
    }
}

fn coloured(line: &str) -> String {
    let colour = match line.chars().next() {
        Some('+') => AnsiColor::Green,
        Some('-') => AnsiColor::Red,
        Some('@') => AnsiColor::Cyan,
        _ => return harmless(line),
    };
    let style = Style::new().fg_color(Some(colour.into()));
    format!("{style}{}{style:#}", harmless(line))
}
