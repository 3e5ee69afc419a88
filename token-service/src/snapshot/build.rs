//! The parts of a gateway's snapshot: what it may know, and nothing else.

use std::collections::BTreeMap;

use axum::body::Bytes;
use writ_core::{seal::key_of_server, snapshot::parts::Contents};
use writ_policy::{
    pin::Pins,
    snapshot::{AGENTS, AgentEntry, Halt, KEYS, SERVERS, SPANS, STOPS, SealKey, ServerEntry},
};

use super::Form;
use crate::{
    app::App,
    oauth::chain::of_agent,
    policy::Policy,
    registry::{Agent, Gateway, GatewayKind, Labels, Registry, Server, Status},
};

pub(super) fn contents(
    app: &App,
    registry: &Registry,
    policy: &Policy,
    gateway: &Gateway,
    form: Form,
) -> Result<Contents<Bytes>, serde_json::Error> {
    let mut contents = Contents::default();
    match gateway.kind {
        GatewayKind::Gateway => policy.put_into(&mut contents, form),
        // It decides nothing: what others may do is none of its business.
        GatewayKind::Guard | GatewayKind::Egress => policy.put_into_guards(&mut contents, form),
    }
    contents.put(KEYS, app.keys.jwks().as_ref())?;
    if gateway.kind == GatewayKind::Egress {
        return watching(app, registry, contents);
    }
    let halt = Halt {
        disabled_subjects: registry.disabled_subjects().clone(),
        stops: registry.stops().clone(),
    };
    contents.put(STOPS, &halt)?;
    // A guard makes no spans.
    if app.telemetry.takes_spans() && gateway.kind == GatewayKind::Gateway {
        contents.put(SPANS, &true)?;
    }
    let servers = registry.servers().filter(|s| gateway.is_for(s.id.as_str()));
    contents.put_each(
        SERVERS,
        servers.map(|s| (s.id.to_string(), server_entry(app, s, gateway.kind))),
    )?;
    let agents = registry.agents();
    contents.put_each(
        AGENTS,
        agents.map(|a| (a.id.to_string(), agent_entry(a, gateway))),
    )?;
    for (name, part) in registry.revoked().parts(out_of_use(registry))? {
        contents.insert(&name, part);
    }
    Ok(contents)
}

/// For an egress, to which servers are places, and nobody is anybody.
fn watching(
    app: &App,
    registry: &Registry,
    mut contents: Contents<Bytes>,
) -> Result<Contents<Bytes>, serde_json::Error> {
    contents.put(STOPS, &Halt::default())?;
    let entry = |server: &Server| ServerEntry {
        upstream: server.upstream.clone(),
        upstream_audience: String::new(),
        scopes: Vec::new(),
        methods: Vec::new(),
        ..server_entry(app, server, GatewayKind::Egress)
    };
    let servers = registry.servers();
    contents.put_each(SERVERS, servers.map(|s| (s.id.to_string(), entry(s))))?;
    Ok(contents)
}

/// As tokens name them in `derived_from`: what others got on the tokens of agents that are switched off.
fn out_of_use(registry: &Registry) -> Vec<String> {
    registry
        .agents()
        .filter(|agent| agent.status != Status::Approved)
        .map(|agent| of_agent(agent.id.as_str()))
        .collect()
}

/// A server as its gateways know it, or its guards: those see no policy's labels, no lists, and no name that is sealed.
fn server_entry(app: &App, server: &Server, kind: GatewayKind) -> ServerEntry {
    let (labels, pins, seal_key) = match kind {
        GatewayKind::Gateway => {
            let key = key_of_server(app.names.bytes(), server.id.as_str());
            let key = Some(SealKey::new(key));
            (server.labels.clone(), server.pins.clone(), key)
        }
        GatewayKind::Guard | GatewayKind::Egress => (Labels::new(), Pins::new(), None),
    };
    ServerEntry {
        resource: server.resource.clone(),
        upstream_audience: server.upstream_audience.clone(),
        status: server.status,
        labels,
        scopes: server.scopes.clone(),
        enforcement: server.enforcement,
        methods: server.methods.clone(),
        pins,
        upstream: None,
        seal_key,
    }
}

/// An agent as this gateway may know it: other gateways' servers are none of its business, and a guard asks only whether
/// the agent is in use.
fn agent_entry(agent: &Agent, gateway: &Gateway) -> AgentEntry {
    if gateway.kind == GatewayKind::Guard {
        return AgentEntry {
            status: agent.status,
            labels: Labels::new(),
            tools: BTreeMap::new(),
        };
    }
    let own = agent
        .tools
        .iter()
        .filter(|(server, _)| gateway.is_for(server));
    AgentEntry {
        status: agent.status,
        labels: agent.labels.clone(),
        tools: own
            .map(|(server, tools)| (server.clone(), tools.clone()))
            .collect::<BTreeMap<_, _>>(),
    }
}
