//! The guard: a second Envoy, on the shipped sidecar YAML, before an MCP server.

use anyhow::{Context, Result};

use crate::envoy::{self, Envoy, Yaml};
use crate::registrations::SERVER;
use crate::scratch::Scratch;
use crate::signer::unix_now;
use crate::token_service::TokenService;
use crate::wait::{PATIENCE, until};

/// The guard's id in the shipped YAML.
pub const GUARD: &str = "ledger-guard";

/// Where the shipped YAML has the guard's listener and its admin interface; the gateway's are elsewhere.
const SHIPPED: [(u16, u16); 2] = [(10001, 10000), (9902, 9901)];

/// What differs from one guard to another.
#[derive(Clone, Debug)]
pub struct Options {
    /// Envoy's worker threads.
    pub workers: u32,
    /// Replacements in the YAML, after ports and paths.
    pub yaml: Vec<(String, String)>,
    /// The guarded server's port.
    pub server: u16,
    /// The guard's own port, where others had to know it beforehand.
    pub port: u16,
}

/// The shipped sidecar YAML before this server.
pub fn sidecar_yaml(server: u16, token_service: u16) -> Result<Yaml> {
    let mut yaml = Yaml::shipped("sidecar.yaml")?;
    for (shipped, usual) in SHIPPED {
        yaml = yaml.port(shipped, usual)?;
    }
    yaml.port(8080, server)?.port(8182, token_service)
}

/// Registers the guard; answers its secret.
pub fn register(service: &TokenService) -> Result<String> {
    service.cli_secret(&[
        "gateway", "add", GUARD, "--kind", "guard", "--server", SERVER,
    ])
}

/// Starts a guard, and waits until each of its workers has its first snapshot and tokens are newer than it: one with a
/// memory of its own accepts no others.
pub async fn start(
    scratch: &Scratch,
    service: &TokenService,
    secret: &str,
    options: &Options,
) -> Result<Envoy> {
    let mut yaml = sidecar_yaml(options.server, service.gateway_port())?;
    for (from, to) in &options.yaml {
        yaml = yaml.replace(from, to)?;
    }
    let of_envoy = envoy::Options {
        name: "guard".to_owned(),
        workers: options.workers,
        env: vec![("WRIT_GUARD_SECRET".to_owned(), secret.to_owned())],
        port: Some(options.port),
    };
    let guard = Envoy::start(scratch, yaml.patient(), of_envoy).await?;
    // The main thread has a filter, too.
    let filters = usize::try_from(options.workers)? + 1;
    until("the guard's first snapshot", PATIENCE, async || {
        let ready = guard.log().matches("is in force").count();
        (ready >= filters).then_some(())
    })
    .await
    .with_context(|| format!("the end of the guard's log:\n{}", guard.process().tail()))?;
    let started = unix_now();
    until("the next second", PATIENCE, async || {
        (unix_now() > started).then_some(())
    })
    .await?;
    Ok(guard)
}
