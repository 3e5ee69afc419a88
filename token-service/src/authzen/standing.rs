//! Whether those that a request is about are in good standing: what is switched off, taken back or locked out is denied before
//! any policy is asked.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::answer::Denial;
use crate::registry::{Agent, Registry, Server, Status};

/// What the request says of the token that its subject brought: as far as it does, since the token itself is not here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a>(pub(super) Option<&'a Map<String, Value>>);

impl<'a> Token<'a> {
    fn member(self, name: &str) -> Option<&'a Value> {
        self.0?.get(name)
    }

    /// `scope`, split (RFC 8693 section 4.2).
    pub(super) fn scopes(self) -> Vec<String> {
        let scope = self.member("scope").and_then(Value::as_str);
        let words = scope.unwrap_or_default().split(' ');
        words
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// `iat`, in seconds since 1970.
    fn issued_at(self) -> Option<u64> {
        self.member("iat")?.as_u64()
    }

    /// The ids by which it can be taken back.
    fn origins(self) -> impl Iterator<Item = &'a str> {
        ["jti", "grant_id", "txn"]
            .into_iter()
            .filter_map(move |name| self.member(name)?.as_str())
    }
}

/// Refuses what an administrator has stopped.
///
/// # Errors
/// What it is.
pub(super) fn check(
    registry: &Registry,
    server: &Server,
    agent: Option<&Arc<Agent>>,
    subject: &str,
    token: Token<'_>,
) -> Result<Arc<Agent>, Denial> {
    if server.status != Status::Approved {
        return Err(Denial::new("server", "the server is disabled"));
    }
    let agent = agent
        .filter(|agent| agent.status == Status::Approved)
        .ok_or_else(|| Denial::new("agent", "the agent is disabled or not registered"))?;
    if registry.is_disabled_subject(subject) {
        return Err(Denial::new("subject", "the subject is disabled"));
    }
    let (stops, issued_at) = (registry.stops(), token.issued_at());
    let id = agent.id.as_str();
    if stops.has_revoked_subject(subject, issued_at)
        || stops.has_revoked_agent(id, issued_at)
        || token.origins().any(|id| registry.is_revoked(id))
    {
        let told = "the subject's token has been revoked, or may have been: subject.properties has no iat to tell by";
        return Err(Denial::new("revoked", told));
    }
    if stops.locks_out(subject, id, Some(server.id.as_str())) {
        let told = "an administrator has stopped all calls but some; wait until they go on";
        return Err(Denial::new("lockdown", told));
    }
    Ok(Arc::clone(agent))
}
