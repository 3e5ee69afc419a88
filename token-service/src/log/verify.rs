//! Whether a log is what it was: each record's leaf against its hash, the tree's root against checkpoints. Needs no service
//! and no network, only an export or a database, and the checkpoints that somebody kept.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tlog_tiles::Hash;

use super::{
    checkpoint::Head,
    leaf::{Leaf, Logged},
    lines::Begin,
    tree::{self, Edge, TreeError},
};
use crate::store::{Store, StoreError};

/// How many records are read at a time.
const PAGE: u32 = 5000;
/// So many records from the first wrong one on are read, to tell what was done.
const LOOKED_AT: usize = 10_000;

/// What the log shows where it is not what it was. Records are named by their place in the log, from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// A place is empty.
    #[error("record {index} was dropped: after {before} comes {found}")]
    Dropped {
        /// The first that is not there.
        index: u64,
        /// The last before it, where there is one.
        before: String,
        /// What is there instead.
        found: u64,
    },
    /// A record is not where it was.
    #[error("record {index} was moved: it belongs at {belongs}")]
    Moved {
        /// Where it is.
        index: u64,
        /// Where its hash is.
        belongs: u64,
    },
    /// A record is there that the log does not have.
    #[error("record {index} ({id}) was inserted: the log never had it")]
    Inserted {
        /// Where.
        index: u64,
        /// What it calls itself.
        id: String,
    },
    /// A record is in the trail that no place in the log is left for.
    #[error(
        "record {id} was inserted into the trail: it is in no place of the log, and those after it are"
    )]
    Stray {
        /// What it calls itself.
        id: String,
    },
    /// A record does not say what it said.
    #[error("record {index} ({id}) was changed")]
    Changed {
        /// Which one.
        index: u64,
        /// What it calls itself.
        id: String,
    },
    /// What it says about a person is not what was committed to.
    #[error("what record {index} ({id}) says about a person was changed")]
    PersonChanged {
        /// Which one.
        index: u64,
        /// What it calls itself.
        id: String,
    },
    /// That is gone, and nobody erased it.
    #[error(
        "what record {index} ({id}) said about a person is gone, and no erasure on record accounts for it"
    )]
    PersonGone {
        /// Which one.
        index: u64,
        /// What it calls itself.
        id: String,
    },
    /// Records and hashes agree with each other, but not with a checkpoint.
    #[error(
        "the first record that was changed, dropped, moved or inserted is one of {from} to {to}: the log is not what its checkpoint of {to} records says"
    )]
    Rewritten {
        /// The first that may be it.
        from: u64,
        /// The size of the checkpoint.
        to: u64,
    },
    /// The log ends before a checkpoint does.
    #[error(
        "the log ends after {size} records, and a checkpoint has {checkpoint}: the rest was dropped"
    )]
    Short {
        /// What there is.
        size: u64,
        /// What there was.
        checkpoint: u64,
    },
    /// Records and checkpoints agree, but not the hashes that proofs are made of.
    #[error(
        "the records are what they were, but the tree's hashes in the database are not: no proof can be made of them"
    )]
    Hashes,
    /// Records at the beginning are not there, and no record says that they were archived.
    #[error("the first {size} records are gone, and no archiving on record accounts for that")]
    Unarchived {
        /// How many.
        size: u64,
    },
    /// What was given does not reach to what is in the database.
    #[error("records {from} to {to} are archived, and their archive was not given")]
    Gap {
        /// The first.
        from: u64,
        /// One past the last.
        to: u64,
    },
    /// Two checkpoints of one size, both signed, are not of one tree.
    #[error("two checkpoints of {size} records have different roots: the log has told two stories")]
    Split {
        /// Their size.
        size: u64,
    },
}

/// Of a log in which nothing was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Intact {
    /// Records in it.
    pub size: u64,
    /// Records at its beginning that are archived, and were not looked at.
    pub archived: u64,
    /// The root of their tree, in base64.
    pub root: String,
    /// The largest checkpoint that it was compared with.
    pub checkpoint: Option<u64>,
    /// Records about whom something was erased.
    pub erased: u64,
}

