//! `writ`: the token service and its command line.

use std::process::ExitCode;

use clap::Parser as _;
use writ_token_service::cli::{Cli, Output};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut output = Output::new(cli.json);
    match cli.run(&mut output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error);
            ExitCode::from(error.status())
        }
    }
}
