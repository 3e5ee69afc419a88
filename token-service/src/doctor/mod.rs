//! `writ doctor`: looks at a running installation from outside and says what to do about what it finds.
//!
//! Reads only: the configuration, the database, the issuer under its public URL, and Envoy's admin interface. Each file is
//! one of these, and each check answers with [`Finding`]s, so that nothing is left unsaid because something else failed.

mod clock;
mod database;
mod envoy;
mod issuer;
mod keys;
mod log;
mod providers;
mod servers;
mod sinks;

use std::sync::Arc;

use serde::Serialize;
use url::Url;

use crate::{
    clock::Clock,
    config::{Config, ConfigError},
    http::outbound::Outbound,
    registry::Registry,
    store::{Store, StoreError},
};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and could be better or will not work for long.
    Warning,
    /// Something does not work, or is not safe.
    Problem,
}

impl Level {
    /// The word people read.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which check.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    /// A configuration that cannot be used.
    #[must_use]
    pub fn misconfigured(error: &ConfigError) -> Self {
        let fix = "correct it (docs/configuration.md); nothing else can be looked at before";
        Self::problem("configuration", error.to_string(), fix)
    }

    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self {
            check,
            level: Level::Ok,
            found: found.into(),
            fix: None,
        }
    }

    fn warning(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            level: Level::Warning,
            fix: Some(fix.into()),
            ..Self::ok(check, found)
        }
    }

    /// A database that does not answer what is asked of it, though it was opened.
    fn unreadable(check: &'static str, error: &StoreError) -> Self {
        let fix = "use the version of `writ` that the service runs";
        Self::problem(check, error.to_string(), fix)
    }

    fn problem(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            level: Level::Problem,
            ..Self::warning(check, found, fix)
        }
    }
}

/// Looks at everything.
pub async fn examine(config: &Config, envoy: Option<&Url>, clock: &Arc<dyn Clock>) -> Vec<Finding> {
    let mut found = vec![Finding::ok(
        "configuration",
        format!("issuer {}, database {}", config.issuer, config.place()),
    )];
    let registry = of_database(config, clock, &mut found).await;
    let outbound = Outbound::new(
        &config.outbound.authorities,
        config.outbound.allowed.clone(),
    );
    match outbound {
        Ok(outbound) => {
            found.extend(issuer::examine(config, &outbound, &**clock).await);
            found.extend(providers::examine(config, &outbound, &**clock).await);
            if let Some(admin) = envoy {
                found.extend(envoy::examine(admin, &outbound, registry.as_ref()).await);
            }
        }
        Err(error) => found.push(Finding::problem(
            "configuration",
            error.to_string(),
            "correct `outbound.ca_file`",
        )),
    }
    found
}

async fn of_database(
    config: &Config,
    clock: &Arc<dyn Clock>,
    found: &mut Vec<Finding>,
) -> Option<Registry> {
    let store = match Store::look_at(&config.place()).await {
        Ok(store) => store,
        Err(error) => {
            let fix = "set `data_dir` or `store.url` to where the service keeps its data, and run as its user";
            found.push(Finding::problem("database", error.to_string(), fix));
            return None;
        }
    };
    found.extend(database::examine(&store, config).await);
    found.extend(keys::examine(&store, config, clock.now()).await);
    found.extend(clock::of_records(&store, clock.now()).await);
    found.extend(log::examine(&store, config, clock.now()).await);
    found.extend(sinks::examine(&store, config, clock.now()).await);
    let registry = servers::examine(&store, found).await;
    store.close().await;
    registry
}
