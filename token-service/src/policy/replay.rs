//! Recorded decisions, asked again of a candidate: which would come out otherwise, and which cannot be asked again.

use std::collections::BTreeMap;

use serde::Serialize;
use writ_policy::{
    authoring::reads::Reader,
    decision::Decision,
    engine::{self, Evaluator},
    kept::Lack,
};

use super::{SourceError, Sources};
use crate::{
    audit::{Record, Verdict},
    store::inputs::Decided,
};

/// So many records, and so many reasons, are named of those that have something in common.
const NAMED: usize = 3;

/// What becomes of a decision that is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It was allowed, and would be denied.
    AllowToDeny,
    /// It was denied, and would be allowed.
    DenyToAllow,
    /// It cannot be asked again.
    #[serde(untagged)]
    Unasked(Unasked),
}

/// Why a decision cannot be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unasked {
    /// Nothing is kept of what the policy was asked.
    NotKept,
    /// It was too long to be kept.
    TooLong,
    /// The candidate looks at what the message carried, which is not to be kept.
    Arguments,
    /// The candidate looks at what the message carried, of which not all is kept.
    RedactedArguments,
    /// The candidate looks at what the message carried, which was too long to be kept.
    LongArguments,
}

/// What decisions have in common that are told of together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Group {
    /// What becomes of them.
    pub fate: Fate,
    /// The agent.
    pub agent: String,
    /// The server.
    pub server: String,
    /// The method.
    pub method: String,
    /// The tool or prompt.
    pub target: Option<String>,
}

/// How many they are, and some of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Members {
    /// How many.
    pub count: usize,
    /// Ids of some of the records, oldest first.
    pub examples: Vec<String>,
    /// Some of the reasons: the candidate's for a no, the one on record for what would be a yes.
    pub reasons: Vec<String>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Replayed {
    /// How many decisions were asked again.
    pub asked: usize,
    /// Those that would come out otherwise or cannot be asked again.
    pub groups: BTreeMap<Group, Members>,
}

impl Replayed {
    /// How many have a fate like this.
    pub fn count(&self, like: impl Fn(Fate) -> bool) -> usize {
        let groups = self.groups.iter().filter(|(group, _)| like(group.fate));
        groups.map(|(_, members)| members.count).sum()
    }

    /// How many would come out otherwise.
    #[must_use]
    pub fn flips(&self) -> usize {
        self.count(|fate| !matches!(fate, Fate::Unasked(_)))
    }

    fn add(&mut self, fate: Fate, record: &Record, reason: Option<String>) {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let method = text(&record.method);
        let is_named = matches!(method.as_str(), "tools/call" | "prompts/get");
        let members = self.groups.entry(Group {
            fate,
            agent: text(&record.agent),
            server: text(&record.server),
            target: record.target.clone().filter(|_| is_named),
            method,
        });
        let members = members.or_default();
        members.count += 1;
        if members.examples.len() < NAMED {
            members.examples.push(record.id.clone());
        }
        if let Some(reason) = reason
            && members.reasons.len() < NAMED
            && !members.reasons.contains(&reason)
        {
            members.reasons.push(reason);
        }
    }
}

/// A policy that recorded decisions are asked again of.
#[derive(Debug)]
pub struct Candidate {
    evaluator: Evaluator,
    reader: Reader,
}

impl Candidate {
    /// Compiles it.
    ///
    /// # Errors
    /// When it is no policy.
    pub fn new(sources: &Sources) -> Result<Self, SourceError> {
        let (program, data) = (engine::compile(&sources.modules)?, sources.document()?);
        Ok(Self {
            evaluator: Evaluator::new(&program, &data)?,
            reader: Reader::new(&sources.modules, &data)?,
        })
    }

    /// Asks again.
    pub fn ask(&mut self, decided: &Decided, replayed: &mut Replayed) {
        let record = &decided.record;
        let decision = match self.decide(decided) {
            Ok(decision) => decision,
            Err(why) => return replayed.add(Fate::Unasked(why), record, None),
        };
        replayed.asked += 1;
        match (record.decision, decision) {
            (Some(Verdict::Allow), Decision::Deny { reason, .. }) => {
                replayed.add(Fate::AllowToDeny, record, Some(reason));
            }
            (Some(Verdict::Deny), Decision::Allow { .. }) => {
                replayed.add(Fate::DenyToAllow, record, record.reason.clone());
            }
            _ => {}
        }
    }

    fn decide(&mut self, decided: &Decided) -> Result<Decision, Unasked> {
        let kept = decided.input.as_ref().ok_or(Unasked::NotKept)?;
        let lacking = match kept.lacks {
            None => None,
            Some(Lack::Arguments) if decided.is_redacted => Some(Unasked::RedactedArguments),
            Some(Lack::Arguments) => Some(Unasked::Arguments),
            Some(Lack::LongArguments) => Some(Unasked::LongArguments),
            Some(Lack::Everything) => return Err(Unasked::TooLong),
        };
        let input = kept.value().ok_or(Unasked::NotKept)?;
        match lacking {
            Some(why) if self.reader.looks_at_what_is_carried(&input) => Err(why),
            _ => Ok(self.evaluator.call_with(input)),
        }
    }
}
