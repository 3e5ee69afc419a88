//! The decision, made from the token, the message and the registry as of one revision.

use jiff::Timestamp;
use serde_json::json;
use writ_policy::{
    decision::{Decision, DenialCause},
    input::{Input, Mcp, RequestContext},
    kept::{self, KeptInput},
};

use super::{
    Caller, Within,
    minted::{Answer, Mint, MintedToken},
    request::ExchangeRequest,
};
use crate::{
    app::App,
    audit::{Beside, Finding, Kind, Record, Verdict, clip},
    oauth::{OAuthError, stopped},
    registry::{Agent, Gateway, GatewayKind, Registry, Server, Status},
    store::{
        commit,
        sightings::{IfNew, Sighting},
        tasks::Found,
    },
    task::{self, Outside},
};

/// What was decided: to be committed first, and answered then.
pub(super) struct Outcome {
    pub(super) record: Record,
    pub(super) beside: Beside,
    pub(super) mint: commit::Mint,
    pub(super) answer: Result<Answer, OAuthError>,
}

impl Outcome {
    /// The same, with what the policy was asked.
    fn asked(mut self, input: Option<KeptInput>) -> Self {
        self.beside.input = input;
        self
    }
}

/// Decides, and prepares what to commit and what to answer. What the call carries is kept whoever refuses it.
pub(super) fn decide(
    app: &App,
    registry: &Registry,
    gateway: &Gateway,
    request: &ExchangeRequest,
    caller: &Caller,
    within: Option<&Within>,
    now: Timestamp,
) -> Outcome {
    let mut outcome = decided(app, registry, gateway, request, caller, within, now);
    let carried = kept::carried_by(&request.message.mcp(None, None));
    let Outcome { record, beside, .. } = &mut outcome;
    app.arguments.keep(record, beside, carried.as_ref());
    outcome
}

fn decided(
    app: &App,
    registry: &Registry,
    gateway: &Gateway,
    request: &ExchangeRequest,
    caller: &Caller,
    within: Option<&Within>,
    now: Timestamp,
) -> Outcome {
    let policy = app.policy();
    let mut record = record(gateway, request, caller, now);
    record.service_policy = Some(policy.revision().to_owned());
    record.task = request.context.task.clone();
    let named = registry.server_by_resource(&request.resource);
    record.server = named.map(|s| s.id.to_string());
    let (server, agent) = match entitled(registry, gateway, request, caller) {
        Ok(entitled) => entitled,
        Err(error) => return refused(record, error),
    };
    if request.details != request.details_for(server.id.as_str()) {
        let told = "authorization_details does not say what the message says: method, target, digest and server must agree";
        return refused(record, OAuthError::InvalidAuthorizationDetails(told.into()));
    }
    if let Err(unknown) = request
        .message
        .check_known(server.id.as_str(), &server.methods)
    {
        record.detail = Some(json!({"cause": DenialCause::Method}));
        return refused(record, OAuthError::AccessDenied(unknown.to_string().into()));
    }
    let found = match confined(request, server, caller, within, now) {
        Ok(found) => found,
        Err(outside) => {
            record.detail = Some(json!({"cause": "task"}));
            return refused(record, OAuthError::AccessDenied(outside.to_string().into()));
        }
    };
    if found.is_some_and(|found| registry.is_revoked(&found.task.txn)) {
        let told = "the task's transaction has been revoked: open another task";
        return refused(record, OAuthError::InvalidGrant(told.into()));
    }
    let task = found.map(|found| found.task.document(found.calls_today));
    let input = Input {
        subject: &caller.accepted.subject,
        agent: &agent.document(
            caller.accepted.claims.subject_kind,
            caller.accepted.claims.agent_authn,
            server,
        ),
        server: &registry.server_document(server),
        mcp: &Mcp {
            pin: request.message.tool().and_then(|tool| server.hints(tool)),
            ..request.message.mcp(
                request.context.protocol_version.as_deref(),
                request.context.session.as_deref(),
            )
        },
        task: task.as_ref(),
        request: &RequestContext {
            id: &request.context.request_id,
            time: &record.time,
            source_ip: &request.context.source_ip,
            headers: &request.context.headers(),
        },
    };
    let input = input.to_value();
    let kept = app.config.policy_inputs.of(&input);
    let decision = policy.decide(input.clone());
    let was_allowed = matches!(decision, Decision::Allow { .. });
    let shadow = app.shadow();
    let otherwise = shadow
        .and_then(|shadow| shadow.ask(server.id.as_str(), agent.id.as_str(), input, was_allowed));
    let mut outcome = match decision {
        Decision::Deny {
            cause,
            reason,
            scopes,
        } if !scopes.is_empty() => {
            record.detail = Some(json!({"cause": cause, "scopes": scopes}));
            let (reason, scope) = (reason.into(), scopes.join(" "));
            refused(record, OAuthError::InsufficientScope { reason, scope }).asked(kept)
        }
        Decision::Deny { cause, reason, .. } => {
            record.detail = Some(json!({"cause": cause}));
            refused(record, OAuthError::AccessDenied(reason.into())).asked(kept)
        }
        Decision::Allow {
            reason,
            obligations,
        } => {
            record.reason = reason.map(|r| clip(&r, 1024));
            let mint = Mint {
                app,
                gateway,
                server,
                request,
                caller,
                task: found.map(|found| &found.task),
                obligations: &obligations,
                now,
            };
            match mint.token() {
                Ok(token) => {
                    let mut minted = minted(record, token, found, now).asked(kept);
                    minted.mint.if_new = first_call(app, server, agent, &minted.record, now);
                    minted
                }
                Err(error) => refused(record, OAuthError::internal(&error)),
            }
        }
    };
    if let Some(otherwise) = otherwise {
        outcome.record.note("shadow", otherwise);
    }
    outcome
}

