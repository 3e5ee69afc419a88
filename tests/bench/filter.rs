//! The filter's configurations, and what it says about itself in Envoy's stats.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use writ_tests::envoy::Envoy;
use writ_tests::signer::Signer;

use crate::policy::Policy;
use crate::service::{GATEWAY, SERVER};

/// The issuer of callers' tokens in static mode.
pub const ISSUER: &str = "https://issuer.example";
/// The resource that callers' tokens are for.
pub const RESOURCE: &str = "http://127.0.0.1/mcp";

/// Static mode: verify and decide, with this policy.
pub fn static_mode(signer: &Signer, policy: &Policy) -> Result<Value> {
    Ok(json!({
        "mode": "static",
        "servers": { SERVER: {
            "host": "*", "path": "/mcp", "resource": RESOURCE, "authorization_servers": [ISSUER],
        } },
        "issuers": { ISSUER: { "jwks": signer.jwks()? } },
        "policy": { "rego": policy.rego, "data": policy.data },
        "caller_token": "strip",
    }))
}

/// Gateway mode: verify, decide, mint.
pub fn gateway_mode() -> Value {
    json!({
        "mode": "gateway",
        "token_service": {
            "cluster": "writ", "gateway_id": GATEWAY, "secret_env": "WRIT_GATEWAY_SECRET",
            "timeout": "5s",
        },
        // Every row listens on a port of its own.
        "allowed_hosts": ["*"],
    })
}

/// The filter's linear memory in one worker, in bytes.
pub async fn memory(envoy: &Envoy) -> Result<u64> {
    let stats = envoy.stats("writ").await?;
    let gauge = stats
        .iter()
        .find(|(name, _)| name.ends_with("vm_memory_bytes"));
    gauge
        .map(|(_, bytes)| *bytes)
        .context("the filter has no gauge vm_memory_bytes")
}

/// Hits per lookup of each of the filter's caches.
pub async fn hit_rates(envoy: &Envoy) -> Result<BTreeMap<String, f64>> {
    let stats = envoy.stats("writ").await?;
    let rates = stats.iter().filter_map(|(name, hits)| {
        let cache = name.strip_suffix(".hit")?;
        let lookups = hits + stats.get(&format!("{cache}.miss"))?;
        let short = cache.rsplit('.').next().unwrap_or(cache);
        (lookups > 0).then(|| (short.to_owned(), *hits as f64 / lookups as f64))
    });
    Ok(rates.collect())
}
