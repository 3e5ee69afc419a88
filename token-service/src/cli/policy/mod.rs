//! `writ policy …`

mod check;
mod eval;
mod test;

use std::path::Path;

use clap::Subcommand;

use super::{CliError, Output};
use crate::policy::Sources;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Say what keeps a policy from doing in the filter what it says. Needs no service.
    Check(check::Check),
    /// Run the `test_` rules of a policy, as `opa test` does. Needs no service.
    Test(test::Test),
    /// Ask a policy about one input, and print the decision as the filter sees it. Needs no service.
    Eval(eval::Eval),
}

impl Command {
    pub(super) fn run(self, output: &mut Output) -> Result<(), CliError> {
        match self {
            Self::Check(check) => check.run(output),
            Self::Test(test) => test.run(output),
            Self::Eval(eval) => eval.run(output),
        }
    }
}

/// How a file of a policy is shown, so that it can be opened.
fn shown(sources: &Sources, root: &Path, path: &str) -> String {
    match root.is_dir() {
        true => format!("{}/{path}", sources.origin.trim_end_matches('/')),
        false => format!("{}:{path}", sources.origin),
    }
}

/// `1 test`, `2 tests`
fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
