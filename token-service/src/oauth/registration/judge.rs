//! What the policy is asked about a registration, and what it means for the registration.
//!
//! The policy sees everything that is said, as it would be registered, whether it is new, an update or a document that was
//! fetched again: nothing is judged by what was registered before.

use serde::Serialize;
use serde_json::{Value, json};
use writ_policy::{
    engine::REGISTRATION,
    registration::{RegistrationDecision, Verdict},
};

use super::client_metadata::{Redirect, Registered};
use crate::{
    app::App,
    audit::{self, Kind, Record, clip},
    clock::rfc3339,
    http::Peer,
    registry::{Agent, Labels, Server, Status},
};

/// More than any reason that a person reads.
const MAX_REASON: usize = 512;

/// How something comes to be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// It registers itself (RFC 7591).
    Dynamic,
    /// Its metadata document was fetched.
    MetadataDocument,
    /// It changes its registration (RFC 7592).
    Update,
}

/// The policy's `input`.
#[derive(Debug, Serialize)]
struct Question<'a> {
    kind: &'static str,
    origin: Occasion,
    client: Option<ClientDocument<'a>>,
    server: Option<Value>,
    token: Option<Token<'a>>,
    /// Who sends it; a document is sent by nobody.
    source_ip: Option<String>,
    time: String,
}

#[derive(Debug, Serialize)]
struct ClientDocument<'a> {
    #[serde(flatten)]
    registered: Registered<'a>,
    redirects: Vec<Redirect>,
    /// The host of the metadata document, for a client that is named by one.
    document_host: Option<String>,
}

#[derive(Debug, Serialize)]
struct Token<'a> {
    labels: &'a Labels,
}

/// What is judged, and under which circumstances.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// How it comes to be judged.
    pub occasion: Occasion,
    /// The labels of the initial access token behind it, if there is one.
    pub token: Option<&'a Labels>,
    /// Who sends it.
    pub peer: Peer,
}

/// Judges a client and makes it what the policy says: its status and labels. The answer says why.
pub fn client(app: &App, case: Case<'_>, agent: &mut Agent) -> RegistrationDecision {
    let document = ClientDocument {
        registered: Registered::of(agent),
        redirects: Redirect::all(agent),
        document_host: agent
            .id
            .document()
            .and_then(|url| url.host_str().map(str::to_owned)),
    };
    let decision = ask(app, case, Some(document), None);
    agent.status = status(&decision);
    agent.labels = labels(case.token, &decision);
    decision
}

/// Judges a server whose labels are, so far, those that it asks for, and makes it what the policy says.
pub(super) fn server(app: &App, case: Case<'_>, server: &mut Server) -> RegistrationDecision {
    let decision = ask(app, case, None, Some(server_document(server)));
    server.status = status(&decision);
    server.labels.extend(labels(case.token, &decision));
    decision
}

/// A server as the policy and its owner see it.
pub(super) fn server_document(server: &Server) -> Value {
    json!({
        "server_id": server.id,
        "resource": server.resource,
        "resource_name": server.name,
        "owner": server.owner,
        "upstream": server.upstream,
        "tools": server.tools,
        "methods": server.methods,
        "scopes_supported": server.scopes,
        "enforcement": server.enforcement,
        "labels": server.labels,
    })
}

fn ask(
    app: &App,
    case: Case<'_>,
    client: Option<ClientDocument<'_>>,
    server: Option<Value>,
) -> RegistrationDecision {
    let question = Question {
        kind: if client.is_some() { "client" } else { "server" },
        origin: case.occasion,
        client,
        server,
        token: case.token.map(|labels| Token { labels }),
        source_ip: (case.occasion != Occasion::MetadataDocument).then(|| case.peer.text()),
        time: rfc3339(app.clock.now()),
    };
    let mut decision = app
        .policy()
        .judge::<RegistrationDecision>(REGISTRATION, &question)
        .map_or_else(
            |unjudged| RegistrationDecision::reject(unjudged.reason),
            RegistrationDecision::bounded,
        );
    if decision.reason.is_empty() && decision.decision == Verdict::Reject {
        decision.reason = "the policy rejects this registration".to_owned();
    }
    decision.reason = clip(&decision.reason, MAX_REASON);
    decision
}

/// Nothing that is rejected is ever written; were it, it would be switched off.
fn status(decision: &RegistrationDecision) -> Status {
    match decision.decision {
        Verdict::Approve => Status::Approved,
        Verdict::Hold => Status::Pending,
        Verdict::Reject => Status::Disabled,
    }
}

/// The token's labels, under those of the policy.
fn labels(token: Option<&Labels>, decision: &RegistrationDecision) -> Labels {
    let mut labels = token.cloned().unwrap_or_default();
    labels.extend(decision.labels.clone());
    labels
}

/// The record of a registration that was judged.
pub fn record(
    app: &App,
    command: &str,
    target: &str,
    peer: Peer,
    decision: &RegistrationDecision,
    detail: Value,
) -> Record {
    let mut record = plain_record(app, command, target, peer);
    record.decision = match decision.decision {
        Verdict::Approve => Some(audit::Verdict::Allow),
        Verdict::Reject => Some(audit::Verdict::Deny),
        Verdict::Hold => None,
    };
    record.reason = (!decision.reason.is_empty()).then(|| decision.reason.clone());
    record.service_policy = Some(app.policy().revision().to_owned());
    record.detail = Some(detail);
    record
}

/// The record of a change that is not judged.
pub(super) fn plain_record(app: &App, command: &str, target: &str, peer: Peer) -> Record {
    let mut record = Record::new(Kind::Registration, app.clock.now());
    record.method = Some(command.to_owned());
    record.target = Some(clip(target, MAX_REASON));
    record.source_ip = Some(peer.text());
    record
}
