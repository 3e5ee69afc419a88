//! The decision, made from the token, the message and the registry as of one revision.

use jiff::Timestamp;
use serde_json::json;
use writ_core::{message::Travel, token::Accepted};
use writ_policy::{
    decision::{Decision, Obligations},
    input::{self, AgentKind, Document, Input, RequestContext, SubjectKind},
};

use super::{
    minted::{Actor, Answer, InnerActor, MintedClaims},
    request::{ACCESS_TOKEN, ExchangeRequest},
};
use crate::{
    app::App,
    audit::{Kind, Record, Verdict, clip},
    clock::{rfc3339, unix},
    oauth::OAuthError,
    registry::{Agent, Gateway, Registry, Server, Status},
    secret::new_id,
    store::commit::SingleUse,
};

/// No minted token lives longer, in seconds.
const LONGEST_S: u64 = 60;

/// What was decided: to be committed first, and answered then.
pub(super) struct Outcome {
    pub(super) record: Record,
    pub(super) token: Option<SingleUse>,
    pub(super) answer: Result<Answer, OAuthError>,
}

/// Decides, and prepares what to commit and what to answer.
pub(super) fn decide(
    app: &App,
    registry: &Registry,
    gateway: &Gateway,
    request: &ExchangeRequest,
    caller: &Accepted,
    now: Timestamp,
) -> Outcome {
    let policy = app.policy();
    let mut record = record(gateway, request, caller, now);
    record.service_policy = Some(policy.revision().to_owned());
    let (server, agent) = match entitled(registry, gateway, request, caller) {
        Ok(entitled) => entitled,
        Err(error) => return refused(record, error),
    };
    record.server = Some(server.id.to_string());
    if request.details != request.details_for(server.id.as_str()) {
        let told = "authorization_details does not say what the message says: method, target, digest and server must agree";
        return refused(record, OAuthError::InvalidAuthorizationDetails(told.into()));
    }
    let decision = policy.decide(&Input {
        subject: &caller.subject,
        agent: &agent_document(agent, server, caller),
        server: &registry.server_document(server),
        mcp: &request.message.mcp(
            request.context.protocol_version.as_deref(),
            request.context.session.as_deref(),
        ),
        request: &RequestContext {
            id: &request.context.request_id,
            time: &record.time,
            source_ip: &request.context.source_ip,
            headers: &request.context.headers(),
        },
    });
    match decision {
        Decision::Deny { cause, reason } => {
            record.detail = Some(json!({"cause": cause}));
            refused(record, OAuthError::AccessDenied(reason.into()))
        }
        Decision::Allow {
            reason,
            obligations,
        } => {
            record.reason = reason.map(|r| clip(&r, 1024));
            mint(
                app,
                gateway,
                server,
                request,
                caller,
                &obligations,
                record,
                now,
            )
        }
    }
}

/// The server and the agent, when gateway, server, token, agent and subject are all in good standing.
fn entitled<'a>(
    registry: &'a Registry,
    gateway: &Gateway,
    request: &ExchangeRequest,
    caller: &Accepted,
) -> Result<(&'a Server, &'a Agent), OAuthError> {
    let claims = &caller.claims;
    if gateway.status != Status::Approved {
        return Err(OAuthError::InvalidClient("the gateway is disabled".into()));
    }
    let server = registry
        .server_by_resource(&request.resource)
        .filter(|s| gateway.servers.contains(s.id.as_str()))
        .ok_or_else(|| {
            OAuthError::InvalidTarget("this gateway has no server with that resource".into())
        })?;
    if server.status != Status::Approved {
        return Err(OAuthError::InvalidTarget("the server is disabled".into()));
    }
    let bad_token = |why: &'static str| OAuthError::InvalidGrant(why.into());
    if claims.minted {
        return Err(bad_token(
            "subject_token was minted for an upstream: it is good there only",
        ));
    }
    if !claims.is_for(&server.resource) {
        return Err(bad_token("subject_token is for another resource"));
    }
    if claims
        .id
        .as_deref()
        .is_some_and(|jti| registry.is_revoked(jti))
    {
        return Err(bad_token("subject_token has been revoked; sign in again"));
    }
    let agent = registry
        .agent(&claims.client_id)
        .filter(|a| a.status == Status::Approved);
    let agent = agent.ok_or_else(|| bad_token("the agent is disabled or not registered"))?;
    if registry.is_disabled_subject(&claims.subject) {
        return Err(bad_token("the subject is disabled"));
    }
    Ok((server, agent))
}

fn agent_document(agent: &Agent, server: &Server, caller: &Accepted) -> Document<input::Agent> {
    Document::from(&input::Agent {
        id: agent.id.to_string(),
        kind: match caller.claims.subject_kind {
            SubjectKind::User => AgentKind::Delegated,
            SubjectKind::Workload => AgentKind::Autonomous,
        },
        authn: caller.claims.agent_authn,
        status: agent.status,
        labels: agent.labels.clone(),
        tools: agent
            .tools
            .get(server.id.as_str())
            .cloned()
            .unwrap_or_default(),
    })
}

