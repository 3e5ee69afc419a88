//! `writ policy replay`

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::{CliError, Output, counted, named};
use crate::{
    audit::ArgumentsKey,
    clock::rfc3339,
    config::Config,
    policy::{Candidate, Fate, Group, Members, Replayed, Unasked},
    store::{Store, inputs::Decisions},
};

/// How many decisions are read at a time.
const PAGE: u32 = 500;

const HEADER: [&str; 7] = ["", "AGENT", "SERVER", "CALL", "TIMES", "WHY", "RECORDS"];

#[derive(Debug, Args)]
pub(in crate::cli) struct Replay {
    /// A directory with the policy, an OPA bundle (.tar.gz), or a published policy by its number or digest.
    candidate: String,
    /// Only decisions from this time on: RFC 3339, such as 2026-11-23T18:00:00Z.
    #[arg(long)]
    since: Option<Timestamp>,
    /// Only decisions before this time.
    #[arg(long)]
    until: Option<Timestamp>,
    /// Only about calls of this agent.
    #[arg(long)]
    agent: Option<String>,
    /// Only about calls to this server.
    #[arg(long)]
    server: Option<String>,
}

impl Replay {
    pub(super) async fn run(
        self,
        config: &Config,
        store: &Store,
        output: &mut Output,
    ) -> Result<(), CliError> {
        let key = ArgumentsKey::open(store, &config.keys.sealing).await?;
        let sources = named(store, &self.candidate).await?;
        let mut candidate = Candidate::new(&sources)?;
        let of = Decisions {
            since: self.since.map(rfc3339),
            until: self.until.map(rfc3339),
            agent: self.agent,
            server: self.server,
        };
        let mut replayed = Replayed::default();
        let mut last = 0;
        loop {
            let mut page = store.decisions_after(&of, last, PAGE).await?;
            for decided in &mut page {
                key.put_back(decided)?;
                candidate.ask(decided, &mut replayed);
            }
            match page.last() {
                Some(one) => last = one.seq,
                None => break,
            }
        }
        tell(&replayed, &sources.revision(), output)?;
        match (replayed.flips(), replayed.asked) {
            (0, 0) => Err(CliError::Policy(
                "no decision of those could be asked again".to_owned(),
            )),
            (0, _) => Ok(()),
            (flips, _) => Err(CliError::Flips(flips)),
        }
    }
}

fn tell(replayed: &Replayed, revision: &str, output: &mut Output) -> Result<(), CliError> {
    let unasked = replayed.count(|fate| matches!(fate, Fate::Unasked(_)));
    if output.is_json() {
        for (group, members) in &replayed.groups {
            let mut told = json!(group);
            if let (Some(told), serde_json::Value::Object(members)) =
                (told.as_object_mut(), json!(members))
            {
                told.extend(members);
            }
            output.json(&told)?;
        }
        return output.json(&json!({
            "revision": revision,
            "asked": replayed.asked,
            "allow_to_deny": replayed.count(|fate| fate == Fate::AllowToDeny),
            "deny_to_allow": replayed.count(|fate| fate == Fate::DenyToAllow),
            "unasked": unasked,
        }));
    }
    output.line(&format!(
        "{} asked again of revision {revision}: {} would flip",
        counted(replayed.asked, "decision"),
        replayed.flips(),
    ))?;
    let is_unasked = |group: &Group| matches!(group.fate, Fate::Unasked(_));
    let (unasked_groups, flips): (Vec<_>, Vec<_>) = replayed
        .groups
        .iter()
        .partition(|(group, _)| is_unasked(group));
    if !flips.is_empty() {
        output.table(&flips, HEADER, |(group, members)| {
            row(group, members, members.reasons.join("; "))
        })?;
    }
    if unasked > 0 {
        output.line(&format!(
            "{} could not be asked again:",
            counted(unasked, "decision")
        ))?;
        output.table(&unasked_groups, HEADER, |(group, members)| {
            row(group, members, why_not(group.fate).to_owned())
        })?;
    }
    Ok(())
}

fn row(group: &Group, members: &Members, why: String) -> [String; 7] {
    let fate = match group.fate {
        Fate::AllowToDeny => "allow → deny",
        Fate::DenyToAllow => "deny → allow",
        Fate::Unasked(_) => "?",
    };
    let call = match &group.target {
        Some(target) => format!("{} {target}", group.method),
        None => group.method.clone(),
    };
    [
        fate.to_owned(),
        group.agent.clone(),
        group.server.clone(),
        call,
        members.count.to_string(),
        why,
        members.examples.join(", "),
    ]
}

fn why_not(fate: Fate) -> &'static str {
    match fate {
        Fate::AllowToDeny | Fate::DenyToAllow => "",
        Fate::Unasked(Unasked::NotKept) => "nothing is kept of what was asked",
        Fate::Unasked(Unasked::TooLong) => "what was asked was too long to be kept",
        Fate::Unasked(Unasked::Arguments) => {
            "the policy looks at arguments, which are not kept (`audit.arguments`)"
        }
        Fate::Unasked(Unasked::RedactedArguments) => {
            "the policy looks at arguments, which are not all kept (`audit.arguments`)"
        }
        Fate::Unasked(Unasked::LongArguments) => {
            "the policy looks at arguments, which were too long to be kept"
        }
    }
}
