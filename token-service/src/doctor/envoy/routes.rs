//! Where calls go from here: once, to nobody else, and not past the filter.

use serde_json::Value;
use writ_core::config::{CREDENTIAL_HEADERS, Mode};

use super::{
    super::Finding,
    dump::{Dump, Governed, is, is_true, list, text},
};
use crate::registry::{Enforcement, Registry};

const ONCE: &str = "a token that was minted for one request is sent once";

pub(super) fn examine(
    dump: &Dump<'_>,
    at: &Governed<'_>,
    registry: Option<&Registry>,
) -> Vec<Finding> {
    let places = places(dump, at);
    let mut found = vec![
        judged(
            at,
            ("retries", "none"),
            &places,
            &[
                "retry_policy",
                "retry_policy_typed_config",
                "hedge_policy",
                "internal_redirect_policy",
            ],
            &format!("remove them: {ONCE}"),
        ),
        judged(
            at,
            ("mirroring", "none"),
            &places,
            &["request_mirror_policies"],
            "remove it: who gets a copy of a request gets its token",
        ),
        judged(
            at,
            ("destinations", "as configured"),
            &places,
            &[
                "cluster_header",
                "cluster_specifier_plugin",
                "inline_cluster_specifier_plugin",
            ],
            "name the cluster: a token for one server must not go where a request says",
        ),
        credentials(at, &places),
        upgrades(at, &places),
        bypasses(at, &places),
    ];
    found.extend(servers(at, &places, registry));
    found
}

/// Something in the configuration where a rule of ours can be broken, and what it is called.
struct Place<'a> {
    name: String,
    value: &'a Value,
}

/// Route configurations, virtual hosts, routes with their actions, and the clusters that these lead to.
fn places<'a>(dump: &Dump<'a>, at: &Governed<'a>) -> Vec<Place<'a>> {
    let mut places = Vec::new();
    let mut clusters: Vec<&str> = Vec::new();
    for config in &at.routes {
        let name = text(config, "name").unwrap_or("inline");
        places.push(place(format!("route configuration {name}"), config));
        for host in list(config, "virtual_hosts") {
            let host_name = text(host, "name").unwrap_or_default();
            places.push(place(format!("virtual host {host_name}"), host));
            for (n, route) in list(host, "routes").iter().enumerate() {
                let name = match text(route, "name") {
                    Some(name) => format!("route {name}"),
                    None => format!("route {host_name}[{n}]"),
                };
                if let Some(action) = route.get("route") {
                    clusters.extend(led_to(action));
                    let weighted = weighted(action).iter();
                    places.extend(weighted.map(|one| place(name.clone(), one)));
                    places.push(place(name.clone(), action));
                }
                places.push(place(name, route));
            }
        }
    }
    clusters.sort_unstable();
    clusters.dedup();
    for name in clusters {
        let options = dump
            .cluster(name)
            .and_then(|c| c.get("typed_extension_protocol_options")?.as_object())
            .into_iter()
            .flat_map(|options| options.values());
        places.extend(options.map(|options| place(format!("cluster {name}"), options)));
    }
    places
}

fn place(name: String, value: &Value) -> Place<'_> {
    Place { name, value }
}

/// The clusters that a route's action names.
pub(super) fn led_to(action: &Value) -> impl Iterator<Item = &str> {
    let weighted = weighted(action).iter();
    text(action, "cluster")
        .into_iter()
        .chain(weighted.filter_map(|one| text(one, "name")))
}

/// The clusters among which a route's action chooses by weight, each with settings of its own.
fn weighted(action: &Value) -> &[Value] {
    action
        .get("weighted_clusters")
        .map_or(&[][..], |weighted| list(weighted, "clusters"))
}

/// A problem where any of `fields` is set.
fn judged(
    at: &Governed<'_>,
    (check, good): (&'static str, &str),
    places: &[Place<'_>],
    fields: &[&str],
    fix: &str,
) -> Finding {
    let set = |place: &Place<'_>, field: &str| match place.value.get(field) {
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::Null) | None => false,
        Some(_) => true,
    };
    let broken: Vec<String> = places
        .iter()
        .flat_map(|place| {
            let set = fields.iter().filter(|field| set(place, field));
            set.map(|field| format!("{} has `{field}`", place.name))
        })
        .collect();
    if broken.is_empty() {
        Finding::ok(check, format!("listener {}: {good}", at.name))
    } else {
        Finding::problem(
            check,
            format!("listener {}: {}", at.name, broken.join(", ")),
            fix,
        )
    }
}

/// What Envoy adds on a route it adds after the filter: a standing credential for whoever is let through.
fn credentials(at: &Governed<'_>, places: &[Place<'_>]) -> Finding {
    let adds = |place: &Place<'_>| {
        list(place.value, "request_headers_to_add")
            .iter()
            .filter_map(|one| text(one.get("header")?, "key"))
            .any(|key| {
                let key = key.to_ascii_lowercase();
                key == "authorization" || CREDENTIAL_HEADERS.contains(&key.as_str())
            })
    };
    let adding: Vec<&str> = places
        .iter()
        .filter(|place| adds(place))
        .map(|place| place.name.as_str())
        .collect();
    if adding.is_empty() {
        return Finding::ok("credentials", format!("listener {}: none added", at.name));
    }
    Finding::problem(
        "credentials",
        format!("listener {}: added on {}", at.name, adding.join(", ")),
        "remove them from `request_headers_to_add`: the server is to get the minted token and nothing else",
    )
}

