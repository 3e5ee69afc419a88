//! Who is calling: from the `authorization` header to a caller whose token, audience and standing are good.

use std::sync::Arc;

use writ_policy::input::{Agent, AgentKind, AgentParts, Document, Status, SubjectKind};

use crate::headers::Headers;
use crate::refuse::Refusal;
use crate::rules::{Agents, Rules, ServerRule};
use crate::token::{Accepted, Verifier};

/// A caller that may be decided about.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) token: String,
    pub(crate) accepted: Arc<Accepted>,
    pub(crate) agent: Document<Agent>,
}

/// Checks the caller of a request to `server` at `now` (seconds since 1970).
pub(crate) fn check(
    headers: &Headers,
    server: &ServerRule,
    rules: &Rules,
    verifier: &mut Verifier,
    now: u64,
) -> Result<Caller, Refusal> {
    if headers.token_in_query() {
        return Err(Refusal::BadCredentials(
            "send the token in the authorization header, never in the URL",
        ));
    }
    let token = bearer(headers.authorization.as_deref().ok_or(Refusal::NoToken)?)?;
    let accepted = verifier.verify(token, now)?;
    let claims = &accepted.claims;
    if claims.minted {
        return Err(not_accepted(
            "minted_token",
            "this token was minted for one call to a server; it is no caller's token".to_owned(),
        ));
    }
    if !claims.is_for(&server.resource) {
        return Err(not_accepted(
            "wrong_audience",
            format!(
                "the token is not for this server; ask for one with resource={}",
                server.resource
            ),
        ));
    }
    if rules.disabled_subjects.contains(&claims.subject) {
        return Err(not_accepted(
            "disabled_subject",
            "the user is disabled; ask an administrator".to_owned(),
        ));
    }
    let (labels, tools) = match &rules.agents {
        Agents::Any => (&rules.no_labels, &rules.no_tools),
        Agents::Registered(agents) => match agents.get(&claims.client_id) {
            None => {
                return Err(not_accepted(
                    "unknown_agent",
                    "the agent is not registered".to_owned(),
                ));
            }
            Some(agent) if agent.status != Status::Approved => {
                return Err(not_accepted(
                    "disabled_agent",
                    "the agent is not approved; ask an administrator".to_owned(),
                ));
            }
            Some(agent) => (&agent.labels, agent.tools(&server.id, &rules.no_tools)),
        },
    };
    let agent = AgentParts {
        id: &claims.client_id,
        kind: match claims.subject_kind {
            SubjectKind::User => AgentKind::Delegated,
            SubjectKind::Workload => AgentKind::Autonomous,
        },
        authn: claims.agent_authn,
        labels,
        tools,
    }
    .approved();
    Ok(Caller {
        token: token.to_owned(),
        agent,
        accepted,
    })
}

fn not_accepted(kind: &'static str, description: String) -> Refusal {
    Refusal::NotAccepted { kind, description }
}

/// The token of an `authorization` header (RFC 6750 section 2.1); whether it is one is seen when it is verified.
fn bearer(value: &str) -> Result<&str, Refusal> {
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() => {
            Ok(token.trim_start_matches(' '))
        }
        _ => Err(Refusal::BadCredentials(
            "send `authorization: Bearer` with an access token",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bearer_is_read() {
        assert_eq!(bearer("Bearer a.b.c").unwrap(), "a.b.c");
        assert_eq!(bearer("bearer  a").unwrap(), "a");
        for value in ["", "Bearer", "Bearer ", "Basic YTpi", "Bearera b"] {
            assert!(bearer(value).is_err(), "{value}");
        }
    }
}
