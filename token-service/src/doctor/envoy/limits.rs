//! What is buffered, and how the token service is reached.

use serde_json::Value;

use super::{
    super::Finding,
    dump::{Dump, Governed, list, number, text},
    routes,
};

/// What Envoy takes for a connection's buffer unless told otherwise.
const DEFAULT_BUFFER: u64 = 1024 * 1024;

pub(super) fn examine(dump: &Dump<'_>, at: &Governed<'_>) -> Vec<Finding> {
    // Without its own configuration there is nothing to compare with; that is said elsewhere.
    let Ok(config) = &at.config else {
        return Vec::new();
    };
    let mut found = vec![buffers(dump, at, config.max_body as u64)];
    found.extend(of_service(dump, at));
    found
}

/// How the token service is reached, where there is one.
pub(super) fn of_service(dump: &Dump<'_>, at: &Governed<'_>) -> Option<Finding> {
    let service = at.config.as_ref().ok()?.mode.service()?;
    Some(token_service(dump, at, &service.cluster))
}

/// Each has to be above what the filter reads, or Envoy answers 413 before the filter can.
fn buffers(dump: &Dump<'_>, at: &Governed<'_>, most: u64) -> Finding {
    let buffer =
        |of: &Value| number(of, "per_connection_buffer_limit_bytes").unwrap_or(DEFAULT_BUFFER);
    let mut small = Vec::new();
    let mut compare = |what: String, bytes: u64| {
        if bytes <= most {
            small.push(format!("{what}: {bytes}"));
        }
    };
    compare("the listener's connections".to_owned(), buffer(at.listener));
    let window = at.manager.get("http2_protocol_options");
    if let Some(window) = window.and_then(|o| number(o, "initial_stream_window_size")) {
        compare("its HTTP/2 streams".to_owned(), window);
    }
    for host in at
        .routes
        .iter()
        .flat_map(|config| list(config, "virtual_hosts"))
    {
        let name = text(host, "name").unwrap_or_default();
        let routes = list(host, "routes");
        for value in std::iter::once(host).chain(routes) {
            for field in [
                "per_request_buffer_limit_bytes",
                "request_body_buffer_limit",
            ] {
                if let Some(bytes) = number(value, field) {
                    compare(format!("`{field}` of virtual host {name}"), bytes);
                }
            }
        }
        for action in routes.iter().filter_map(|route| route.get("route")) {
            for cluster in routes::led_to(action) {
                if let Some(found) = dump.cluster(cluster) {
                    compare(format!("connections to cluster {cluster}"), buffer(found));
                }
            }
        }
    }
    if small.is_empty() {
        return Finding::ok(
            "buffers",
            format!("listener {}: above the filter's {most} bytes", at.name),
        );
    }
    small.dedup();
    Finding::problem(
        "buffers",
        format!(
            "listener {}: not above the {most} bytes that the filter reads: {}",
            at.name,
            small.join(", ")
        ),
        "raise `per_connection_buffer_limit_bytes` (and what is named), or lower the filter's `limits.body`",
    )
}

fn token_service(dump: &Dump<'_>, at: &Governed<'_>, name: &str) -> Finding {
    let Some(cluster) = dump.cluster(name) else {
        return Finding::problem(
            "token service",
            format!("listener {}: there is no cluster {name}", at.name),
            "define it, or correct the filter's `token_service.cluster`",
        );
    };
    let options = cluster.get("typed_extension_protocol_options");
    let http2 = options
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(|options| options.values())
        .filter_map(|options| options.get("explicit_http_config"))
        .any(|explicit| explicit.get("http2_protocol_options").is_some());
    if http2 || cluster.get("http2_protocol_options").is_some() {
        return Finding::ok(
            "token service",
            format!("listener {}: cluster {name}, HTTP/2", at.name),
        );
    }
    Finding::warning(
        "token service",
        format!("listener {}: cluster {name} does not speak HTTP/2", at.name),
        "give it `explicit_http_config: { http2_protocol_options: {} }`: a mint costs a quarter of what it does over HTTP/1.1",
    )
}