/// What flows through an upgraded connection is seen by no filter.
fn upgrades(at: &Governed<'_>, places: &[Place<'_>]) -> Finding {
    let manager = place(format!("listener {}", at.name), at.manager);
    let on = |place: &&Place<'_>| {
        list(place.value, "upgrade_configs")
            .iter()
            .any(|one| one.get("enabled").and_then(Value::as_bool) != Some(false))
    };
    let upgraded: Vec<&str> = std::iter::once(&manager)
        .chain(places)
        .filter(on)
        .map(|place| place.name.as_str())
        .collect();
    if upgraded.is_empty() {
        return Finding::ok("upgrades", format!("listener {}: off", at.name));
    }
    Finding::problem(
        "upgrades",
        format!("listener {}: allowed on {}", at.name, upgraded.join(", ")),
        "remove `upgrade_configs`: no filter sees what flows through a WebSocket",
    )
}

/// A route can switch a filter off, or change how it is configured.
fn bypasses(at: &Governed<'_>, places: &[Place<'_>]) -> Finding {
    let filter = text(at.entry, "name").unwrap_or_default();
    let off = |place: &&Place<'_>| {
        place
            .value
            .get("typed_per_filter_config")
            .and_then(|all| all.get(filter))
            .is_some_and(|own| is_true(own, "disabled") || !is(own, "FilterConfig"))
    };
    let bypassed: Vec<&str> = places
        .iter()
        .filter(off)
        .map(|place| place.name.as_str())
        .collect();
    if bypassed.is_empty() {
        return Finding::ok("bypasses", format!("listener {}: none", at.name));
    }
    Finding::problem(
        "bypasses",
        format!(
            "listener {}: the filter is switched off or changed on {}",
            at.name,
            bypassed.join(", ")
        ),
        "remove it from their `typed_per_filter_config`",
    )
}

/// In gateway mode a route's metadata names the server in the registry, in guard mode the configuration does.
fn servers(
    at: &Governed<'_>,
    places: &[Place<'_>],
    registry: Option<&Registry>,
) -> Option<Finding> {
    match &at.config.as_ref().ok()?.mode {
        Mode::Gateway(_) => Some(routed(at, places, registry)),
        Mode::Guard(guard) => Some(guarded(at, &guard.server, registry)),
        Mode::Static(_) | Mode::Egress(_) => None,
    }
}

fn guarded(at: &Governed<'_>, id: &str, registry: Option<&Registry>) -> Finding {
    let server = registry.map(|registry| registry.servers().find(|s| s.id.as_str() == id));
    match server {
        Some(None) => Finding::problem(
            "guard",
            format!(
                "listener {}: guards {id}, which is not in the registry",
                at.name
            ),
            "register it (`writ server add … --enforcement guard`), or correct the filter's `server`",
        ),
        Some(Some(server)) if server.enforcement != Enforcement::Guard => Finding::warning(
            "guard",
            format!(
                "listener {}: guards {id}, and the registry says that another enforces: the server itself, or nobody",
                at.name
            ),
            "register it with --enforcement guard; a server that introspects would find each token spent",
        ),
        Some(Some(_)) | None => Finding::ok("guard", format!("listener {}: guards {id}", at.name)),
    }
}

fn routed(at: &Governed<'_>, places: &[Place<'_>], registry: Option<&Registry>) -> Finding {
    let named = |place: &Place<'_>| -> Option<String> {
        let metadata = place.value.get("metadata")?.get("filter_metadata")?;
        text(metadata.get("writ")?, "server").map(str::to_owned)
    };
    let named: Vec<String> = places.iter().filter_map(named).collect();
    if named.is_empty() {
        return Finding::problem(
            "routes",
            format!(
                "listener {}: no route names a server of the registry",
                at.name
            ),
            "give each route its server: `metadata: { filter_metadata: { writ: { server: ID } } }`",
        );
    }
    let unknown: Vec<&str> = named
        .iter()
        .map(String::as_str)
        .filter(|id| registry.is_some_and(|r| !r.servers().any(|s| s.id.as_str() == *id)))
        .collect();
    let nameless = nameless(at);
    if unknown.is_empty() && !nameless.is_empty() {
        Finding::warning(
            "routes",
            format!(
                "listener {}: no server on {}, so that whatever comes there is refused",
                at.name,
                nameless.join(", ")
            ),
            "give them a server (`metadata: { filter_metadata: { writ: { server: ID } } }`), or remove them",
        )
    } else if unknown.is_empty() {
        Finding::ok(
            "routes",
            format!("listener {}: lead to {}", at.name, named.join(", ")),
        )
    } else {
        Finding::problem(
            "routes",
            format!(
                "listener {}: not in the registry: {}",
                at.name,
                unknown.join(", ")
            ),
            "register them (`writ server add`), or correct the routes' metadata",
        )
    }
}

/// Routes that lead somewhere, through the filter, and name no server: the filter refuses what comes there.
fn nameless(at: &Governed<'_>) -> Vec<String> {
    let filter = text(at.entry, "name").unwrap_or_default();
    let hosts = at
        .routes
        .iter()
        .flat_map(|config| list(config, "virtual_hosts"));
    let mut nameless = Vec::new();
    for host in hosts {
        let host_name = text(host, "name").unwrap_or_default();
        for (n, route) in list(host, "routes").iter().enumerate() {
            let own = route.get("typed_per_filter_config");
            let governed = own.and_then(|own| own.get(filter)).is_none();
            let named = route.pointer("/metadata/filter_metadata/writ").is_some();
            if route.get("route").is_some() && governed && !named {
                nameless.push(format!("route {host_name}[{n}]"));
            }
        }
    }
    nameless
}
