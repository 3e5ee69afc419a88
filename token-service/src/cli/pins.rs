//! `writ server pin`, `unpin` and `pins`

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::{Value, json};
use writ_policy::pin::Definition;

use super::{CliError, Output, pairs};
use crate::{
    audit::printable,
    clock::{Clock as _, SystemClock},
    registry::definitions::{self, Difference},
    store::{Store, pins::Pinned},
};

/// The largest list that is read, in bytes.
const LARGEST: u64 = 64 * 1024 * 1024;

#[derive(Debug, Args)]
pub(super) struct Pin {
    /// The server's id.
    id: String,
    /// What the server answers to `tools/list`, its `result`, or the `tools` in it (JSON); `-` reads standard input.
    list: PathBuf,
    /// Only this tool of the list; may be repeated.
    #[arg(long = "tool", value_name = "TOOL")]
    tools: Vec<String>,
    /// Say what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Who approves of it.
    #[arg(long, env = "USER", value_parser = pairs::text)]
    author: String,
}

#[derive(Debug, Args)]
pub(super) struct Unpin {
    /// The server's id.
    id: String,
    /// A tool; may be repeated.
    #[arg(
        long = "tool",
        value_name = "TOOL",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    tools: Vec<String>,
    /// All of its tools.
    #[arg(long)]
    all: bool,
    /// Who does it.
    #[arg(long, env = "USER", value_parser = pairs::text)]
    author: String,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// The server's id.
    id: String,
}

/// What becomes of a tool.
struct Change {
    tool: String,
    what: &'static str,
    digest: String,
    differences: Vec<Difference>,
}

impl Pin {
    pub(super) async fn run(self, store: &Store, output: &mut Output) -> Result<(), CliError> {
        let mut listed = definitions::read(&read(&self.list)?)
            .map_err(|problem| CliError::Usage(format!("{}: {problem}", self.list.display())))?;
        let wanted: BTreeSet<String> = self.tools.into_iter().collect();
        if let Some(missing) = wanted.iter().find(|tool| !listed.contains_key(*tool)) {
            return Err(CliError::Usage(format!(
                "{} has no tool {missing:?}",
                self.list.display()
            )));
        }
        let all = wanted.is_empty();
        let is_meant = |tool: &String| all || wanted.contains(tool);
        listed.retain(|tool, _| is_meant(tool));
        let pinned = store.pins(&self.id).await?;
        let of = |tool: &str| pinned.iter().find(|pinned| pinned.definition.name == tool);
        let gone = pinned
            .iter()
            .map(|pinned| &pinned.definition)
            .filter(|tool| is_meant(&tool.name) && !listed.contains_key(&tool.name))
            .map(|tool| Change::new(tool, "not in this list", Vec::new()));
        let mut changes: Vec<Change> = listed
            .values()
            .map(|tool| Change::of(tool, of(&tool.name)))
            .chain(gone)
            .collect();
        changes.sort_by(|one, other| one.tool.cmp(&other.tool));
        if !self.dry_run {
            store
                .pin(&self.id, listed.values(), &self.author, SystemClock.now())
                .await?;
        }
        for change in &changes {
            change.print(output)?;
        }
        let news = changes.iter().filter(|change| change.is_news()).count();
        let done = match self.dry_run {
            true => "would be pinned",
            false => "pinned",
        };
        match output.is_json() {
            true => Ok(()),
            false => output.line(&format!("{news} of {} {done}", listed.len())),
        }
    }
}

impl Unpin {
    pub(super) async fn run(self, store: &Store, output: &mut Output) -> Result<(), CliError> {
        let tools = (!self.all).then_some(&*self.tools);
        let gone = store
            .unpin(&self.id, tools, &self.author, SystemClock.now())
            .await?;
        gone.iter()
            .try_for_each(|tool| output.done("tool", tool, "unpinned"))
    }
}

impl List {
    pub(super) async fn run(self, store: &Store, output: &mut Output) -> Result<(), CliError> {
        let pinned = store.pins(&self.id).await?;
        if output.is_json() {
            return pinned.iter().try_for_each(|pinned| {
                let tool = &pinned.definition;
                let definition: Value = serde_json::from_str(&tool.canonical)?;
                output.json(&json!({
                    "tool": tool.name, "digest": tool.pin.digest.to_string(), "by": pinned.by, "since": pinned.at,
                    "annotations": tool.pin.hints.iter().collect::<BTreeMap<_, _>>(),
                    "definition": definition,
                }))
            });
        }
        output.table(
            &pinned,
            ["TOOL", "SINCE", "BY", "ANNOTATIONS", "DIGEST"],
            |pinned| {
                let tool = &pinned.definition;
                let hints = tool.pin.hints.iter();
                let hints = hints.map(|(name, value)| format!("{name}={value}"));
                [
                    tool.name.clone(),
                    pinned.at.clone(),
                    pinned.by.clone(),
                    hints.collect::<Vec<_>>().join(" "),
                    tool.pin.digest.to_string(),
                ]
            },
        )
    }
}

impl Change {
    fn new(tool: &Definition, what: &'static str, differences: Vec<Difference>) -> Self {
        Self {
            tool: tool.name.clone(),
            what,
            digest: tool.pin.digest.to_string(),
            differences,
        }
    }

    fn of(tool: &Definition, pinned: Option<&Pinned>) -> Self {
        match pinned.map(|pinned| &pinned.definition) {
            None => Self::new(tool, "new", Vec::new()),
            Some(before) if before.pin == tool.pin => Self::new(tool, "unchanged", Vec::new()),
            Some(before) => {
                let differences = definitions::differences(&before.canonical, &tool.canonical);
                Self::new(tool, "changed", differences)
            }
        }
    }

    fn is_news(&self) -> bool {
        matches!(self.what, "new" | "changed")
    }

    fn print(&self, output: &mut Output) -> Result<(), CliError> {
        if output.is_json() {
            return output.json(&json!({
                "tool": self.tool, "change": self.what, "digest": self.digest, "differences": self.differences,
            }));
        }
        output.line(&format!("{}: {}", printable(&self.tool), self.what))?;
        self.differences.iter().try_for_each(|difference| {
            let Difference {
                path,
                before,
                after,
            } = difference;
            output.line(&format!("  {}", seen(path)))?;
            let mut side = |sign, value: &Option<Value>| match value {
                Some(value) => output.line(&format!("  {sign} {}", seen(&value.to_string()))),
                None => Ok(()),
            };
            side('-', before)?;
            side('+', after)
        })
    }
}

/// A text with everything in it that nobody sees, and models read, made visible.
fn seen(text: &str) -> String {
    let seen = text.chars().map(|c| match c {
        ' '..='~' => c.to_string(),
        c => c.escape_debug().to_string(),
    });
    seen.collect()
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let failed = |source| CliError::Io {
        action: format!("read {}", path.display()),
        source,
    };
    let from: Box<dyn std::io::Read> = match path.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ => Box::new(std::fs::File::open(path).map_err(failed)?),
    };
    let mut bytes = Vec::new();
    from.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > LARGEST {
        let told = format!("{} has more than {LARGEST} bytes", path.display());
        return Err(CliError::Usage(told));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_models_read_is_made_visible() {
        let tagged = "Shows é\u{200b}\u{e0049}\u{202e}\n";
        assert_eq!(seen(tagged), r"Shows é\u{200b}\u{e0049}\u{202e}\n");
    }
}
