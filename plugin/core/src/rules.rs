//! What the filter decides from: servers, agents, policy. Built whole from a snapshot or from the configuration,
//! and replaced whole.

mod buckets;
mod part;

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use http::Uri;
use serde_json::json;
use writ_policy::Value;
use writ_policy::engine::{self, CompileError, Data, ENGINE, EngineError, Evaluator, Module};
use writ_policy::input::{Document, Labels, Server, Status};
use writ_policy::pin::Pins;
use writ_policy::snapshot::{AgentEntry, Halt, PartError, ServerEntry};

pub(crate) use buckets::Buckets;
pub(crate) use part::{RulePart, Sorted};

use crate::config::Static;
use crate::egress::Address;
use crate::origin::Origin;
use crate::seal::{KEY_BYTES, Sealer, key_of_server};
use crate::token::dpop::ALGORITHMS;

/// The well-known path of protected-resource metadata (RFC 9728 section 3).
pub(crate) const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// Why a snapshot or a static policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// It is none of its parts.
    #[error(transparent)]
    Part(#[from] PartError),
    /// A part is not there.
    #[error("it has no part `{0}`")]
    Lacks(&'static str),
    /// Compiled for another engine.
    #[error(
        "the policy is compiled for {0}; this filter runs {ENGINE}: use a filter and a token service of one release"
    )]
    Engine(String),
    /// The program is no base64url.
    #[error("the policy program is not base64url")]
    Encoding,
    /// A resource identifier is no URL.
    #[error("server `{0}`: the resource must be an absolute URL without a fragment (RFC 8707)")]
    Resource(String),
    /// The Rego source does not compile.
    #[error("the policy: {0}")]
    Compile(#[from] CompileError),
    /// The program or its data does not load.
    #[error("the policy: {0}")]
    Load(#[from] EngineError),
}

/// One MCP server, with everything that does not change from request to request.
#[derive(Debug)]
pub(crate) struct ServerRule {
    pub(crate) id: String,
    pub(crate) status: Status,
    /// The `aud` of callers' tokens.
    pub(crate) resource: String,
    /// The `aud` of minted tokens; none in static mode.
    pub(crate) upstream_audience: String,
    pub(crate) document: Document<Server>,
    /// URL of the protected-resource metadata.
    pub(crate) metadata_url: String,
    /// The protected-resource metadata itself.
    pub(crate) metadata: String,
    /// Scopes, joined by spaces.
    pub(crate) scope: String,
    /// Methods beyond those of MCP that messages to and from it may name.
    pub(crate) methods: Vec<String>,
    /// The tools whose definition was approved.
    pub(crate) pins: Pins,
    /// Where it is, as callers know it.
    pub(crate) origin: Origin,
    /// The same, where what goes past it is looked for.
    pub(crate) public: Option<Address>,
    /// Where the server itself is, likewise.
    pub(crate) upstream: Option<Address>,
    authority: String,
    path: String,
    sealer: OnceCell<Sealer>,
}

/// A registered agent.
#[derive(Debug)]
pub(crate) struct AgentRule {
    pub(crate) status: Status,
    pub(crate) labels: Value,
    tools: HashMap<String, Value>,
}

impl AgentRule {
    /// The tools that the registration names on `server`.
    pub(crate) fn tools<'a>(&'a self, server: &str, none: &'a Value) -> &'a Value {
        self.tools.get(server).unwrap_or(none)
    }
}

/// Who counts as an agent.
#[derive(Debug)]
pub(crate) enum Agents {
    /// Those in the registry.
    Registered(Buckets<AgentRule>),
    /// Any that a trusted issuer names.
    Any,
}

/// One revision of everything.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Names the snapshot's revision: the digest of its manifest.
    pub(crate) revision: String,
    pub(crate) policy_revision: String,
    pub(crate) issuer: String,
    pub(crate) servers: BTreeMap<String, Rc<ServerRule>>,
    pub(crate) agents: Agents,
    /// Ids of tokens and grants that were taken back.
    pub(crate) revoked: Buckets<()>,
    /// Who is switched off, and whom the kill switch stops.
    pub(crate) halt: Rc<Halt>,
    /// Whether spans are to be reported.
    pub(crate) spans: bool,
    pub(crate) evaluator: Evaluator,
    /// No tools, no labels.
    pub(crate) no_tools: Value,
    pub(crate) no_labels: Value,
    matches: Vec<(String, String, Rc<ServerRule>)>,
}

