//! How the listener reads requests, and how long it lets them and their responses take.

use serde_json::Value;
use writ_core::config::Mode;

use super::{
    super::Finding,
    dump::{Governed, is_true, list, text},
};

pub(super) fn examine(at: &Governed<'_>) -> Vec<Finding> {
    vec![
        paths(at),
        header_names(at),
        message_length(at),
        slow_requests(at),
        streams(at),
    ]
}

/// Routes, filter and server have to see one spelling of a path.
fn paths(at: &Governed<'_>) -> Finding {
    let mut missing = Vec::new();
    for field in ["normalize_path", "merge_slashes"] {
        if !is_true(at.manager, field) {
            missing.push(format!("`{field}: true`"));
        }
    }
    let escaped = text(at.manager, "path_with_escaped_slashes_action");
    if matches!(
        escaped,
        None | Some("IMPLEMENTATION_SPECIFIC_DEFAULT" | "KEEP_UNCHANGED")
    ) {
        missing.push("`path_with_escaped_slashes_action: REJECT_REQUEST`".to_owned());
    }
    if missing.is_empty() {
        return Finding::ok("paths", format!("listener {}: one spelling", at.name));
    }
    Finding::problem(
        "paths",
        format!(
            "listener {}: another spelling of a path can take another route than the server would say",
            at.name
        ),
        format!("set {}", missing.join(", ")),
    )
}

/// `Mcp_Method` and `Mcp-Method` are one header to some servers.
fn header_names(at: &Governed<'_>) -> Finding {
    let action = at
        .manager
        .get("common_http_protocol_options")
        .and_then(|options| text(options, "headers_with_underscores_action"));
    if matches!(action, Some("REJECT_REQUEST" | "DROP_HEADER")) {
        return Finding::ok(
            "header names",
            format!("listener {}: no underscores", at.name),
        );
    }
    Finding::warning(
        "header names",
        format!(
            "listener {}: with underscores too, which some servers read as hyphens",
            at.name
        ),
        "set `headers_with_underscores_action: REJECT_REQUEST` in `common_http_protocol_options`",
    )
}

/// RFC 9112 section 6.3: a message with two lengths may be an attempt at smuggling.
fn message_length(at: &Governed<'_>) -> Finding {
    let http1 = at.manager.get("http_protocol_options");
    if http1.is_some_and(|options| is_true(options, "allow_chunked_length")) {
        return Finding::problem(
            "message length",
            format!(
                "listener {}: requests may announce two lengths, and be read as two requests",
                at.name
            ),
            "remove `allow_chunked_length`",
        );
    }
    Finding::ok("message length", format!("listener {}: one", at.name))
}

/// A request that does not arrive holds a stream, and a context in the filter.
fn slow_requests(at: &Governed<'_>) -> Finding {
    let unlimited: Vec<&str> = ["request_headers_timeout", "request_timeout"]
        .into_iter()
        .filter(|field| !limited(at.manager, field))
        .collect();
    if unlimited.is_empty() {
        return Finding::ok("slow requests", format!("listener {}: end", at.name));
    }
    Finding::warning(
        "slow requests",
        format!(
            "listener {}: may take forever to arrive (no {})",
            at.name,
            unlimited.join(", ")
        ),
        "set them: a request is small, and only its response may take long",
    )
}

/// A stream of the server's ends when it is over.
fn streams(at: &Governed<'_>) -> Finding {
    let mut cut = Vec::new();
    for (name, action) in governed_routes(at) {
        if text(action, "timeout") != Some("0s") {
            cut.push(format!("{name}: `timeout: 0s`"));
        }
        let idle = action.get("idle_timeout").is_some();
        if !idle && text(at.manager, "stream_idle_timeout") != Some("0s") {
            cut.push(format!("{name}: `idle_timeout: 3600s`"));
        }
    }
    if cut.is_empty() {
        return Finding::ok(
            "streams",
            format!("listener {}: last as long as they need", at.name),
        );
    }
    Finding::warning(
        "streams",
        format!(
            "listener {}: are cut off after Envoy's defaults, or when they say nothing for minutes",
            at.name
        ),
        format!("set {}", cut.join(", ")),
    )
}

/// Whether a duration is set and not zero, which means none.
fn limited(of: &Value, field: &str) -> bool {
    text(of, field).is_some_and(|duration| duration != "0s")
}

/// The actions of the routes that lead to MCP servers, by name.
fn governed_routes<'a>(at: &Governed<'a>) -> Vec<(String, &'a Value)> {
    let by_metadata = matches!(
        at.config.as_ref().map(|config| &config.mode),
        Ok(Mode::Gateway(_))
    );
    let hosts = at
        .routes
        .iter()
        .flat_map(|config| list(config, "virtual_hosts"));
    let mut governed = Vec::new();
    for host in hosts {
        let host_name = text(host, "name").unwrap_or_default();
        for (n, route) in list(host, "routes").iter().enumerate() {
            let names_a_server = route.pointer("/metadata/filter_metadata/writ").is_some();
            if let Some(action) = route.get("route")
                && (names_a_server || !by_metadata)
            {
                let name = text(route, "name").map_or_else(
                    || format!("route {host_name}[{n}]"),
                    |name| format!("route {name}"),
                );
                governed.push((name, action));
            }
        }
    }
    governed
}
