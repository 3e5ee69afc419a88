//! The log as a file: a JSON object a line. First the key, where it begins and its checkpoints, then the records.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::{
    leaf::Logged,
    tree::{Edge, TreeError},
};

/// A line of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The public key that checkpoints are signed with.
    Key(String),
    /// What comes before the first record and is not in the file.
    Begin(Begin),
    /// A checkpoint that was signed: a C2SP signed note. All come before the records.
    Checkpoint(String),
    /// A record.
    Record(Box<Logged>),
}

/// Where a file begins that does not have the log from its first record on, or not to its end.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Begin {
    /// The place of its first record.
    pub size: u64,
    /// One past its last, where it is an archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<u64>,
    /// The hashes at the right edge of the tree before it, level by level, in base64.
    pub edge: Vec<String>,
    /// How many of the records before it were erased, by the record of the erasure.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub erased: BTreeMap<String, u64>,
}

impl Begin {
    /// After a tree with this edge.
    #[must_use]
    pub fn after(edge: &Edge, erased: BTreeMap<String, u64>, end: Option<u64>) -> Self {
        Self {
            size: edge.size(),
            end,
            edge: edge.levels().map(|level| STANDARD.encode(level)).collect(),
            erased,
        }
    }

    /// The edge.
    ///
    /// # Errors
    /// When it is none of a tree of this size.
    pub fn edge(&self) -> Result<Edge, TreeError> {
        let levels = self.edge.iter().map(|level| STANDARD.decode(level));
        let levels = levels.collect::<Result<_, _>>();
        Edge::of(self.size, levels.map_err(|_| TreeError::Damaged(0, 0))?)
    }
}

impl Line {
    /// Writes it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *to, self)?;
        to.write_all(b"\n")
    }
}
