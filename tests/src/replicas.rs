//! Two token services on one PostgreSQL, and a gateway that asks whichever is ready.

use anyhow::{Context, Result};

use crate::deployment::{self, Deployment};
use crate::postgres::Cluster;
use crate::token_service::TokenService;
use crate::{docs, ports};

/// See the module. Fields are dropped in order: callers' side first.
#[derive(Debug)]
pub struct Replicas {
    /// The gateway, the MCP server and the first service.
    pub deployment: Deployment,
    /// The second service.
    pub other: TokenService,
    /// Their database.
    pub cluster: Cluster,
    /// What makes an Envoy's cluster of the service one of both, as replacements in a shipped YAML.
    pub both: Vec<(String, String)>,
}

impl Replicas {
    /// Starts all of it.
    pub async fn start(mut options: deployment::Options) -> Result<Self> {
        let cluster = Cluster::start()?;
        let port = ports::free()?;
        let both = of_both(port)?;
        options
            .service_env
            .push(("WRIT_STORE_URL".to_owned(), cluster.url().to_owned()));
        options.yaml.extend(both.iter().cloned());
        let deployment = Deployment::start(options).await?;
        let mut other = deployment
            .service
            .beside("writ-2", port, &deployment.scratch)?;
        other.serve().await?;
        Ok(Self {
            deployment,
            other,
            cluster,
            both,
        })
    }
}

/// Beside the first service's address the other's, and both are asked whether they are ready, as docs/operating.md has it.
fn of_both(port: u16) -> Result<Vec<(String, String)>> {
    let cluster = "    - name: writ\n      type: STATIC\n";
    let first = "cluster_name: writ\n        endpoints:\n          - lb_endpoints:\n";
    let checks = docs::blocks("docs/operating.md", "yaml ready")?;
    let checks = checks.first().context("no health checks")?;
    let address = format!(
        "              - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }}\n"
    );
    Ok(vec![
        (cluster.to_owned(), format!("{cluster}{checks}\n")),
        (first.to_owned(), format!("{first}{address}")),
    ])
}
