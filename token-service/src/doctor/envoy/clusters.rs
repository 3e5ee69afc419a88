//! The clusters that the routes lead to: sent once, on a connection that is open, and by nobody else's filters.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    super::Finding,
    dump::{Dump, Governed, is, list, number, text},
    routes,
};

/// A connection that is idle for longer than this many seconds outlives the keep-alive of common servers by far.
const LONG_IDLE_S: f64 = 60.0;

pub(super) fn examine(dump: &Dump<'_>, at: &Governed<'_>) -> Vec<Finding> {
    let clusters: BTreeMap<&str, &Value> = at
        .routes
        .iter()
        .flat_map(|config| list(config, "virtual_hosts"))
        .flat_map(|host| list(host, "routes"))
        .filter_map(|route| route.get("route"))
        .flat_map(routes::led_to)
        .filter_map(|name| Some((name, dump.cluster(name)?)))
        .collect();
    let those = |broken: fn(&Value) -> bool| -> String {
        let broken = clusters.iter().filter(|(_, cluster)| broken(cluster));
        broken.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    };
    let judged = |check: &'static str,
                  good: &str,
                  broken: String,
                  why: &str,
                  fix: &str,
                  finding: fn(&'static str, String, String) -> Finding| {
        if broken.is_empty() {
            Finding::ok(check, format!("listener {}: {good}", at.name))
        } else {
            let found = format!("listener {}: cluster {broken} {why}", at.name);
            finding(check, found, fix.to_owned())
        }
    };
    vec![
        judged(
            "retry breaker",
            "closed",
            those(retries_possible),
            "would send a call again if a retry policy were set somewhere",
            "set `max_retries: 0` in its `circuit_breakers`, and no `retry_budget`",
            Finding::warning,
        ),
        judged(
            "idle connections",
            "closed by Envoy first",
            those(keeps_idle_connections),
            "keeps idle connections that its server may just be closing: a call sent there is lost, its token too",
            "set an `idle_timeout` below the server's keep-alive (4s) in its `common_http_protocol_options`",
            Finding::warning,
        ),
        judged(
            "cluster filters",
            "none",
            those(has_filters),
            "has filters of its own, which come after Writ and can change what was decided on",
            "remove `http_filters` from its HttpProtocolOptions",
            Finding::problem,
        ),
    ]
}

/// Whether its circuit breaker leaves room for retries: the default does.
fn retries_possible(cluster: &Value) -> bool {
    let thresholds = cluster
        .get("circuit_breakers")
        .map_or(&[][..], |breakers| list(breakers, "thresholds"));
    let usual = thresholds
        .iter()
        .find(|one| matches!(text(one, "priority"), None | Some("DEFAULT")));
    usual.is_none_or(|one| {
        number(one, "max_retries") != Some(0) || one.get("retry_budget").is_some()
    })
}

fn protocol_options(cluster: &Value) -> impl Iterator<Item = &Value> {
    cluster
        .get("typed_extension_protocol_options")
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(|options| options.values())
}

/// Of HTTP/2 a server announces the end (GOAWAY, RFC 9113 section 6.8); of HTTP/1.1 it just closes.
fn keeps_idle_connections(cluster: &Value) -> bool {
    let http2 = protocol_options(cluster)
        .filter_map(|options| options.get("explicit_http_config"))
        .any(|explicit| explicit.get("http2_protocol_options").is_some());
    let idle = protocol_options(cluster)
        .filter_map(|options| options.get("common_http_protocol_options"))
        .find_map(|common| text(common, "idle_timeout"));
    let short = idle
        .and_then(|idle| idle.strip_suffix('s')?.parse::<f64>().ok())
        .is_some_and(|seconds| seconds > 0.0 && seconds <= LONG_IDLE_S);
    !http2 && !short
}

fn has_filters(cluster: &Value) -> bool {
    protocol_options(cluster)
        .flat_map(|options| list(options, "http_filters"))
        .filter_map(|filter| filter.get("typed_config"))
        .any(|config| !is(config, "UpstreamCodec"))
}
