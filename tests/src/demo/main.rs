//! `make demo`: a governed session, played with a real agent, a real MCP server and a real Envoy on loopback.
//!
//! [`story`] is what happens, beginning with the assistant's [`arrival`] then a server that is [`guarded`] and a policy that is [`changed`], and ending when everything is [`stopped`] and the log [`proved`]; [`stage`] prints it step by step, [`trail`] shows what is then on record, and
//! [`stay`] tells a person how to try it with a client of their own. `ONCE=1` ends after the story, with a
//! status that says whether every step came out right.

mod arrival;
mod changed;
mod guarded;
mod proved;
mod stage;
mod stay;
mod stopped;
mod story;
mod trail;

use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Result;
use writ_tests::binaries;
use writ_tests::deployment::{Deployment, Options};

use stage::Stage;

/// Where a person finds the demo each time, if nobody else is there.
const PORTS: (u16, u16) = (10000, 8181);

/// Clients register themselves, and arguments are kept, so that a policy can be asked again about them.
const SERVICE: &str = r#"
[registration]
open = true

[keys]
encryption_key_env = "DEMO_SEAL"

[audit.arguments]
default = "full"
"#;

/// The variable that holds what keys and arguments are encrypted with.
const SEAL: &str = "DEMO_SEAL";

/// A new key for that.
fn seal() -> Result<String> {
    let mut writ = Command::new(binaries::writ()?);
    let output = writ.args(["keys", "generate-encryption-key"]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

#[tokio::main]
async fn main() -> ExitCode {
    match play().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            anstream::eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn play() -> Result<bool> {
    let once = std::env::var("ONCE").is_ok_and(|value| !value.is_empty() && value != "0");
    let mut stage = Stage::default();

    stage.heading(
        "Starting the ledger (an MCP server), the token service, a corporate identity provider and Envoy with the filter",
    );
    let start = Instant::now();
    let options = Options {
        preferred_ports: Some(PORTS),
        corporate: true,
        service_config: Some(SERVICE.to_owned()),
        service_env: vec![(SEAL.to_owned(), seal()?)],
        ..Options::named("demo")
    };
    let mut deployment = Deployment::start(options).await?;
    stage.remark(&format!(
        "up after {:.1} s, all on loopback",
        start.elapsed().as_secs_f32()
    ));

    story::tell(&deployment, &mut stage).await;
    stage.heading("What is on record");
    trail::print(&deployment).await?;
    let went_right = stage.sum_up();
    if !went_right {
        deployment.scratch.keep();
        stage.remark(&format!(
            "logs and configuration are in {}",
            deployment.scratch.path().display()
        ));
    }
    if !once {
        stay::until_interrupted(&deployment).await?;
    }
    Ok(went_right)
}