#[allow(
    clippy::too_many_arguments,
    reason = "one call, from the one place that has them all"
)]
fn mint(
    app: &App,
    gateway: &Gateway,
    server: &Server,
    request: &ExchangeRequest,
    caller: &Accepted,
    obligations: &Obligations,
    mut record: Record,
    now: Timestamp,
) -> Outcome {
    let claims = &caller.claims;
    let travel = request.message.travel();
    let (jti, txn) = (new_id(), new_id());
    let iat = unix(now);
    let exp = expiry(app, travel, obligations, iat).min(claims.expires);
    let scope = scope(&claims.scopes, request.scope.as_deref(), obligations);
    let details = request.details_for(server.id.as_str());
    let signed = app.keys.sign(&MintedClaims {
        iss: &app.config.issuer,
        sub: &claims.subject,
        aud: &server.upstream_audience,
        client_id: &claims.client_id,
        scope: &scope,
        jti: &jti,
        txn: &txn,
        iat,
        exp,
        act: Actor {
            sub: gateway.id.as_str(),
            act: InnerActor {
                sub: &claims.client_id,
            },
        },
        authorization_details: [&details],
    });
    let access_token = match signed {
        Ok(token) => token,
        Err(error) => return refused(record, OAuthError::internal(&error)),
    };
    let single_use = matches!(travel, Travel::SingleUse);
    record.kind = Kind::Mint;
    record.decision = Some(Verdict::Allow);
    record.token_id = Some(jti.clone());
    record.txn = Some(txn.clone());
    let kind = if single_use {
        "single_use"
    } else {
        "discovery"
    };
    record.detail =
        Some(json!({"token": kind, "expires_in": exp.saturating_sub(iat), "scope": scope}));
    Outcome {
        record,
        token: single_use.then(|| SingleUse {
            jti: jti.clone(),
            exp,
        }),
        answer: Ok(Answer {
            access_token,
            issued_token_type: ACCESS_TOKEN,
            token_type: "Bearer",
            expires_in: exp.saturating_sub(iat),
            scope,
            txn,
            jti,
        }),
    }
}

/// When the token ends: as configured, sooner where the policy says so, never past [`LONGEST_S`].
fn expiry(app: &App, travel: Travel, obligations: &Obligations, iat: u64) -> u64 {
    let configured = match travel {
        Travel::SingleUse => app.config.tokens.minted_ttl,
        Travel::Discovery => app.config.tokens.discovery_ttl,
    };
    let longest = configured.as_secs().min(LONGEST_S);
    let ttl = obligations
        .ttl_s
        .map_or(longest, |s| u64::from(s).clamp(1, longest.max(1)));
    iat.saturating_add(ttl)
}

/// The caller's scopes that both gateway and policy want in the token; never one the caller does not have.
fn scope(caller: &[String], requested: Option<&str>, obligations: &Obligations) -> String {
    let wanted = |scope: &str| requested.is_none_or(|r| r.split(' ').any(|one| one == scope));
    let allowed = |scope: &str| {
        obligations
            .scopes
            .as_ref()
            .is_none_or(|s| s.iter().any(|one| one == scope))
    };
    let kept: Vec<&str> = caller
        .iter()
        .map(String::as_str)
        .filter(|s| wanted(s) && allowed(s))
        .collect();
    kept.join(" ")
}

fn refused(mut record: Record, error: OAuthError) -> Outcome {
    record.kind = Kind::Denied;
    record.decision = Some(Verdict::Deny);
    record.reason = Some(clip(&error.to_string(), 1024));
    if record.detail.is_none() {
        record.detail = Some(json!({"cause": error.code()}));
    }
    Outcome {
        record,
        token: None,
        answer: Err(error),
    }
}

/// What is known before anything is decided.
fn record(
    gateway: &Gateway,
    request: &ExchangeRequest,
    caller: &Accepted,
    now: Timestamp,
) -> Record {
    let mut record = Record::new(Kind::Denied, now);
    record.time = rfc3339(now);
    record.subject = Some(clip(&caller.claims.subject, 512));
    record.agent = Some(clip(&caller.claims.client_id, 512));
    record.gateway = Some(gateway.id.to_string());
    record.method = Some(clip(request.message.method(), 256));
    record.target = request.message.target().map(|t| clip(t, 2048));
    record.gateway_policy = request
        .context
        .policy_revision
        .as_deref()
        .map(|r| clip(r, 64));
    record.subject_token_id = caller.claims.id.as_deref().map(|id| clip(id, 128));
    record.content_digest = Some(request.content_digest.clone());
    record.request_id = Some(clip(&request.context.request_id, 128));
    record.source_ip = Some(clip(&request.context.source_ip, 64)).filter(|ip| !ip.is_empty());
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_only_ever_fewer() {
        let caller = ["a".to_owned(), "b".to_owned()];
        let with = |scopes: Option<&[&str]>| Obligations {
            ttl_s: None,
            scopes: scopes.map(|s| s.iter().map(|s| (*s).to_owned()).collect()),
        };
        assert_eq!(scope(&caller, None, &with(None)), "a b");
        assert_eq!(scope(&caller, Some("b c"), &with(None)), "b");
        assert_eq!(scope(&caller, None, &with(Some(&["a", "admin"]))), "a");
        assert_eq!(scope(&caller, Some("b"), &with(Some(&["a"]))), "");
    }
}