/// The server and the agent, when gateway, server, token, agent and subject are all in good standing.
fn entitled<'a>(
    registry: &'a Registry,
    gateway: &Gateway,
    request: &ExchangeRequest,
    caller: &Caller,
) -> Result<(&'a Server, &'a Agent), OAuthError> {
    let claims = &caller.accepted.claims;
    if gateway.status != Status::Approved {
        return Err(OAuthError::InvalidClient("the gateway is disabled".into()));
    }
    if gateway.kind != GatewayKind::Gateway {
        return Err(OAuthError::UnauthorizedClient(
            "this is registered as a guard or an egress, for which nothing is minted: register the gateway with `writ gateway add ID`".into(),
        ));
    }
    let server = registry
        .server_by_resource(&request.resource)
        .filter(|s| gateway.is_for(s.id.as_str()))
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
    caller
        .links
        .check(registry, claims.minted)
        .map_err(|e| OAuthError::InvalidGrant(format!("subject_token: {e}").into()))?;
    let agent = registry
        .agent(&claims.client_id)
        .filter(|a| a.status == Status::Approved);
    let agent = agent.ok_or_else(|| bad_token("the agent is disabled or not registered"))?;
    if registry.is_disabled_subject(&claims.subject) {
        return Err(bad_token("the subject is disabled"));
    }
    stopped(claims, registry, Some(server.id.as_str()))?;
    Ok((server, agent))
}

/// The task that the message names, when it is part of it; none when it names none.
fn confined<'a>(
    request: &ExchangeRequest,
    server: &Server,
    caller: &Caller,
    within: Option<&'a Within>,
    now: Timestamp,
) -> Result<Option<&'a Found>, Outside> {
    let Some(within) = within else {
        return Ok(None);
    };
    let found = within.as_ref().ok_or(Outside::Unknown)?;
    found.task.confine(
        &task::Asked {
            subject: &caller.accepted.claims.subject,
            agent: &caller.accepted.claims.client_id,
            server: server.id.as_str(),
            method: request.message.method(),
            target: request.message.target(),
            travel: request.message.travel(),
        },
        now,
    )?;
    Ok(Some(found))
}

/// What else is on record if nobody has called this tool of the server's before: unless it is registered or pinned.
fn first_call(
    app: &App,
    server: &Server,
    agent: &Agent,
    minted: &Record,
    now: Timestamp,
) -> Option<Box<IfNew>> {
    if minted.method.as_deref() != Some("tools/call") {
        return None;
    }
    let (id, tool) = (server.id.as_str(), minted.target.as_ref()?);
    let registered = agent.tools.get(id);
    if app.seen_tools.has(id, tool)
        || server.pins.contains_key(tool)
        || server.tools.contains(tool)
        || registered.is_some_and(|tools| tools.contains(tool))
    {
        return None;
    }
    let mut record = Finding::NewTool.record(now);
    record.subject.clone_from(&minted.subject);
    record.agent.clone_from(&minted.agent);
    record.gateway.clone_from(&minted.gateway);
    record.server.clone_from(&minted.server);
    record.method.clone_from(&minted.method);
    record.target.clone_from(&minted.target);
    record.token_id.clone_from(&minted.token_id);
    record.txn.clone_from(&minted.txn);
    record.request_id.clone_from(&minted.request_id);
    record.source_ip.clone_from(&minted.source_ip);
    let sighting = Sighting::Tool(id.to_owned(), tool.clone());
    Some(Box::new(IfNew { sighting, record }))
}

fn minted(
    mut record: Record,
    token: MintedToken,
    within: Option<&Found>,
    now: Timestamp,
) -> Outcome {
    let MintedToken { answer, single_use } = token;
    let kind = match single_use {
        Some(_) => "single_use",
        None => "discovery",
    };
    record.kind = Kind::Mint;
    record.decision = Some(Verdict::Allow);
    record.token_id = Some(answer.jti.clone());
    record.txn = Some(answer.txn.clone());
    record.detail =
        Some(json!({"token": kind, "expires_in": answer.expires_in, "scope": answer.scope}));
    // Looking around is free.
    let charge = within
        .filter(|_| single_use.is_some())
        .map(|found| found.task.charge(found.calls_today, now));
    Outcome {
        record,
        beside: Beside::default(),
        mint: commit::Mint {
            token: single_use,
            charge,
            if_new: None,
        },
        answer: Ok(answer),
    }
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
        beside: Beside::default(),
        mint: commit::Mint::default(),
        answer: Err(error),
    }
}

/// What is known before anything is decided.
fn record(gateway: &Gateway, request: &ExchangeRequest, caller: &Caller, now: Timestamp) -> Record {
    let claims = &caller.accepted.claims;
    let mut record = Record::new(Kind::Denied, now);
    record.subject = Some(clip(&claims.subject, 512));
    record.agent = Some(clip(&claims.client_id, 512));
    record.gateway = Some(gateway.id.to_string());
    record.method = Some(clip(request.message.method(), 256));
    record.target = request.message.target().map(|t| clip(t, 2048));
    record.gateway_policy = request
        .context
        .policy_revision
        .as_deref()
        .map(|r| clip(r, 64));
    record.subject_token_id = claims.id.as_deref().map(|id| clip(id, 128));
    record.content_digest = Some(request.content_digest.clone());
    record.request_id = Some(clip(&request.context.request_id, 128));
    record.source_ip = Some(clip(&request.context.source_ip, 64)).filter(|ip| !ip.is_empty());
    record
}
