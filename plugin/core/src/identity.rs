//! Who is calling: from the `authorization` header to a caller whose token, audience and standing are good, and who
//! holds the key that the token is bound to, where it is.

use std::sync::Arc;

use writ_policy::Value;
use writ_policy::input::{Agent, AgentKind, AgentParts, Document, Status, SubjectKind};

use crate::headers::Headers;
use crate::refuse::{Refusal, Scheme};
use crate::rules::{Agents, Rules, ServerRule};
use crate::token::cache::Cache;
use crate::token::dpop::{Expected, Proof, ProofError};
use crate::token::{Accepted, Claims, Stopped, Verifier};

/// The DPoP proofs that a worker has seen lately: none is good twice here (RFC 9449 section 11.1). Another worker sees no
/// more than its own, so for what is decided call by call the token service looks again, for all of them.
pub(crate) type Proofs = Cache<[u8; 32], ()>;

/// A caller that may be decided about.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) token: String,
    /// The proof that came with a token that is bound to a key.
    pub(crate) proof: Option<String>,
    pub(crate) accepted: Arc<Accepted>,
    pub(crate) agent: Document<Agent>,
}

/// Checks the caller of a request to `server` at `now` (seconds since 1970).
pub(crate) fn check(
    headers: &Headers,
    server: &ServerRule,
    rules: &Rules,
    (verifier, proofs): (&mut Verifier, &mut Proofs),
    now: u64,
) -> Result<Caller, Refusal> {
    if headers.token_in_query() {
        return Err(Refusal::BadCredentials(
            "send the token in the authorization header, never in the URL",
        ));
    }
    let (scheme, token) = token(headers.authorization.as_deref().ok_or(Refusal::NoToken)?)?;
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
    let (labels, tools) = standing(claims, server, rules)?;
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
    let proof = match (&claims.bound_to, scheme) {
        (None, Scheme::Bearer) => None,
        (None, Scheme::Dpop) => {
            return Err(not_accepted(
                "not_bound",
                "the token is not bound to a key; send it as Bearer".to_owned(),
            ));
        }
        // Whoever stole the token would leave out the proof.
        (Some(_), Scheme::Bearer) => return Err(Refusal::Downgraded),
        (Some(key), Scheme::Dpop) => {
            let expected = Expected {
                method: &headers.method,
                url: &server.resource,
                token: Some(token),
                now,
                skew: verifier.skew_s(),
            };
            let proof = Proof::check_bound(headers.proof.as_deref(), key, &expected)?;
            if proofs.get(&proof.id).is_some() {
                return Err(Refusal::BadProof(ProofError::Replayed));
            }
            proofs.insert(proof.id, ());
            headers.proof.clone()
        }
    };
    Ok(Caller {
        token: token.to_owned(),
        proof,
        agent,
        accepted,
    })
}

/// Whether a token's user, agent and grant are still good: with the labels of the agent and the tools that its registration
/// names on `server`.
pub(crate) fn standing<'a>(
    claims: &Claims,
    server: &ServerRule,
    rules: &'a Rules,
) -> Result<(&'a Value, &'a Value), Refusal> {
    if rules.halt.disabled_subjects.contains(&claims.subject) {
        return Err(not_accepted(
            "disabled_subject",
            "the user is disabled; ask an administrator".to_owned(),
        ));
    }
    let stopped = claims.stopped(&rules.halt.stops, Some(&server.id));
    if stopped == Some(Stopped::Revoked) || claims.origins().any(|id| rules.revoked.contains(id)) {
        return Err(not_accepted(
            "revoked",
            "the token has been revoked; sign in again".to_owned(),
        ));
    }
    if stopped == Some(Stopped::LockedOut) {
        return Err(not_accepted(
            "locked_down",
            "an administrator has stopped all calls but some; wait until they go on".to_owned(),
        ));
    }
    match &rules.agents {
        Agents::Any => Ok((&rules.no_labels, &rules.no_tools)),
        Agents::Registered(agents) => match agents.get(&claims.client_id) {
            None => Err(not_accepted(
                "unknown_agent",
                "the agent is not registered".to_owned(),
            )),
            Some(agent) if agent.status != Status::Approved => Err(not_accepted(
                "disabled_agent",
                "the agent is not approved; ask an administrator".to_owned(),
            )),
            Some(agent) => Ok((&agent.labels, agent.tools(&server.id, &rules.no_tools))),
        },
    }
}

/// Whether a caller whose token was good may still call a server, at `now` (seconds since 1970) and by these rules.
pub(crate) fn may_still_call(
    claims: &Claims,
    server: &str,
    rules: &Rules,
    (now, skew_s): (u64, u64),
) -> Result<(), Refusal> {
    claims.check_time(now, skew_s)?;
    stands_with(claims, server, rules)
}

/// Whether the server is in use and the caller in good [standing] with it.
pub(crate) fn stands_with(claims: &Claims, server: &str, rules: &Rules) -> Result<(), Refusal> {
    let found = rules.servers.get(server);
    let found = found
        .filter(|found| found.is_in_use())
        .ok_or_else(|| Refusal::switched_off(server))?;
    standing(claims, found, rules).map(|_| ())
}

fn not_accepted(kind: &'static str, description: String) -> Refusal {
    Refusal::NotAccepted { kind, description }
}

/// The token of an `authorization` header and how it is presented (RFC 6750 section 2.1, RFC 9449 section 7.1); whether it
/// is one is seen when it is verified.
fn token(value: &str) -> Result<(Scheme, &str), Refusal> {
    let wrong =
        Refusal::BadCredentials("send `authorization: Bearer` (or `DPoP`) with an access token");
    match (Scheme::of(value), value.split_once(' ')) {
        (Some(scheme), Some((_, token))) if !token.is_empty() => {
            Ok((scheme, token.trim_start_matches(' ')))
        }
        _ => Err(wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bearer_and_dpop_are_read() {
        assert_eq!(token("Bearer a.b.c").unwrap(), (Scheme::Bearer, "a.b.c"));
        assert_eq!(token("bearer  a").unwrap(), (Scheme::Bearer, "a"));
        assert_eq!(token("DPoP a.b.c").unwrap(), (Scheme::Dpop, "a.b.c"));
        assert_eq!(token("dpop a").unwrap(), (Scheme::Dpop, "a"));
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Basic YTpi",
            "Bearera b",
            "DPoP",
            "DPoPa b",
        ] {
            assert!(token(value).is_err(), "{value}");
        }
    }
}
