//! `writ audit verify`: is the log what it was? Looks at a database or an export, and changes nothing.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::json;

use super::{CliError, Output};
use crate::{
    config::Config,
    log::{
        checkpoint::{CheckpointError, Head, PublicKey},
        lines::{Begin, Line},
        verify::{self, Fault, Intact, Verifier, VerifyError},
    },
    store::Store,
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Verify {
    /// An export of the log, or an archive; the database in the data directory when absent.
    export: Option<PathBuf>,
    /// An archive, to be looked at before the database; may be repeated.
    #[arg(long = "archive", value_name = "FILE", conflicts_with = "export")]
    archives: Vec<PathBuf>,
    /// A checkpoint that was kept somewhere else; may be repeated.
    #[arg(long = "checkpoint", value_name = "FILE")]
    checkpoints: Vec<PathBuf>,
    /// The log's key, or that of a witness, as `writ audit key` prints it; may be repeated. When absent, what is verified is
    /// trusted to name its key itself.
    #[arg(long = "key", value_name = "NAME+ID+KEY")]
    keys: Vec<String>,
}

impl Verify {
    pub(in crate::cli) async fn run(
        self,
        config: &Config,
        output: &mut Output,
    ) -> Result<(), CliError> {
        let (intact, waiting) = match &self.export {
            Some(path) => (self.export(path)?, 0),
            None => {
                self.database(&Store::look_at(&config.place()).await?)
                    .await?
            }
        };
        if output.is_json() {
            return output.json(&json!({ "intact": intact, "not_yet_sequenced": waiting }));
        }
        output.line(&told(&intact, waiting))
    }

    async fn database(&self, store: &Store) -> Result<(Intact, u64), CliError> {
        let trusted = self.trusted(store.log_key().await?)?;
        let kept = store.checkpoints().await?;
        let archives = self.archives.iter().map(|path| Header::of(path));
        let mut archives = archives.collect::<Result<Vec<_>, _>>()?;
        archives.sort_by_key(|archive| archive.begin.size);
        let archived = archives.iter().flat_map(|archive| &archive.notes);
        let heads = archived.map(|note| (note.as_str(), "in an archive")).chain(
            kept.iter()
                .map(|kept| (kept.note.as_str(), "in the database")),
        );
        let mut verifier = self.verifier(&trusted, heads)?;
        for (nth, Header { path, begin, .. }) in archives.iter().enumerate() {
            if nth == 0 {
                verifier = verifier.begin(begin)?;
            } else {
                verifier = verifier.go_on(begin.end)?;
                let (from, to) = (verifier.size(), begin.size);
                if from != to {
                    return Err(VerifyError::from(Fault::Gap { from, to }).into());
                }
            }
            for line in lines(path)? {
                if let Line::Record(logged) = line? {
                    verifier.next(&logged)?;
                }
            }
        }
        let verifier = verifier.go_on(None)?;
        let intact = verify::database(store, verifier).await?;
        Ok((intact, store.unsequenced_count().await?))
    }

    fn export(&self, path: &Path) -> Result<Intact, CliError> {
        let Header {
            key, begin, notes, ..
        } = Header::of(path)?;
        let Some(key) = key else {
            let told = format!(
                "{}: no export of a log: it does not begin with the log's key; `writ audit export` writes one",
                path.display()
            );
            return Err(CliError::Usage(told));
        };
        let trusted = self.trusted(Some(key))?;
        let is_checked = !notes.is_empty() || !self.checkpoints.is_empty();
        let heads = notes.iter().map(|note| (note.as_str(), "in the export"));
        let mut verifier = self.verifier(&trusted, heads)?.begin(&begin)?;
        for line in lines(path)? {
            if let Line::Record(logged) = line? {
                verifier.next(&logged)?;
            }
        }
        let intact = verifier.end()?;
        if intact.size == 0 && !is_checked {
            let told = format!(
                "{}: there is no record in it, and no checkpoint: export the log again with `writ audit export`",
                path.display()
            );
            return Err(CliError::Usage(told));
        }
        Ok(intact)
    }

    /// The keys that count.
    fn trusted(&self, named: Option<String>) -> Result<Vec<PublicKey>, CliError> {
        let given = match self.keys.is_empty() {
            true => named.into_iter().collect(),
            false => self.keys.clone(),
        };
        let keys = given.iter().map(|key| PublicKey::parse(key));
        keys.collect::<Result<_, _>>()
            .map_err(|error| CliError::Usage(error.to_string()))
    }

    /// With the checkpoints that are there, as far as a key that counts has signed them, and those that were given, all of
    /// which it must have signed.
    fn verifier<'a>(
        &self,
        trusted: &[PublicKey],
        there: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Verifier, CliError> {
        let (mut heads, mut others) = (Vec::new(), None);
        for (note, place) in there {
            match head(note, trusted) {
                Ok(head) => heads.push(head),
                Err(error @ (NotOne::Unsigned | NotOne::NoKey)) => {
                    others.get_or_insert_with(|| error.of(note, place));
                }
                Err(error) => return Err(error.of(note, place)),
            }
        }
        if let Some(error) = others.filter(|_| heads.is_empty()) {
            return Err(error);
        }
        for path in &self.checkpoints {
            let note = std::fs::read_to_string(path).map_err(|source| CliError::Io {
                action: format!("read {}", path.display()),
                source,
            })?;
            let head = head(&note, trusted);
            heads.push(head.map_err(|error| error.of(&note, &path.display().to_string()))?);
        }
        Ok(Verifier::new(heads).map_err(VerifyError::from)?)
    }
}

/// Why a checkpoint does not count.
#[derive(Debug, thiserror::Error)]
enum NotOne {
    #[error("no key to verify it with is known: give --key")]
    NoKey,
    #[error("none of the keys has signed it; `writ audit key` prints the log's")]
    Unsigned,
    #[error(transparent)]
    Wrong(CheckpointError),
}

impl NotOne {
    fn of(&self, note: &str, place: &str) -> CliError {
        let size = note
            .lines()
            .nth(1)
            .and_then(|line| line.parse::<u64>().ok());
        let which = match size {
            Some(size) => format!("the checkpoint of {size} records {place}"),
            None => format!("what should be a checkpoint, {place},"),
        };
        CliError::Usage(format!("{which} does not count: {self}"))
    }
}

/// The checkpoint, where one of the keys has signed it.
fn head(note: &str, trusted: &[PublicKey]) -> Result<Head, NotOne> {
    let mut why = NotOne::NoKey;
    for key in trusted {
        match Head::read(note, key) {
            Ok(head) => return Ok(head),
            Err(CheckpointError::Unsigned(_)) if !matches!(why, NotOne::Wrong(_)) => {
                why = NotOne::Unsigned;
            }
            Err(CheckpointError::Unsigned(_)) => {}
            Err(error) => why = NotOne::Wrong(error),
        }
    }
    Err(why)
}

/// What comes before the records of a file.
struct Header<'a> {
    path: &'a Path,
    key: Option<String>,
    begin: Begin,
    notes: Vec<String>,
}

