use serde_json::{Value, json};

use super::*;
use crate::doctor::Level;

/// What an Envoy 1.40 with `envoy/gateway.yaml` answers.
const RECORDED: &str = include_str!("dump.json");

fn recorded() -> Value {
    serde_json::from_str(RECORDED).unwrap()
}

/// A place in the recorded dump. The first section is the bootstrap; the dump of the routes is a copy of what is inline.
const LISTENER: &str = "/configs/2/static_listeners/0/listener";
const MANAGER: &str =
    "/configs/2/static_listeners/0/listener/filter_chains/0/filters/0/typed_config";
const CLUSTER: &str = "/configs/1/static_clusters/0/cluster";

fn with(place: &str, name: &str, value: Value) -> Value {
    let mut dump = recorded();
    dump.pointer_mut(place)
        .unwrap()
        .as_object_mut()
        .unwrap()
        .insert(name.to_owned(), value);
    dump
}

fn without(place: &str, name: &str) -> Value {
    let mut dump = recorded();
    let at = dump.pointer_mut(place).unwrap().as_object_mut().unwrap();
    assert!(at.remove(name).is_some());
    dump
}

/// What is wrong in a dump: checks and levels.
fn wrong(dump: &Value) -> Vec<(&'static str, Level)> {
    judge(dump, None)
        .into_iter()
        .filter(|one| one.level != Level::Ok)
        .map(|one| (one.check, one.level))
        .collect()
}

fn in_manager(rest: &str) -> String {
    format!("{MANAGER}{rest}")
}

#[test]
fn the_shipped_envoy_is_as_it_should_be() {
    assert_eq!(wrong(&recorded()), []);
}

#[test]
fn an_envoy_without_the_filter_is_a_problem() {
    let dump = with(MANAGER, "http_filters", json!([]));
    assert_eq!(wrong(&dump), [("filter", Level::Problem)]);
    assert_eq!(wrong(&json!({})), [("filter", Level::Problem)]);
}