/// Why a log was not looked at to its end.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is not what it was.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// A leaf could not be written down.
    #[error("a record cannot be written down: {0}")]
    Json(#[from] serde_json::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The tree that is built does not hold.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Goes over a log, record by record.
#[derive(Clone, Debug)]
pub struct Verifier {
    edge: Edge,
    /// Where it began, and where it has to end, when that is known.
    began: u64,
    until: Option<u64>,
    /// Erased before that, by the id of the erasure.
    erased_before: BTreeMap<String, u64>,
    /// Ends of archives that records tell of.
    archived: BTreeSet<u64>,
    checkpoints: BTreeMap<u64, Hash>,
    /// Up to here a checkpoint says so.
    sure: u64,
    last_id: String,
    /// By the id of the erasure: how many records name it, and the first.
    erased: BTreeMap<String, (u64, u64, String)>,
    /// How many an erasure says it erased.
    erasures: BTreeMap<String, u64>,
    /// Records and hashes that do not belong to each other, until it is clear why.
    doubt: Option<Doubt>,
}

/// A record that has not the hash of its place, with those after it: by those it is seen what was done.
#[derive(Clone, Debug)]
struct Doubt {
    index: u64,
    id: String,
    /// Of the last record before it.
    before: String,
    /// The records' hashes, as they are now.
    found: Vec<Hash>,
    /// The hashes of their places.
    kept: Vec<Option<Hash>>,
}

impl Verifier {
    /// With the checkpoints that were kept, each with a signature that was verified.
    ///
    /// # Errors
    /// When two of them contradict each other.
    pub fn new(checkpoints: impl IntoIterator<Item = Head>) -> Result<Self, Fault> {
        let mut by_size = BTreeMap::new();
        for head in checkpoints {
            let size = head.size;
            if *by_size.entry(size).or_insert(head.root) != head.root {
                return Err(Fault::Split { size });
            }
        }
        Ok(Self {
            edge: Edge::default(),
            began: 0,
            until: None,
            erased_before: BTreeMap::new(),
            archived: BTreeSet::new(),
            checkpoints: by_size,
            sure: 0,
            last_id: String::new(),
            erased: BTreeMap::new(),
            erasures: BTreeMap::new(),
            doubt: None,
        })
    }

    /// Begins after the first records, which are somewhere else. Checkpoints of fewer are not looked at.
    ///
    /// # Errors
    /// When the tree of those is none, or not that of a checkpoint.
    pub fn begin(mut self, begin: &Begin) -> Result<Self, VerifyError> {
        self.edge = begin.edge()?;
        self.began = begin.size;
        self.until = begin.end;
        self.erased_before.clone_from(&begin.erased);
        self.checkpoints.retain(|size, _| *size >= begin.size);
        if let Some(root) = self.checkpoints.get(&begin.size).filter(|_| begin.size > 0) {
            self.compare(*root)?;
        }
        Ok(self)
    }

    /// Goes on in another place, which ends here where that is known.
    ///
    /// # Errors
    /// When the place before did not come to its end.
    pub fn go_on(mut self, until: Option<u64>) -> Result<Self, VerifyError> {
        self.has_no_doubt()?;
        self.has_come_to_its_end()?;
        self.until = until;
        Ok(self)
    }

    fn has_no_doubt(&self) -> Result<(), Fault> {
        let doubt = self.doubt.as_ref();
        doubt.map_or(Ok(()), |doubt| Err(doubt.resolved()))
    }

    fn has_come_to_its_end(&self) -> Result<(), Fault> {
        let size = self.size();
        match self.until.filter(|until| *until != size) {
            Some(checkpoint) => Err(Fault::Short { size, checkpoint }),
            None => Ok(()),
        }
    }

    /// Records so far, those before the beginning included.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.edge.size()
    }

    /// How many records were erased, by the id of the erasure.
    #[must_use]
    pub fn erased(&self) -> BTreeMap<String, u64> {
        let erased = self.erased.iter();
        erased
            .map(|(by, (count, ..))| (by.clone(), *count))
            .collect()
    }

    /// Looks at the next record.
    ///
    /// # Errors
    /// When it is not what it was.
    pub fn next(&mut self, logged: &Logged) -> Result<(), VerifyError> {
        let found = logged.leaf.hash()?;
        let kept = logged.hash.map(|hash| hash.0);
        if let Some(doubt) = &mut self.doubt {
            doubt.found.push(found);
            doubt.kept.push(kept);
            self.edge.append(found, |_, _| {});
            return match doubt.found.len() < LOOKED_AT {
                true => Ok(()),
                false => Err(doubt.resolved().into()),
            };
        }
        let (index, expected) = (logged.index, self.edge.size());
        if index > expected {
            return Err(Fault::Dropped {
                index: expected,
                before: self.last_id.clone(),
                found: index,
            }
            .into());
        }
        let id = &logged.leaf.id;
        if index < expected {
            return Err(Fault::Inserted {
                index,
                id: id.clone(),
            }
            .into());
        }
        let Some(kept) = kept else {
            let id = id.clone();
            return Err(Fault::Inserted { index, id }.into());
        };
        if found != kept {
            self.doubt = Some(Doubt {
                index,
                id: id.clone(),
                before: self.last_id.clone(),
                found: vec![found],
                kept: vec![Some(kept)],
            });
            self.edge.append(found, |_, _| {});
            return Ok(());
        }
        self.person(logged)?;
        self.edge.append(found, |_, _| {});
        self.last_id.clone_from(id);
        if let Some(root) = self.checkpoints.get(&self.edge.size()) {
            self.compare(*root)?;
        }
        Ok(())
    }

    /// The checkpoints of what is archived, by the hashes that are kept of that.
    async fn archived_part(&mut self, store: &Store, begins: u64) -> Result<(), VerifyError> {
        for (size, root) in self.checkpoints.range(1..=begins) {
            let tiles = store.tiles(tree::for_root(*size)).await?;
            if tiles.root(*size)? != *root {
                let (from, to) = (self.sure, *size);
                return Err(Fault::Rewritten { from, to }.into());
            }
            self.sure = *size;
        }
        Ok(())
    }

    fn compare(&mut self, root: Hash) -> Result<(), VerifyError> {
        let size = self.edge.size();
        if self.edge.root()? != root {
            return Err(Fault::Rewritten {
                from: self.sure,
                to: size,
            }
            .into());
        }
        self.sure = size;
        Ok(())
    }

    /// What the record says about a person, against what the leaf commits to.
    fn person(&mut self, logged: &Logged) -> Result<(), VerifyError> {
        let (index, id) = (logged.index, logged.leaf.id.clone());
        match (&logged.personal, &logged.erased_by) {
            (Some(opening), None) => {
                if opening.commitment()? != logged.leaf.personal {
                    return Err(Fault::PersonChanged { index, id }.into());
                }
                let detail = opening.said.detail.as_deref();
                self.erasures.extend(erasure(&logged.leaf, detail));
                self.archived.extend(archiving(&logged.leaf, detail));
            }
            (None, Some(by)) => {
                let first = || (0, index, id);
                self.erased.entry(by.clone()).or_insert_with(first).0 += 1;
            }
            (None, None) => return Err(Fault::PersonGone { index, id }.into()),
            (Some(_), Some(_)) => return Err(Fault::PersonChanged { index, id }.into()),
        }
        Ok(())
    }

    /// That was all.
    ///
    /// # Errors
    /// When something is missing at the end.
    pub fn end(self) -> Result<Intact, VerifyError> {
        self.has_no_doubt()?;
        let size = self.edge.size();
        if let Some((largest, _)) = self.checkpoints.last_key_value()
            && *largest > size
        {
            return Err(Fault::Short {
                size,
                checkpoint: *largest,
            }
            .into());
        }
        self.has_come_to_its_end()?;
        for (by, (count, index, id)) in &self.erased {
            // What was erased of an archive before it was one may be told of after its end.
            if self.until.is_some() && *by > self.last_id {
                continue;
            }
            let before = self.erased_before.get(by).copied().unwrap_or_default();
            if self.erasures.get(by) != Some(&(count + before)) {
                let (index, id) = (*index, id.clone());
                return Err(Fault::PersonGone { index, id }.into());
            }
        }
        Ok(Intact {
            size,
            archived: self.began,
            root: self.edge.root()?.to_string(),
            checkpoint: self.checkpoints.last_key_value().map(|(size, _)| *size),
            erased: self.erased.values().map(|(count, ..)| count).sum(),
        })
    }
}