impl Rules {
    /// Builds the rules of a whole revision, named `revision`.
    pub(crate) fn from_snapshot(
        revision: &str,
        issuer: &str,
        parts: Sorted,
        evaluator: Evaluator,
    ) -> Self {
        let servers = parts.servers.iter().flat_map(|part| part.iter());
        Self {
            revision: revision.to_owned(),
            policy_revision: parts.policy_revision.to_string(),
            issuer: issuer.to_owned(),
            servers: servers
                .map(|(id, rule)| (id.clone(), Rc::clone(rule)))
                .collect(),
            agents: Agents::Registered(parts.agents),
            revoked: parts.revoked,
            halt: parts.stops,
            spans: parts.spans,
            evaluator,
            no_tools: Value::new_array(),
            no_labels: Value::new_object(),
            matches: Vec::new(),
        }
    }

    /// Builds the rules of a configuration without token service.
    pub(crate) fn from_static(config: &Static) -> Result<Self, RulesError> {
        let module = Module {
            path: "policy.rego".to_owned(),
            text: config.rego.clone(),
        };
        let program = engine::compile(&[module])?;
        let evaluator = Evaluator::new(&program, &Data::from_json(&config.data)?)?;
        let (mut servers, mut matches) = (BTreeMap::new(), Vec::new());
        for (id, server) in &config.servers {
            let rule = Rc::new(ServerRule {
                methods: server.methods.clone(),
                ..ServerRule::new(
                    id,
                    &server.resource,
                    String::new(),
                    &Labels::new(),
                    &server.scopes,
                    &server.authority_servers(config),
                    Status::Approved,
                )?
            });
            matches.push((server.host.clone(), server.path.clone(), Rc::clone(&rule)));
            servers.insert(id.clone(), rule);
        }
        Ok(Self {
            revision: String::new(),
            policy_revision: String::new(),
            issuer: String::new(),
            servers,
            agents: Agents::Any,
            revoked: Buckets::default(),
            halt: Rc::default(),
            spans: false,
            evaluator,
            no_tools: Value::new_array(),
            no_labels: Value::new_object(),
            matches,
        })
    }

    /// Gives the servers of a configuration their keys, once there is one to be had.
    pub(crate) fn seal_with(&self, key: impl FnOnce() -> Option<[u8; KEY_BYTES]>) {
        let mut unsealed = self
            .servers
            .values()
            .filter(|server| server.sealer.get().is_none());
        if unsealed.next().is_none() {
            return;
        }
        let Some(key) = key() else {
            return;
        };
        for server in self.servers.values() {
            let key = key_of_server(&key, &server.id);
            server.sealer.get_or_init(|| Sealer::new(&key));
        }
    }

    /// The server that the configuration's host and path table names (static mode).
    pub(crate) fn matched(&self, authority: &str, path: &str) -> Option<&Rc<ServerRule>> {
        self.matches
            .iter()
            .find(|(host, at, _)| {
                at == path && (host == "*" || host.eq_ignore_ascii_case(authority))
            })
            .map(|(_, _, rule)| rule)
    }

    /// The server whose metadata lives at `path`: the well-known prefix with the resource's path behind it, or alone
    /// where only one server is meant.
    pub(crate) fn described_at(&self, authority: &str, path: &str) -> Option<&ServerRule> {
        let suffix = path.strip_prefix(WELL_KNOWN)?;
        let mut found = self.servers.values().filter(|server| {
            server.status == Status::Approved
                && (suffix.is_empty()
                    || server.path == suffix
                    || (suffix == "/" && server.path.is_empty()))
        });
        let (first, second) = (found.next(), found.next());
        if second.is_none() {
            return first.map(Rc::as_ref);
        }
        let mut here = self.servers.values().filter(|server| {
            server.authority.eq_ignore_ascii_case(authority)
                && (suffix.is_empty() || server.path == suffix)
        });
        match (here.next(), here.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        }
    }
}

