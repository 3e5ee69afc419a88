//! `writ doctor`

use std::sync::Arc;

use clap::Args;
use url::Url;

use super::{CliError, Output};
use crate::{
    clock::{Clock, SystemClock},
    config::{Config, ConfigError},
    doctor::{self, Finding, Level},
};

#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Envoy's admin interface, such as http://127.0.0.1:9901: its configuration is looked at too.
    #[arg(long, value_name = "URL")]
    envoy_admin: Option<Url>,
}

impl Doctor {
    pub(super) async fn run(self, config: &Config, output: &mut Output) -> Result<(), CliError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let found = doctor::examine(config, self.envoy_admin.as_ref(), &clock).await;
        say(&found, output)
    }
}

/// What there is to say when the configuration is wrong: everything else hangs on it.
pub(super) fn misconfigured(error: &ConfigError, output: &mut Output) -> Result<(), CliError> {
    say(&[Finding::misconfigured(error)], output)
}

fn say(found: &[Finding], output: &mut Output) -> Result<(), CliError> {
    if output.is_json() {
        found.iter().try_for_each(|one| output.json(one))?;
    } else {
        output.table(found, ["", "CHECK", "FOUND", "WHAT TO DO"], |one| {
            [
                one.level.as_str().to_owned(),
                one.check.to_owned(),
                one.found.clone(),
                one.fix.clone().unwrap_or_default(),
            ]
        })?;
    }
    match found.iter().filter(|f| f.level == Level::Problem).count() {
        0 => Ok(()),
        problems => Err(CliError::Problems(problems)),
    }
}
