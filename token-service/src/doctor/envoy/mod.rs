//! Envoy's configuration as it runs: what has to be around the filter for its decisions to hold.
//!
//! [`dump`] finds the governed listeners in `/config_dump`; [`filter`], [`reading`], [`routes`], [`clusters`]
//! and [`limits`] look at them. What is
//! looked for is what `envoy/gateway.yaml` has and says why.

mod clusters;
mod dump;
mod filter;
mod limits;
mod reading;
mod routes;

use serde_json::Value;
use url::Url;
use writ_core::config::Mode;

use self::dump::{Dump, Governed};
use super::{Finding, issuer::innermost};
use crate::{
    http::outbound::{self, Outbound},
    registry::Registry,
};

/// The most that a dump may hold: an Envoy of thousands of routes.
const MOST: usize = 256 * 1024 * 1024;

pub(super) async fn examine(
    admin: &Url,
    outbound: &Outbound,
    registry: Option<&Registry>,
) -> Vec<Finding> {
    match fetch(admin, outbound).await {
        Ok(dump) => judge(&dump, registry),
        Err(problem) => vec![Finding::problem(
            "envoy",
            format!("{admin}: {problem}"),
            "give the address of Envoy's admin interface, such as --envoy-admin http://127.0.0.1:9901",
        )],
    }
}

async fn fetch(admin: &Url, outbound: &Outbound) -> Result<Value, String> {
    let url = admin.join("/config_dump").map_err(|e| e.to_string())?;
    let response = outbound.trusted().get(url).send().await;
    let response = response
        .and_then(reqwest::Response::error_for_status)
        .map_err(|e| innermost(&e))?;
    let body = outbound::read(response, MOST)
        .await
        .map_err(|e| e.to_string())?;
    serde_json::from_slice(&body).map_err(|e| format!("answered no JSON: {e}"))
}

/// What a dump says about the filter and what is around it.
fn judge(dump: &Value, registry: Option<&Registry>) -> Vec<Finding> {
    let dump = Dump::read(dump);
    let governed = dump.governed();
    if governed.is_empty() {
        return vec![Finding::problem(
            "filter",
            "no listener has the Writ filter",
            "put it before the router of each listener that leads to MCP servers (envoy/gateway.yaml)",
        )];
    }
    governed
        .iter()
        .flat_map(|at| of_listener(&dump, at, registry))
        .collect()
}

fn of_listener(dump: &Dump<'_>, at: &Governed<'_>, registry: Option<&Registry>) -> Vec<Finding> {
    // Nothing about a call is decided there: the Envoy around it is whatever proxy it is.
    if let Ok(Mode::Egress(egress)) = at.config.as_ref().map(|config| &config.mode) {
        let mut found = filter::watching(at, egress.unknown);
        found.extend(limits::of_service(dump, at));
        return found;
    }
    let mut found = filter::examine(at);
    found.extend(reading::examine(at));
    found.extend(routes::examine(dump, at, registry));
    found.extend(clusters::examine(dump, at));
    found.extend(limits::examine(dump, at));
    found
}

#[cfg(test)]
mod tests;
