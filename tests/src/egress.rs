//! An Envoy where agents' traffic leaves, on the shipped YAML.

use anyhow::{Context, Result};

use crate::envoy::{self, Envoy, Yaml};
use crate::scratch::Scratch;
use crate::token_service::TokenService;
use crate::wait::{PATIENCE, until};

/// Its id in the shipped YAML.
const EGRESS: &str = "egress";

/// Where the shipped YAML has its listener and its admin interface; the gateway's are elsewhere.
const SHIPPED: [(u16, u16); 2] = [(10002, 10000), (9903, 9901)];

/// Registers an egress and starts it; it has its first snapshot when this returns.
pub async fn start(
    scratch: &Scratch,
    service: &TokenService,
    replaced: Option<(&str, &str)>,
) -> Result<Envoy> {
    let secret = service.cli_secret(&["gateway", "add", EGRESS, "--kind", "egress"])?;
    let mut yaml = Yaml::shipped("egress.yaml")?;
    for (shipped, usual) in SHIPPED {
        yaml = yaml.port(shipped, usual)?;
    }
    yaml = yaml.port(8182, service.gateway_port())?;
    if let Some((from, to)) = replaced {
        yaml = yaml.replace(from, to)?;
    }
    let options = envoy::Options {
        name: EGRESS.to_owned(),
        env: vec![("WRIT_EGRESS_SECRET".to_owned(), secret)],
        ..envoy::Options::default()
    };
    let egress = Envoy::start(scratch, yaml.patient(), options).await?;
    // The main thread has a filter, too.
    until("the egress's first snapshot", PATIENCE, async || {
        let ready = egress.log().matches("is in force").count();
        (ready >= 2).then_some(())
    })
    .await
    .with_context(|| format!("the end of its log:\n{}", egress.process().tail()))?;
    Ok(egress)
}

/// A client whose plain HTTP leaves by it.
pub fn client(egress: &Envoy) -> Result<reqwest::Client> {
    crate::provide_tls();
    let proxy = reqwest::Proxy::http(egress.url(""))?;
    Ok(reqwest::Client::builder().proxy(proxy).build()?)
}