impl<'a> Header<'a> {
    fn of(path: &'a Path) -> Result<Self, CliError> {
        let mut header = Self {
            path,
            key: None,
            begin: Begin::default(),
            notes: Vec::new(),
        };
        for line in lines(path)? {
            match line? {
                Line::Key(key) => header.key = Some(key),
                Line::Begin(begin) => header.begin = begin,
                Line::Checkpoint(note) => header.notes.push(note),
                Line::Record(_) => break,
            }
        }
        Ok(header)
    }
}

fn lines(path: &Path) -> Result<impl Iterator<Item = Result<Line, CliError>>, CliError> {
    let failed = |source| CliError::Io {
        action: format!("read {}", path.display()),
        source,
    };
    let file = BufReader::new(File::open(path).map_err(failed)?);
    let lines = (1..).zip(file.lines());
    Ok(lines.map(move |(number, line): (u64, _)| {
        serde_json::from_str(&line.map_err(failed)?).map_err(|error| {
            CliError::Usage(format!(
                "{}:{number}: no line of an export of the log: {error}",
                path.display()
            ))
        })
    }))
}

fn told(intact: &Intact, waiting: u64) -> String {
    let mut text = format!("intact: {} records", intact.size);
    match intact.checkpoint {
        Some(size) => text.push_str(&format!(", as in the checkpoint of {size}")),
        None => text.push_str(", but no checkpoint to compare them with"),
    }
    if intact.erased > 0 {
        text.push_str(&format!(
            "; {} of them about people who were erased",
            intact.erased
        ));
    }
    if intact.archived > 0 {
        text.push_str(&format!(
            "; the first {} are archived, and only their hashes were looked at: name their archives with --archive",
            intact.archived
        ));
    }
    if waiting > 0 {
        text.push_str(&format!("; {waiting} more are not in the log yet"));
    }
    text.push_str(&format!("\nroot {}", intact.root));
    text
}