impl Doubt {
    /// By where the record belongs that is in this place, and where the one is that belongs here.
    fn resolved(&self) -> Fault {
        let index = self.index;
        let at = |place: usize| index + u64::try_from(place).unwrap_or(u64::MAX);
        let (this, its_place) = (self.found.first(), self.kept.first());
        let belongs = self.kept.iter().position(|kept| kept.as_ref() == this);
        let lies = self
            .found
            .iter()
            .position(|found| its_place == Some(&Some(*found)));
        match (belongs, lies) {
            (Some(belongs), Some(_)) => Fault::Moved {
                index,
                belongs: at(belongs),
            },
            (Some(belongs), None) => Fault::Dropped {
                index,
                before: self.before.clone(),
                found: at(belongs),
            },
            (None, Some(_)) => Fault::Inserted {
                index,
                id: self.id.clone(),
            },
            (None, None) => Fault::Changed {
                index,
                id: self.id.clone(),
            },
        }
    }
}

/// Goes over the log in a database, and over the hashes that its proofs are made of; on from the archives that were gone over
/// before.
///
/// # Errors
/// When it is not what it was, or cannot be read.
pub async fn database(store: &Store, mut verifier: Verifier) -> Result<Intact, VerifyError> {
    let (begins, erased) = store.log_begins().await?;
    if verifier.size() == 0 && begins > 0 {
        verifier.archived_part(store, begins).await?;
        let tiles = store.tiles(Edge::tiles(begins)).await?;
        let edge = Edge::read(begins, &tiles)?;
        verifier = verifier.begin(&Begin::after(&edge, erased, None))?;
    }
    let from = verifier.size();
    if from < begins {
        return Err(Fault::Gap { from, to: begins }.into());
    }
    let mut next = from;
    loop {
        let page = store.logged(next, PAGE).await?;
        let Some(last) = page.last() else {
            break;
        };
        next = last.index + 1;
        for logged in &page {
            verifier.next(logged)?;
        }
    }
    verifier.has_no_doubt()?;
    let last_archived = verifier.archived.last().copied().unwrap_or_default();
    if last_archived < begins {
        return Err(Fault::Unarchived { size: begins }.into());
    }
    let intact = verifier.end()?;
    if let Some(id) = store.never_sequenced().await? {
        return Err(Fault::Stray { id }.into());
    }
    let tiles = store.tiles(tree::for_root(intact.size)).await?;
    match tiles.root(intact.size)?.to_string() == intact.root {
        true => Ok(intact),
        false => Err(Fault::Hashes.into()),
    }
}

/// The erasure's id and how many records it says it was about, where this is the record of one.
fn erasure(leaf: &Leaf, detail: Option<&serde_json::value::RawValue>) -> Option<(String, u64)> {
    /// What the detail of an erasure says.
    #[derive(serde::Deserialize)]
    struct Erased {
        records: u64,
    }
    let is_one = leaf.kind == "admin" && leaf.method.as_deref() == Some(ERASE);
    let detail: Erased = serde_json::from_str(detail.filter(|_| is_one)?.get()).ok()?;
    Some((leaf.id.clone(), detail.records))
}

/// The end of an archive, where this is the record of one.
fn archiving(leaf: &Leaf, detail: Option<&serde_json::value::RawValue>) -> Option<u64> {
    /// What the detail of it says.
    #[derive(serde::Deserialize)]
    struct Archived {
        size: u64,
    }
    let is_one = leaf.kind == "admin" && leaf.method.as_deref() == Some(ARCHIVE);
    let detail: Archived = serde_json::from_str(detail.filter(|_| is_one)?.get()).ok()?;
    Some(detail.size)
}

/// The command that archives records, as its record names it.
pub const ARCHIVE: &str = "audit archive";

/// The command that erases a person, as its record names it.
pub const ERASE: &str = "user erase";
