//! What the documentation shows: run and loaded by tests as it stands there.

use anyhow::{Context, Result, ensure};

use crate::binaries::workspace;

/// The fenced blocks of a document whose info string is `info`; there must be one.
pub fn blocks(document: &str, info: &str) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(workspace().join(document))
        .with_context(|| format!("cannot read {document}"))?;
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.strip_prefix("```") == Some(info) {
            let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push(block.join("\n"));
        }
    }
    ensure!(!blocks.is_empty(), "{document} has no ```{info} block");
    Ok(blocks)
}
