//! `writ policy publish` and `writ policy rollback`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{CliError, Output, counted, harmless};
use crate::{
    clock::{Clock as _, SystemClock},
    policy::{self, Policy, Sources},
    store::{Store, policies::Which},
};

/// The longest message, in bytes.
const LONGEST: usize = 1024;

#[derive(Debug, Args)]
pub(in crate::cli) struct Publish {
    /// A directory with the policy, or an OPA bundle (.tar.gz).
    policy: PathBuf,
    /// What changes, and why: for the history and the audit trail.
    #[arg(long, short, value_parser = sentence)]
    message: String,
    /// Who publishes it.
    #[arg(long, env = "USER", value_parser = sentence)]
    author: String,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Rollback {
    /// Its number or digest [default: the one published before the one in force].
    revision: Option<Which>,
    /// Why: for the audit trail.
    #[arg(long, short, value_parser = sentence)]
    message: Option<String>,
    /// Who does it.
    #[arg(long, env = "USER", value_parser = sentence)]
    author: String,
}

pub(super) fn sentence(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("must say something".to_owned()),
        text if text.len() > LONGEST => Err(format!("has more than {LONGEST} bytes")),
        text => Ok(text.to_owned()),
    }
}

/// Nothing but a policy that check and tests have nothing against is kept.
pub(super) fn accepted(sources: &Sources, output: &mut Output) -> Result<(), CliError> {
    let objections = policy::examine(sources, policy::TESTS_TAKE)?.objections();
    for objection in &objections {
        if output.is_json() {
            output.json(&json!({"objection": objection}))?;
        } else {
            output.line(&harmless(objection))?;
        }
    }
    match objections.len() {
        0 => Ok(()),
        count => Err(CliError::Policy(format!(
            "nothing is published: {}",
            counted(count, "objection")
        ))),
    }
}

impl Publish {
    pub(super) async fn run(self, store: &Store, output: &mut Output) -> Result<(), CliError> {
        let sources = Sources::read(&self.policy)?;
        accepted(&sources, output)?;
        let revision = sources.revision();
        let new = sources.as_new(&revision, &self.message, &self.author);
        let number = store.publish_policy(&new, SystemClock.now()).await?;
        in_force(number, &revision, output)
    }
}

impl Rollback {
    pub(super) async fn run(self, store: &Store, output: &mut Output) -> Result<(), CliError> {
        let number = match &self.revision {
            Some(which) => store.published_policy(which).await?.number,
            None => store.policy_before().await?,
        };
        let files = store.policy_files(number).await?;
        // It was taken once, perhaps by an engine that knew something else.
        let policy = Policy::new(&Sources::of(format!("policy {number}"), files)?)?;
        let message = self.message.as_deref();
        store
            .put_policy_in_force(number, &self.author, message, SystemClock.now())
            .await?;
        in_force(number, policy.revision(), output)
    }
}

fn in_force(number: i64, revision: &str, output: &mut Output) -> Result<(), CliError> {
    if output.is_json() {
        return output.json(&json!({"number": number, "revision": revision}));
    }
    output.line(&format!("policy {number} is in force: revision {revision}"))
}
