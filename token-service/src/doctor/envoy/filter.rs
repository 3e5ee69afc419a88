//! The filter itself and its place in the chain.

use std::net::Ipv6Addr;

use serde_json::Value;
use writ_core::config::Unknown;

use super::{
    super::Finding,
    dump::{Governed, is, is_true, list, number, text},
};

pub(super) fn examine(at: &Governed<'_>) -> Vec<Finding> {
    vec![
        configuration(at),
        place(at),
        holding(at),
        failure(at),
        rate_limit(at),
        internal(at),
        request_ids(at),
    ]
}

/// Where traffic is only watched; what is refused must be held, and refused when the filter fails, too.
pub(super) fn watching(at: &Governed<'_>, unknown: Unknown) -> Vec<Finding> {
    match unknown {
        Unknown::Record => vec![configuration(at)],
        Unknown::Refuse => vec![configuration(at), holding(at), failure(at)],
    }
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
    let entries = list(at.manager, "http_filters");
    let before = entries.get(..at.position).unwrap_or_default();
    if before.iter().any(|entry| limits_rates(at, entry)) {
        return Finding::ok(
            "rate limit",
            format!("listener {}: before the filter", at.name),
        );
    }
    Finding::warning(
        "rate limit",
        format!(
            "listener {}: none before the filter, or none enforced",
            at.name
        ),
        "put `envoy.filters.http.local_ratelimit` first, with `filter_enabled` and `filter_enforced` (envoy/gateway.yaml): \
         deciding costs more than refusing",
    )
}

/// Whether it limits rates, here or on a route. The local one does nothing until it is told to, twice.
fn limits_rates(at: &Governed<'_>, entry: &Value) -> bool {
    let name = text(entry, "name").unwrap_or_default();
    let config = entry.get("typed_config").unwrap_or(&Value::Null);
    let on = |field: &str| {
        let share = config.get(field).and_then(|one| one.get("default_value"));
        share.and_then(|share| number(share, "numerator")) > Some(0)
    };
    let of_a_route = || {
        let hosts = at.routes.iter().flat_map(|one| list(one, "virtual_hosts"));
        let mut places = hosts.flat_map(|host| list(host, "routes").iter().chain([host]));
        places.any(|place| {
            let own = place.get("typed_per_filter_config");
            own.is_some_and(|own| own.get(name).is_some())
        })
    };
    let limits = if is(config, "LocalRateLimit") {
        (on("filter_enabled") && on("filter_enforced")) || of_a_route()
    } else {
        name.contains("ratelimit")
    };
    limits && !is_true(entry, "disabled")
}

/// An internal caller can turn on retries by a header (`x-envoy-retry-on`).
fn internal(at: &Governed<'_>) -> Finding {
    let ranges = at
        .manager
        .get("internal_address_config")
        .map_or(&[][..], |config| list(config, "cidr_ranges"));
    if is_true(at.manager, "use_remote_address") && !ranges.is_empty() && ranges.iter().all(nobody)
    {
        return Finding::ok("internal callers", format!("listener {}: none", at.name));
    }
    Finding::warning(
        "internal callers",
        format!(
            "listener {}: some callers may set x-envoy-* headers, retries too, or claim an address",
            at.name
        ),
        "set `use_remote_address: true` and an `internal_address_config` that names no caller (envoy/gateway.yaml)",
    )
}

/// Whether a range lies in 100::/64, to which nobody's packets go (RFC 6666).
fn nobody(range: &Value) -> bool {
    let address: Option<Ipv6Addr> = text(range, "address_prefix").and_then(|at| at.parse().ok());
    address.is_some_and(|address| address.segments().starts_with(&[0x100, 0, 0, 0]))
        && number(range, "prefix_len") >= Some(64)
}

/// What is on record is to be found in Envoy's log, and nobody else's to choose.
fn request_ids(at: &Governed<'_>) -> Finding {
    if is_true(at.manager, "preserve_external_request_id") {
        return Finding::warning(
            "request ids",
            format!(
                "listener {}: callers choose the request id that the audit trail records",
                at.name
            ),
            "remove `preserve_external_request_id`",
        );
    }
    Finding::ok("request ids", format!("listener {}: Envoy's own", at.name))
}
