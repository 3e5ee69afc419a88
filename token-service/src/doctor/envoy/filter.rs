//! The filter itself and its place in the chain.

use super::{
    super::Finding,
    dump::{Governed, is, is_true, list, text},
};

pub(super) fn examine(at: &Governed<'_>) -> Vec<Finding> {
    vec![
        configuration(at),
        place(at),
        holding(at),
        failure(at),
        rate_limit(at),
        internal(at),
    ]
}

fn configuration(at: &Governed<'_>) -> Finding {
    let name = at.name;
    if is_true(at.entry, "disabled") {
        return Finding::problem(
            "filter",
            format!("listener {name}: it is there, and disabled"),
            "remove `disabled` from it",
        );
    }
    match &at.config {
        Ok(_) => Finding::ok(
            "filter",
            format!("listener {name}: there, with a good configuration"),
        ),
        Err(error) => Finding::problem(
            "filter",
            format!("listener {name}: {error}"),
            "correct it (docs/configuration.md)",
        ),
    }
}

/// Nothing may change a message after it was decided on.
fn place(at: &Governed<'_>) -> Finding {
    let after = at.filters.get(at.position + 1..).unwrap_or_default();
    let entries = list(at.manager, "http_filters");
    let router_follows = entries
        .get(at.position + 1)
        .and_then(|entry| entry.get("typed_config"))
        .is_some_and(|config| is(config, "Router"));
    if router_follows && after.len() == 1 {
        return Finding::ok(
            "filter order",
            format!("listener {}: last before the router", at.name),
        );
    }
    Finding::problem(
        "filter order",
        format!(
            "listener {}: after the filter come {}",
            at.name,
            after.join(", ")
        ),
        "make Writ the last filter before the router: what comes after it can change what was decided on",
    )
}

fn holding(at: &Governed<'_>) -> Finding {
    if is_true(at.plugin, "allow_on_headers_stop_iteration") {
        return Finding::ok("header holding", format!("listener {}: on", at.name));
    }
    Finding::problem(
        "header holding",
        format!(
            "listener {}: off, so that every call is answered 503",
            at.name
        ),
        "set `allow_on_headers_stop_iteration: true` on the filter",
    )
}

fn failure(at: &Governed<'_>) -> Finding {
    let policy = text(at.plugin, "failure_policy").unwrap_or("UNSPECIFIED");
    if policy == "FAIL_OPEN" || is_true(at.plugin, "fail_open") {
        return Finding::problem(
            "failure policy",
            format!(
                "listener {}: when the filter fails, calls go through undecided",
                at.name
            ),
            "set `failure_policy: FAIL_CLOSED` on the filter, and no `fail_open`",
        );
    }
    Finding::ok(
        "failure policy",
        format!("listener {}: closed ({policy})", at.name),
    )
}

fn rate_limit(at: &Governed<'_>) -> Finding {
    let before = at.filters.get(..at.position).unwrap_or_default();
    if before.iter().any(|name| name.contains("ratelimit")) {
        return Finding::ok(
            "rate limit",
            format!("listener {}: before the filter", at.name),
        );
    }
    Finding::warning(
        "rate limit",
        format!("listener {}: none before the filter", at.name),
        "put `envoy.filters.http.local_ratelimit` first: deciding costs more than refusing",
    )
}

/// An internal caller can turn on retries by a header (`x-envoy-retry-on`).
fn internal(at: &Governed<'_>) -> Finding {
    if at.manager.get("internal_address_config").is_some()
        && is_true(at.manager, "use_remote_address")
    {
        return Finding::ok(
            "internal callers",
            format!("listener {}: as configured", at.name),
        );
    }
    Finding::warning(
        "internal callers",
        format!(
            "listener {}: private addresses may set x-envoy-* headers, retries too",
            at.name
        ),
        "set `use_remote_address: true` and an `internal_address_config` that names no caller (envoy/gateway.yaml)",
    )
}
