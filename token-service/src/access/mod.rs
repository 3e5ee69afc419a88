//! Who could use a tool as things stand, and why: what is switched off is looked at first, then the policy in force is asked, as
//! gateways and this service do for a call.

use jiff::Timestamp;
use serde::Serialize;
use writ_policy::{
    authoring::{
        reads::Reader,
        trace::{self, End},
    },
    decision::Decision,
    engine::{self, Evaluator},
    input::{Document, Input, Kind, Mcp, RequestContext, Status, Subject, SubjectKind},
};

use crate::{
    clock::rfc3339,
    policy::{SourceError, Sources},
    registry::{Agent, GatewayKind, Grant, Registry, Server},
};

/// Somebody on whose authority calls are made.
#[derive(Clone, Debug)]
pub struct Somebody {
    /// Their name, or the agent's id.
    pub id: String,
    /// A user, or an agent that acts for itself.
    pub kind: SubjectKind,
    /// The groups of a user, as last known.
    pub groups: Vec<String>,
}

/// Whether a call could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Could {
    /// Whatever its arguments.
    Allow,
    /// Whatever its arguments.
    Deny,
    /// The policy looks at the arguments on its way to an answer.
    DependsOnArguments,
}

/// Why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether it could be made.
    pub could: Could,
    /// What decides: `policy`, or what comes before it.
    pub because: &'static str,
    /// What is told; where it depends on arguments, what is told of a call that has none.
    pub reason: Option<String>,
    /// Where it depends on arguments: whether a call that has none is allowed.
    pub allowed_without_arguments: Option<bool>,
    /// Whether the tool is listed.
    pub listed: bool,
    /// The rules that hold, as `path:line rule`.
    pub rules: Vec<String>,
}

impl Verdict {
    fn no(because: &'static str, reason: &str) -> Self {
        Self {
            could: Could::Deny,
            because,
            reason: Some(reason.to_owned()),
            allowed_without_arguments: None,
            listed: false,
            rules: Vec::new(),
        }
    }
}

/// Whether rules are named, which takes its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// They are.
    Named,
    /// They are not.
    Unnamed,
}

/// Asks as of one moment.
#[derive(Debug)]
pub struct Explainer<'a> {
    registry: &'a Registry,
    issuer: &'a str,
    sources: &'a Sources,
    evaluator: Evaluator,
    reader: Reader,
    now: String,
}

impl<'a> Explainer<'a> {
    /// With the policy that is in force.
    ///
    /// # Errors
    /// When it is no policy.
    pub fn new(
        registry: &'a Registry,
        issuer: &'a str,
        sources: &'a Sources,
        now: Timestamp,
    ) -> Result<Self, SourceError> {
        let (program, data) = (engine::compile(&sources.modules)?, sources.document()?);
        Ok(Self {
            evaluator: Evaluator::new(&program, &data)?,
            reader: Reader::new(&sources.modules, &data)?,
            registry,
            issuer,
            sources,
            now: rfc3339(now),
        })
    }

    /// Whether somebody could call a tool of a server through an agent.
    ///
    /// # Errors
    /// When the policy cannot be loaded.
    pub fn explain(
        &mut self,
        who: &Somebody,
        agent: &Agent,
        server: &Server,
        tool: &str,
        rules: Rules,
    ) -> Result<Verdict, SourceError> {
        if let Some(stopped) = self.stopped(who, agent, server) {
            return Ok(stopped);
        }
        let input = Input {
            subject: &subject(who, self.issuer, server),
            agent: &agent.document(who.kind, agent.auth.authn(), server),
            server: &self.registry.server_document(server),
            mcp: &mcp(server, tool),
            task: None,
            request: &RequestContext {
                id: "",
                time: &self.now,
                source_ip: "",
                headers: &[],
            },
        };
        let shown = self
            .evaluator
            .visible(&input.listing(), Kind::Tool, tool, server.hints(tool));
        let input = input.to_value();
        let depends = self.reader.looks_at_what_is_carried(&input);
        let (allowed, reason) = match self.evaluator.call_with(input.clone()) {
            Decision::Allow { reason, .. } => (true, reason),
            Decision::Deny { reason, .. } => (false, Some(reason)),
        };
        Ok(Verdict {
            could: match (depends, allowed) {
                (true, _) => Could::DependsOnArguments,
                (false, true) => Could::Allow,
                (false, false) => Could::Deny,
            },
            because: "policy",
            reason,
            allowed_without_arguments: depends.then_some(allowed),
            listed: matches!(shown, Decision::Allow { .. }),
            rules: match rules {
                Rules::Named => self.held(&input)?,
                Rules::Unnamed => Vec::new(),
            },
        })
    }

    fn held(&self, input: &writ_policy::Value) -> Result<Vec<String>, SourceError> {
        let data = self.sources.document()?;
        let trace = trace::trace(&self.sources.modules, &data, input)?;
        let held = trace.held().filter(|looked| match &looked.end {
            // What holds and gives nothing says nothing.
            End::Held(value) => !matches!(value.to_string().as_str(), "[]" | "{}"),
            End::Stopped(_) => false,
        });
        let told = held.map(|at| format!("{}:{} {}", at.place.path, at.place.line, at.rule));
        Ok(told.collect())
    }

    /// What stops a call before any policy is asked.
    fn stopped(&self, who: &Somebody, agent: &Agent, server: &Server) -> Option<Verdict> {
        let registry = self.registry;
        let (subject, id) = (who.id.as_str(), agent.id.as_str());
        let mut gateways = registry.gateways();
        let mints = gateways.any(|gateway| {
            gateway.kind == GatewayKind::Gateway
                && gateway.status == Status::Approved
                && gateway.is_for(server.id.as_str())
        });
        let may_act = agent.grants.iter().any(|grant| match who.kind {
            SubjectKind::User => *grant != Grant::ClientCredentials,
            SubjectKind::Workload => *grant == Grant::ClientCredentials,
        });
        let checks = [
            (
                server.status != Status::Approved,
                "server",
                "the server is not approved",
            ),
            (
                !mints,
                "gateway",
                "no gateway that is approved is there for this server",
            ),
            (
                agent.status != Status::Approved,
                "agent",
                "the agent is not approved",
            ),
            (
                registry.is_disabled_subject(subject),
                "subject",
                "the subject is disabled",
            ),
            (
                registry
                    .stops()
                    .locks_out(subject, id, Some(server.id.as_str())),
                "lockdown",
                "an administrator has stopped all calls but some",
            ),
            (
                !may_act,
                "grant",
                match who.kind {
                    SubjectKind::User => "the agent has no grant by which it acts for users",
                    SubjectKind::Workload => "the agent has no grant by which it acts for itself",
                },
            ),
        ];
        let mut stopped = checks.into_iter().filter(|(applies, ..)| *applies);
        stopped
            .next()
            .map(|(_, because, told)| Verdict::no(because, told))
    }
}

fn subject(who: &Somebody, issuer: &str, server: &Server) -> Document<Subject> {
    Document::from(&Subject {
        id: who.id.clone(),
        kind: who.kind,
        issuer: issuer.to_owned(),
        groups: who.groups.clone(),
        // The most that a token for this server has.
        scopes: server.scopes.clone(),
        claims: serde_json::Map::new(),
    })
}

fn mcp<'a>(server: &Server, tool: &'a str) -> Mcp<'a> {
    Mcp {
        version: None,
        method: "tools/call",
        tool: Some(tool),
        pin: server.hints(tool),
        arguments: None,
        prompt: None,
        resource_uri: None,
        task_id: None,
        input_responses: None,
        answer: None,
        session: None,
        during: None,
    }
}
