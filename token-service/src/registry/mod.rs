//! The registry in memory: servers, agents and gateways as of one revision.
//!
//! Read from the store as a whole and never changed in place. Whatever is decided from it is committed under
//! its [`Registry::revision`]: the store refuses the commit when the revision has moved on.

mod agent;
mod client_id;
pub mod definitions;
mod gateway;
mod id;
mod metadata;
mod revoked;
mod server;
mod workload;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

pub use agent::{Agent, AuthMethod, Grant, RedirectUri, RedirectUriError};
pub use client_id::{ClientId, ClientIdError};
pub use gateway::{Gateway, GatewayKind, GatewayProof};
pub use id::{Id, IdError};
pub use metadata::{ApplicationType, ClientMetadata, Origin};
pub use revoked::{Revocation, Revoked};
pub use server::{Server, ServerError, check_identifier};
pub use workload::{Workload, WorkloadError, is_trust_domain, trust_domain};
use writ_core::token::Claims;
use writ_policy::input::{self, Document};
use writ_policy::stops::Stops;
pub use writ_policy::{
    input::{Labels, Status},
    snapshot::Enforcement,
};

/// Everything that is registered, as of one revision.
#[derive(Debug, Default)]
pub struct Registry {
    revision: i64,
    servers: HashMap<String, Arc<Server>>,
    by_resource: HashMap<String, Arc<Server>>,
    by_audience: HashMap<String, Arc<Server>>,
    documents: HashMap<String, Document<input::Server>>,
    agents: HashMap<String, Arc<Agent>>,
    by_workload: HashMap<Workload, Arc<Agent>>,
    gateways: HashMap<String, Arc<Gateway>>,
    disabled_subjects: BTreeSet<String>,
    revoked: Revoked,
    stops: Stops,
}

impl Registry {
    /// Builds the look-ups.
    #[must_use]
    pub fn new(
        revision: i64,
        servers: Vec<Server>,
        agents: Vec<Agent>,
        gateways: Vec<Gateway>,
        disabled_subjects: BTreeSet<String>,
        revoked: Revoked,
        stops: Stops,
    ) -> Self {
        let servers: Vec<Arc<Server>> = servers.into_iter().map(Arc::new).collect();
        let agents: Vec<Arc<Agent>> = agents.into_iter().map(Arc::new).collect();
        let by = |key: fn(&Server) -> &str| {
            servers
                .iter()
                .map(|s| (key(s).to_owned(), Arc::clone(s)))
                .collect()
        };
        Self {
            revision,
            by_resource: by(|s| &s.resource),
            by_audience: by(|s| &s.upstream_audience),
            documents: servers
                .iter()
                .map(|s| (s.id.to_string(), s.document()))
                .collect(),
            servers: by(|s| s.id.as_str()),
            by_workload: agents
                .iter()
                .filter_map(|a| Some((a.workload.clone()?, Arc::clone(a))))
                .collect(),
            agents: agents.into_iter().map(|a| (a.id.to_string(), a)).collect(),
            gateways: gateways
                .into_iter()
                .map(|g| (g.id.to_string(), Arc::new(g)))
                .collect(),
            disabled_subjects,
            revoked,
            stops,
        }
    }

    /// The store's registry revision this was read at.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// A server by id, whatever its status.
    #[must_use]
    pub fn server(&self, id: &str) -> Option<&Arc<Server>> {
        self.servers.get(id)
    }

    /// A server by the public resource identifier of callers' tokens (RFC 8707).
    #[must_use]
    pub fn server_by_resource(&self, resource: &str) -> Option<&Arc<Server>> {
        self.by_resource.get(resource)
    }

    /// A server by the audience of minted tokens.
    #[must_use]
    pub fn server_by_audience(&self, audience: &str) -> Option<&Arc<Server>> {
        self.by_audience.get(audience)
    }

    /// A server as decisions see it, built once for all of them.
    #[must_use]
    pub fn server_document(&self, server: &Server) -> Document<input::Server> {
        self.documents
            .get(server.id.as_str())
            .cloned()
            .unwrap_or_else(|| server.document())
    }

    /// An agent (OAuth client) by `client_id`, whatever its status.
    #[must_use]
    pub fn agent(&self, client_id: &str) -> Option<&Arc<Agent>> {
        self.agents.get(client_id)
    }

    /// The agent that is this workload, whatever its status.
    #[must_use]
    pub fn agent_by_workload(&self, workload: &Workload) -> Option<&Arc<Agent>> {
        self.by_workload.get(workload)
    }

    /// A gateway by id, whatever its status.
    #[must_use]
    pub fn gateway(&self, id: &str) -> Option<&Arc<Gateway>> {
        self.gateways.get(id)
    }

    /// All gateways, in no particular order.
    pub fn gateways(&self) -> impl Iterator<Item = &Arc<Gateway>> {
        self.gateways.values()
    }

    /// All servers, in no particular order.
    pub fn servers(&self) -> impl Iterator<Item = &Arc<Server>> {
        self.servers.values()
    }

    /// All agents, in no particular order.
    pub fn agents(&self) -> impl Iterator<Item = &Arc<Agent>> {
        self.agents.values()
    }

    /// Whether this subject (a user) is switched off.
    #[must_use]
    pub fn is_disabled_subject(&self, subject: &str) -> bool {
        self.disabled_subjects.contains(subject)
    }

    /// Subjects that are switched off.
    #[must_use]
    pub fn disabled_subjects(&self) -> &BTreeSet<String> {
        &self.disabled_subjects
    }

    /// Whether the token of this `jti`, or the grant or transaction of this id, was taken back.
    #[must_use]
    pub fn is_revoked(&self, id: &str) -> bool {
        self.revoked.contains(id)
    }

    /// Whether a token was taken back: itself, the grant or transaction it belongs to, or anything that it was derived from.
    #[must_use]
    pub fn has_revoked(&self, claims: &Claims) -> bool {
        claims.origins().any(|id| self.is_revoked(id))
    }

    /// Whom the kill switch stops.
    #[must_use]
    pub fn stops(&self) -> &Stops {
        &self.stops
    }

    /// All that was taken back by its id.
    #[must_use]
    pub fn revoked(&self) -> &Revoked {
        &self.revoked
    }
}
