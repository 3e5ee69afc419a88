//! `writ policy …`

mod check;
mod diff;
mod eval;
mod explain;
mod history;
mod publish;
mod replay;
mod shadow;
mod test;

use std::path::Path;

use clap::Subcommand;

use super::{CliError, Output};
use crate::{
    audit::printable,
    config::Config,
    policy::Sources,
    store::{Store, policies::Which},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    #[command(flatten)]
    Offline(Offline),
    #[command(flatten)]
    Stored(Stored),
}

/// What works on files alone.
#[derive(Debug, Subcommand)]
pub(super) enum Offline {
    /// Say what keeps a policy from doing in the filter what it says. Needs no service.
    Check(check::Check),
    /// Run the `test_` rules of a policy, as `opa test` does. Needs no service.
    Test(test::Test),
    /// Ask a policy about one input, and print the decision as the filter sees it. Needs no service.
    Eval(eval::Eval),
}

/// What works on the database.
#[derive(Debug, Subcommand)]
pub(super) enum Stored {
    /// Put a policy in force, when it passes check and tests. Running services take it at once.
    Publish(publish::Publish),
    /// Put an earlier policy in force again.
    Rollback(publish::Rollback),
    /// List what was published, newest first.
    History(history::History),
    /// Print a published policy, with all of its files.
    Show(history::Show),
    /// Say how two policies differ, file by file.
    Diff(diff::Diff),
    /// Ask recorded decisions again of a candidate, and say which would come out otherwise. Ends with status 1 if any would,
    /// with 2 if it cannot tell.
    Replay(replay::Replay),
    /// Ask a policy beside the one in force, on live traffic: what it would decide otherwise is counted and on record.
    Shadow(shadow::Shadow),
    /// Say why an audit record was decided as it was: which rules held, and how far the others came.
    Explain(explain::Explain),
}

impl Command {
    /// Whether its status says more than that it went well.
    pub(super) fn is_replay(&self) -> bool {
        matches!(self, Self::Stored(Stored::Replay(_)))
    }
}

impl Offline {
    pub(super) fn run(self, output: &mut Output) -> Result<(), CliError> {
        match self {
            Self::Check(check) => check.run(output),
            Self::Test(test) => test.run(output),
            Self::Eval(eval) => eval.run(output),
        }
    }
}

impl Stored {
    pub(super) async fn run(
        self,
        config: &Config,
        store: &Store,
        output: &mut Output,
    ) -> Result<(), CliError> {
        match self {
            Self::Publish(publish) => publish.run(store, output).await,
            Self::Rollback(rollback) => rollback.run(store, output).await,
            Self::History(history) => history.run(store, output).await,
            Self::Show(show) => show.run(store, output).await,
            Self::Diff(diff) => diff.run(store, output).await,
            Self::Replay(replay) => replay.run(config, store, output).await,
            Self::Shadow(shadow) => shadow.run(store, output).await,
            Self::Explain(explain) => explain.run(config, store, output).await,
        }
    }
}

/// A policy that somebody names: a published revision, or else a directory or a bundle.
async fn named(store: &Store, name: &str) -> Result<Sources, CliError> {
    match name.parse::<Which>() {
        Ok(which) => {
            let number = store.published_policy(&which).await?.number;
            let files = store.policy_files(number).await?;
            Ok(Sources::of(format!("policy {number}"), files)?)
        }
        Err(_) => Ok(Sources::read(Path::new(name))?),
    }
}

/// How a file of a policy is shown, so that it can be opened.
fn shown(sources: &Sources, root: &Path, path: &str) -> String {
    match root.is_dir() {
        true => format!("{}/{path}", sources.origin.trim_end_matches('/')),
        false => format!("{}:{path}", sources.origin),
    }
}

/// A line of a policy, of which a terminal acts on nothing but the tabs.
fn harmless(line: &str) -> String {
    line.split('\t')
        .map(printable)
        .collect::<Vec<_>>()
        .join("\t")
}

/// `1 test`, `2 tests`
fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
