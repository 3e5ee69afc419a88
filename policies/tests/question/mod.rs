//! What the tests ask: alice of these groups, through her assistant, about the ledger, on a Monday.

use writ_policy::input::{
    Agent, AgentAuthn, AgentKind, Document, Input, Labels, Mcp, RequestContext, Server, Status,
    Subject, SubjectKind,
};

/// Asks about `mcp`.
pub(crate) fn about<T>(groups: &[&str], mcp: &Mcp<'_>, ask: impl FnOnce(&Input<'_>) -> T) -> T {
    let subject = Document::from(&Subject {
        id: "alice".to_owned(),
        kind: SubjectKind::User,
        issuer: "https://issuer.example".to_owned(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        scopes: Vec::new(),
        claims: serde_json::Map::new(),
    });
    let agent = Document::from(&Agent {
        id: "assistant".to_owned(),
        kind: AgentKind::Delegated,
        authn: AgentAuthn::Key,
        status: Status::Approved,
        labels: Labels::new(),
        tools: Vec::new(),
    });
    let server = Document::from(&Server {
        id: "ledger".to_owned(),
        resource: "https://ledger.example/mcp".to_owned(),
        labels: Labels::new(),
    });
    let request = RequestContext {
        id: "1",
        time: "2026-11-23T10:00:00Z",
        source_ip: "192.0.2.1",
        headers: &[("x-team".to_owned(), "red".to_owned())],
    };
    ask(&Input {
        subject: &subject,
        agent: &agent,
        server: &server,
        mcp,
        task: None,
        request: &request,
    })
}