impl crate::config::StaticServer {
    /// The authorization servers to name: those configured, or the trusted issuers.
    fn authority_servers(&self, config: &Static) -> Vec<String> {
        if self.authorization_servers.is_empty() {
            config
                .issuers
                .iter()
                .map(|(name, _, _)| name.clone())
                .collect()
        } else {
            self.authorization_servers.clone()
        }
    }
}

impl AgentRule {
    fn new(entry: AgentEntry) -> Self {
        let labels = serde_json::to_value(entry.labels).map_or(Value::Undefined, Value::from);
        let tools = entry
            .tools
            .into_iter()
            .map(|(server, tools)| {
                (
                    server,
                    Value::from(tools.into_iter().map(Value::from).collect::<Vec<_>>()),
                )
            })
            .collect();
        Self {
            status: entry.status,
            labels,
            tools,
        }
    }
}

/// An absolute URL without a fragment: what may identify a resource (RFC 8707 section 2).
pub(crate) fn absolute(url: &str) -> Option<Uri> {
    let parsed: Uri = url.parse().ok()?;
    let whole = parsed.scheme().is_some() && parsed.authority().is_some() && !url.contains('#');
    whole.then_some(parsed)
}

impl ServerRule {
    fn registered(id: &str, entry: ServerEntry, issuer: &str) -> Result<Self, RulesError> {
        Ok(Self {
            methods: entry.methods,
            pins: entry.pins,
            public: Address::of_url(&entry.resource),
            upstream: entry.upstream.as_deref().and_then(Address::of_url),
            sealer: entry.seal_key.map_or_else(OnceCell::new, |key| {
                OnceCell::from(Sealer::new(key.bytes()))
            }),
            ..Self::new(
                id,
                &entry.resource,
                entry.upstream_audience,
                &entry.labels,
                &entry.scopes,
                &[issuer.to_owned()],
                entry.status,
            )?
        })
    }

    fn new(
        id: &str,
        resource: &str,
        upstream_audience: String,
        labels: &Labels,
        scopes: &[String],
        authorization_servers: &[String],
        status: Status,
    ) -> Result<Self, RulesError> {
        let no_url = || RulesError::Resource(id.to_owned());
        let url = absolute(resource).ok_or_else(no_url)?;
        let path = url.path().trim_end_matches('/').to_owned();
        let authority = url
            .authority()
            .map(|authority| authority.as_str().to_owned())
            .unwrap_or_default();
        let metadata = json!({
            "resource": resource,
            "authorization_servers": authorization_servers,
            "scopes_supported": scopes,
            "bearer_methods_supported": ["header"],
            "dpop_signing_alg_values_supported": ALGORITHMS,
        });
        Ok(Self {
            id: id.to_owned(),
            status,
            resource: resource.to_owned(),
            upstream_audience,
            document: Document::from(&Server {
                id: id.to_owned(),
                resource: resource.to_owned(),
                labels: labels.clone(),
            }),
            metadata_url: format!(
                "{}://{authority}{WELL_KNOWN}{path}",
                url.scheme_str().unwrap_or_default()
            ),
            metadata: metadata.to_string(),
            scope: scopes.join(" "),
            methods: Vec::new(),
            pins: Pins::new(),
            origin: Origin::of(&url).ok_or_else(no_url)?,
            public: None,
            upstream: None,
            authority,
            path,
            sealer: OnceCell::new(),
        })
    }

    /// Whether it may be called.
    pub(crate) fn is_in_use(&self) -> bool {
        self.status == Status::Approved
    }

    /// What seals the names that the server gives out; none while no key for it is known.
    pub(crate) fn sealer(&self) -> Option<&Sealer> {
        self.sealer.get()
    }
}