#[test]
fn each_thing_that_is_wrong_is_noticed() {
    let plugin = in_manager("/http_filters/1/typed_config/config");
    let vhost = in_manager("/route_config/virtual_hosts/0");
    let route = in_manager("/route_config/virtual_hosts/0/routes/0");
    let action = in_manager("/route_config/virtual_hosts/0/routes/0/route");
    let retry = json!({"retry_on": "5xx"});
    let mirror = json!([{"cluster": "shadow"}]);
    let upgrade = json!([{"upgrade_type": "websocket"}]);
    let off = json!({"writ": {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": true}});
    let options = format!(
        "{CLUSTER}/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    );
    let config = in_manager("/http_filters/1/typed_config/config/configuration");
    let added = json!([{"header": {"key": "X-Api-Key", "value": "standing"}}]);
    for (check, dump) in [
        (
            "header holding",
            without(&plugin, "allow_on_headers_stop_iteration"),
        ),
        (
            "failure policy",
            with(&plugin, "failure_policy", json!("FAIL_OPEN")),
        ),
        ("failure policy", with(&plugin, "fail_open", json!(true))),
        (
            "filter",
            with(&config, "value", json!("{\"mode\": \"gateway\"}")),
        ),
        (
            "filter",
            with(&in_manager("/http_filters/1"), "disabled", json!(true)),
        ),
        ("retries", with(&vhost, "retry_policy", retry.clone())),
        ("retries", with(&action, "retry_policy", retry.clone())),
        (
            "retries",
            with(
                &action,
                "hedge_policy",
                json!({"hedge_on_per_try_timeout": true}),
            ),
        ),
        ("retries", with(&options, "retry_policy", retry)),
        (
            "mirroring",
            with(&action, "request_mirror_policies", mirror.clone()),
        ),
        (
            "mirroring",
            with(&vhost, "request_mirror_policies", mirror.clone()),
        ),
        (
            "mirroring",
            with(
                &in_manager("/route_config"),
                "request_mirror_policies",
                mirror,
            ),
        ),
        (
            "upgrades",
            with(MANAGER, "upgrade_configs", upgrade.clone()),
        ),
        ("upgrades", with(&action, "upgrade_configs", upgrade)),
        (
            "bypasses",
            with(&route, "typed_per_filter_config", off.clone()),
        ),
        ("bypasses", with(&vhost, "typed_per_filter_config", off)),
        (
            "buffers",
            without(LISTENER, "per_connection_buffer_limit_bytes"),
        ),
        (
            "buffers",
            with(CLUSTER, "per_connection_buffer_limit_bytes", json!(1024)),
        ),
        (
            "buffers",
            with(&vhost, "per_request_buffer_limit_bytes", json!(1024)),
        ),
        ("routes", without(&route, "metadata")),
        (
            "retries",
            with(&action, "internal_redirect_policy", json!({})),
        ),
        (
            "destinations",
            with(&action, "cluster_header", json!("x-cluster")),
        ),
        (
            "credentials",
            with(&vhost, "request_headers_to_add", added.clone()),
        ),
        (
            "credentials",
            with(
                &action,
                "weighted_clusters",
                json!({"clusters": [{"name": "ledger", "request_headers_to_add": added}]}),
            ),
        ),
        (
            "cluster filters",
            with(
                &options,
                "http_filters",
                json!([{"typed_config": {"@type": "a.Lua"}}]),
            ),
        ),
        ("paths", without(MANAGER, "normalize_path")),
        ("paths", without(MANAGER, "merge_slashes")),
        (
            "paths",
            without(MANAGER, "path_with_escaped_slashes_action"),
        ),
        (
            "message length",
            with(
                MANAGER,
                "http_protocol_options",
                json!({"allow_chunked_length": true}),
            ),
        ),
        (
            "token service",
            with(
                "/configs/1/static_clusters/1/cluster",
                "name",
                json!("other"),
            ),
        ),
    ] {
        assert_eq!(wrong(&dump), [(check, Level::Problem)], "{check}");
    }
}

#[test]
fn what_comes_after_the_filter_is_named() {
    let mut dump = recorded();
    let filters = dump.pointer_mut(&in_manager("/http_filters")).unwrap();
    filters.as_array_mut().unwrap().swap(0, 1);
    let found = judge(&dump, None);
    let order = found.iter().find(|f| f.check == "filter order").unwrap();
    assert_eq!(order.level, Level::Problem);
    assert!(order.found.contains("local_ratelimit"), "{}", order.found);
    assert_eq!(
        wrong(&dump),
        [
            ("filter order", Level::Problem),
            ("rate limit", Level::Warning)
        ]
    );
}

#[test]
fn what_only_could_be_better_is_a_warning() {
    let action = in_manager("/route_config/virtual_hosts/0/routes/0/route");
    let options = format!(
        "{CLUSTER}/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    );
    let writ = "/configs/1/static_clusters/1/cluster";
    for (check, dump) in [
        (
            "token service",
            without(writ, "typed_extension_protocol_options"),
        ),
        (
            "internal callers",
            without(MANAGER, "internal_address_config"),
        ),
        ("internal callers", without(MANAGER, "use_remote_address")),
        (
            "internal callers",
            with(
                MANAGER,
                "internal_address_config",
                json!({"cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}),
            ),
        ),
        (
            "request ids",
            with(MANAGER, "preserve_external_request_id", json!(true)),
        ),
        (
            "header names",
            without(MANAGER, "common_http_protocol_options"),
        ),
        ("slow requests", without(MANAGER, "request_timeout")),
        (
            "slow requests",
            with(MANAGER, "request_headers_timeout", json!("0s")),
        ),
        ("streams", without(&action, "timeout")),
        ("streams", with(&action, "timeout", json!("15s"))),
        ("streams", without(&action, "idle_timeout")),
        (
            "rate limit",
            without(
                &in_manager("/http_filters/0/typed_config"),
                "filter_enforced",
            ),
        ),
        (
            "rate limit",
            with(&in_manager("/http_filters/0"), "disabled", json!(true)),
        ),
        ("retry breaker", without(CLUSTER, "circuit_breakers")),
        (
            "idle connections",
            without(&options, "common_http_protocol_options"),
        ),
    ] {
        assert_eq!(wrong(&dump), [(check, Level::Warning)], "{check}");
    }
}

#[test]
fn a_rate_limit_set_on_a_route_is_one() {
    let route = in_manager("/route_config/virtual_hosts/0/routes/0");
    let own = json!({"envoy.filters.http.local_ratelimit": {"@type": "a.LocalRateLimit"}});
    let mut dump = with(&route, "typed_per_filter_config", own);
    let limit = dump
        .pointer_mut(&in_manager("/http_filters/0/typed_config"))
        .unwrap();
    limit.as_object_mut().unwrap().remove("filter_enforced");
    assert_eq!(wrong(&dump), []);
}

#[test]
fn routes_and_filters_that_come_by_discovery_are_found() {
    let mut dump = recorded();
    let manager = dump.pointer_mut(MANAGER).unwrap().as_object_mut().unwrap();
    let routes = manager.remove("route_config").unwrap();
    manager.insert("rds".to_owned(), json!({"route_config_name": "mcp"}));
    let entry = manager["http_filters"][1].as_object_mut().unwrap();
    let config = entry.remove("typed_config").unwrap();
    entry.insert("config_discovery".to_owned(), json!({}));
    let configs = dump["configs"].as_array_mut().unwrap();
    let discovered =
        json!({"ecds_filters": [{"ecds_filter": {"name": "writ", "typed_config": config}}]});
    configs.push(discovered);
    configs.push(json!({"dynamic_route_configs": [{"route_config": routes}]}));
    assert_eq!(wrong(&dump), []);
}

#[test]
fn a_listener_of_a_control_plane_is_looked_at_like_any_other() {
    let mut dump = recorded();
    let section = dump["configs"][2].as_object_mut().unwrap();
    let listeners = section.remove("static_listeners").unwrap();
    section.insert(
        "dynamic_listeners".to_owned(),
        json!([{"name": "mcp", "active_state": listeners[0]}]),
    );
    assert_eq!(wrong(&dump), []);
}

#[test]
fn a_guard_is_looked_at_like_a_gateway() {
    let config = in_manager("/http_filters/1/typed_config/config/configuration");
    let guard = json!({"mode": "guard", "server": "ledger", "token_service":
        {"cluster": "writ", "gateway_id": "ledger-guard", "secret_env": "WRIT_GUARD_SECRET"}});
    let mut dump = with(&config, "value", json!(guard.to_string()));
    assert_eq!(wrong(&dump), []);
    let service = dump
        .pointer_mut("/configs/1/static_clusters/1/cluster")
        .unwrap();
    service["name"] = json!("other");
    assert_eq!(wrong(&dump), [("token service", Level::Problem)]);
}

#[test]
fn an_egress_is_looked_at_for_what_it_does() {
    let plugin = in_manager("/http_filters/1/typed_config/config");
    let watched = |unknown: &str| {
        let egress = json!({"mode": "egress", "unknown": unknown, "token_service":
            {"cluster": "writ", "gateway_id": "egress", "secret_env": "WRIT_EGRESS_SECRET"}});
        let mut dump = with(
            &format!("{plugin}/configuration"),
            "value",
            json!(egress.to_string()),
        );
        let filter = dump.pointer_mut(&plugin).unwrap();
        filter["failure_policy"] = json!("FAIL_OPEN");
        filter["allow_on_headers_stop_iteration"] = json!(false);
        dump
    };
    let mut recording = watched("record");
    assert_eq!(wrong(&recording), []);
    let refusing = wrong(&watched("refuse"));
    let checks: Vec<_> = refusing.iter().map(|(check, _)| *check).collect();
    assert_eq!(checks, ["header holding", "failure policy"]);
    let service = recording.pointer_mut("/configs/1/static_clusters/1/cluster");
    service.unwrap()["name"] = json!("other");
    assert_eq!(wrong(&recording), [("token service", Level::Problem)]);
}
