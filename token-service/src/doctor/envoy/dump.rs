//! Finding one's way in a config dump (envoy.admin.v3.ConfigDump).

use std::collections::BTreeMap;

use serde_json::Value;
use writ_core::config::{Config, ConfigError};

/// Listeners, route configurations, clusters and filters of an Envoy, wherever they came from.
#[derive(Debug, Default)]
pub(super) struct Dump<'a> {
    listeners: Vec<&'a Value>,
    routes: BTreeMap<&'a str, &'a Value>,
    clusters: BTreeMap<&'a str, &'a Value>,
    /// Filters by ECDS, by name.
    extensions: BTreeMap<&'a str, &'a Value>,
}

/// A chain of HTTP filters with Writ's in it.
#[derive(Debug)]
pub(super) struct Governed<'a> {
    /// The listener's name.
    pub(super) name: &'a str,
    pub(super) listener: &'a Value,
    /// The HTTP connection manager.
    pub(super) manager: &'a Value,
    /// The names of the HTTP filters, in order.
    pub(super) filters: Vec<&'a str>,
    /// Which of them is Writ's.
    pub(super) position: usize,
    /// Its entry in the chain.
    pub(super) entry: &'a Value,
    /// Its PluginConfig (envoy.extensions.wasm.v3).
    pub(super) plugin: &'a Value,
    /// Its own configuration, as the filter would read it.
    pub(super) config: Result<Config, ConfigError>,
    /// What it routes by.
    pub(super) routes: Vec<&'a Value>,
}

impl<'a> Dump<'a> {
    pub(super) fn read(dump: &'a Value) -> Self {
        let mut read = Self::default();
        for section in list(dump, "configs") {
            let both = |fixed, dynamic| list(section, fixed).iter().chain(list(section, dynamic));
            for one in both("static_listeners", "dynamic_listeners") {
                let active = one.get("active_state").unwrap_or(one);
                read.listeners.extend(active.get("listener"));
            }
            for one in both("static_route_configs", "dynamic_route_configs") {
                named(&mut read.routes, one.get("route_config"));
            }
            for one in both("static_clusters", "dynamic_active_clusters") {
                named(&mut read.clusters, one.get("cluster"));
            }
            for one in list(section, "ecds_filters") {
                named(&mut read.extensions, one.get("ecds_filter"));
            }
        }
        read
    }

    pub(super) fn cluster(&self, name: &str) -> Option<&'a Value> {
        self.clusters.get(name).copied()
    }

    pub(super) fn governed(&self) -> Vec<Governed<'a>> {
        let mut governed = Vec::new();
        for listener in &self.listeners {
            let chains = list(listener, "filter_chains");
            let chains = chains.iter().chain(listener.get("default_filter_chain"));
            for filter in chains.flat_map(|chain| list(chain, "filters")) {
                let manager = filter.get("typed_config");
                let manager = manager.filter(|config| is(config, "HttpConnectionManager"));
                governed.extend(manager.and_then(|manager| self.in_chain(listener, manager)));
            }
        }
        governed
    }

    fn in_chain(&self, listener: &'a Value, manager: &'a Value) -> Option<Governed<'a>> {
        let entries = list(manager, "http_filters");
        let (position, entry, plugin) = entries.iter().enumerate().find_map(|(at, entry)| {
            let plugin = self.typed_config(entry).and_then(plugin)?;
            Some((at, entry, plugin))
        })?;
        Some(Governed {
            name: text(listener, "name").unwrap_or("(without a name)"),
            listener,
            manager,
            filters: entries.iter().filter_map(|e| text(e, "name")).collect(),
            position,
            entry,
            plugin,
            // Whatever variable holds the gateway's secret is Envoy's to know; it ends with a key.
            config: Config::read(configuration(plugin).unwrap_or("").as_bytes(), |_| {
                Some(format!("unknown.{}", "A".repeat(43)))
            }),
            routes: self.routes_of(manager),
        })
    }

    fn typed_config(&self, entry: &'a Value) -> Option<&'a Value> {
        entry.get("typed_config").or_else(|| {
            entry.get("config_discovery")?;
            let discovered = self.extensions.get(text(entry, "name")?)?;
            discovered.get("typed_config")
        })
    }

    fn routes_of(&self, manager: &'a Value) -> Vec<&'a Value> {
        if let Some(inline) = manager.get("route_config") {
            return vec![inline];
        }
        match manager
            .get("rds")
            .and_then(|rds| text(rds, "route_config_name"))
        {
            Some(name) => self.routes.get(name).copied().into_iter().collect(),
            // Scoped routes: any of them may be taken.
            None => self.routes.values().copied().collect(),
        }
    }
}

/// The PluginConfig in a Wasm filter's configuration, if it runs Writ.
fn plugin(typed: &Value) -> Option<&Value> {
    let wasm = match typed.get("value") {
        Some(value) if is(typed, "TypedStruct") => {
            let url = text(typed, "type_url")?;
            url.ends_with(".wasm.v3.Wasm").then_some(value)?
        }
        _ => is(typed, "Wasm").then_some(typed)?,
    };
    let plugin = wasm.get("config")?;
    let ours = |name| text(plugin, name) == Some("writ");
    let configured = || -> Option<bool> {
        let config: Value = serde_json::from_str(configuration(plugin)?).ok()?;
        Some(["gateway", "guard", "static", "egress"].contains(&text(&config, "mode")?))
    };
    (ours("name") || ours("root_id") || configured().unwrap_or(false)).then_some(plugin)
}

fn configuration(plugin: &Value) -> Option<&str> {
    text(plugin.get("configuration")?, "value")
}

fn named<'a>(into: &mut BTreeMap<&'a str, &'a Value>, value: Option<&'a Value>) {
    if let Some(value) = value
        && let Some(name) = text(value, "name")
    {
        into.insert(name, value);
    }
}

/// Whether a typed configuration is of the message type of this name.
pub(super) fn is(typed: &Value, message: &str) -> bool {
    text(typed, "@type").is_some_and(|url| url.rsplit('.').next() == Some(message))
}

/// A list; empty where there is none.
pub(super) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value
        .get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

pub(super) fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str()
}

pub(super) fn is_true(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool) == Some(true)
}

/// A number; 64 bit ones are texts in protobuf's JSON.
pub(super) fn number(value: &Value, name: &str) -> Option<u64> {
    let value = value.get(name)?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}
