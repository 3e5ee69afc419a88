//! `GET /gateway/v1/snapshot`: what a gateway decides from, built once per change and gateway.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
};

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use writ_core::seal::key_of_server;
use writ_policy::snapshot::{AgentEntry, FORMAT, SealKey, ServerEntry, Snapshot};

use super::{Asker, GatewayError, authenticate_any};
use crate::{
    app::{App, SharedApp},
    audit::TryKind,
    clock::rfc3339,
    http::{Peer, PeerCertificate},
    oauth::chain::of_agent,
    policy::Policy,
    registry::{Agent, Gateway, GatewayKind, Labels, Registry, Server, Status},
};

/// The snapshots as last built, one for each gateway.
#[derive(Debug, Default)]
pub struct Snapshots(Mutex<HashMap<String, Built>>);

#[derive(Clone, Debug)]
struct Built {
    registry: i64,
    policy: String,
    etag: HeaderValue,
    body: Bytes,
}

#[utoipa::path(
    get,
    path = "/gateway/v1/snapshot",
    operation_id = "snapshot",
    summary = "What a gateway decides from",
    security(("basic" = [])),
    responses((status = 200, description = "The snapshot", body = crate::openapi::schemas::Snapshot), (status = 304, description = "It has not changed"), crate::openapi::schemas::Refused)
)]
pub(super) async fn serve(
    State(app): State<SharedApp>,
    peer: Peer,
    certificate: PeerCertificate,
    headers: HeaderMap,
) -> Result<Response, GatewayError> {
    let registry = app.current_registry().await?;
    let Some(asker) = authenticate_any(&registry, &headers, &certificate) else {
        app.tries
            .note(TryKind::InvalidGateway, &peer.text(), app.clock.now());
        return Err(GatewayError::Unauthorized);
    };
    let built = app.snapshots.get(&app, &registry, &asker)?;
    let known = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|v| v.to_str().ok());
    let etag = built.etag.to_str().unwrap_or_default();
    if known.is_some_and(|known| known.split(',').any(|one| one.trim() == etag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, built.etag)]).into_response());
    }
    let headers = [
        (header::ETAG, built.etag),
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, built.body).into_response())
}

impl Snapshots {
    fn get(&self, app: &App, registry: &Registry, asker: &Asker) -> Result<Built, GatewayError> {
        let policy = app.policy();
        let current =
            |b: &&Built| b.registry == registry.revision() && b.policy == policy.revision();
        let held = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // No id has a colon: a server and a gateway of one name are two.
        let key = asker.name();
        if let Some(built) = held().get(&key).filter(current) {
            return Ok(built.clone());
        }
        let built = build(app, registry, &policy, asker)?;
        held().insert(key, built.clone());
        Ok(built)
    }
}

/// As tokens name them in `derived_from`: what others got on the tokens of agents that are switched off.
fn out_of_use(registry: &Registry) -> impl Iterator<Item = String> {
    registry
        .agents()
        .filter(|agent| agent.status != Status::Approved)
        .map(|agent| of_agent(agent.id.as_str()))
}

fn build(
    app: &App,
    registry: &Registry,
    policy: &Policy,
    asker: &Asker,
) -> Result<Built, GatewayError> {
    let gateway = asker.as_gateway();
    let mut snapshot = Snapshot {
        format: FORMAT,
        revision: String::new(),
        issued_at: String::new(),
        issuer: app.config.issuer.clone(),
        jwks: app.keys.jwks().as_ref().clone(),
        policy: match gateway.kind {
            GatewayKind::Gateway => policy.bundle().clone(),
            // It decides nothing: what others may do is none of its business.
            GatewayKind::Guard => policy.for_guards().clone(),
        },
        servers: registry
            .servers()
            .filter(|s| gateway.is_for(s.id.as_str()))
            .map(|s| (s.id.to_string(), server_entry(app, s, gateway.kind)))
            .collect(),
        agents: registry
            .agents()
            .map(|a| (a.id.to_string(), agent_entry(a, gateway)))
            .collect(),
        disabled_subjects: registry.disabled_subjects().clone(),
        revoked: registry
            .revoked()
            .cloned()
            .chain(out_of_use(registry))
            .collect(),
        stops: registry.stops().clone(),
    };
    // The revision is a digest of the contents: what changes nothing for this gateway changes no ETag.
    let digest = Sha256::digest(serde_json::to_vec(&snapshot)?);
    snapshot.revision = digest.iter().take(12).map(|b| format!("{b:02x}")).collect();
    snapshot.issued_at = rfc3339(app.clock.now());
    let etag = HeaderValue::try_from(format!("\"{}\"", snapshot.revision))
        .map_err(|_| GatewayError::Malformed("the revision does not fit a header".to_owned()))?;
    Ok(Built {
        registry: registry.revision(),
        policy: policy.revision().to_owned(),
        etag,
        body: serde_json::to_vec(&snapshot)?.into(),
    })
}

/// A server as its gateways know it, or its guards: those see no policy's labels, and no name that is sealed.
fn server_entry(app: &App, server: &Server, kind: GatewayKind) -> ServerEntry {
    let (labels, seal_key) = match kind {
        GatewayKind::Gateway => {
            let key = key_of_server(app.names.bytes(), server.id.as_str());
            (server.labels.clone(), Some(SealKey::new(key)))
        }
        GatewayKind::Guard => (Labels::new(), None),
    };
    ServerEntry {
        resource: server.resource.clone(),
        upstream_audience: server.upstream_audience.clone(),
        status: server.status,
        labels,
        scopes: server.scopes.clone(),
        enforcement: server.enforcement,
        methods: server.methods.clone(),
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
