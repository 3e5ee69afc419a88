//! A server that was called calls the next server, on behalf of the same subject and agent.
//!
//! It may when the token that was minted for it says so (`may_act`, RFC 8693 section 4.4) and its registration names the next
//! server, both at this moment. That the token was spent by introspection is as it should be. The chain shows who called
//! through whom.

use serde_json::json;
use writ_core::token::Claims;
use writ_policy::input::SubjectKind;

use super::{Brought, Derived, Request, refused, target};
use crate::{
    app::App,
    clock::unix,
    oauth::{
        OAuthError,
        caller_token::{CallerClaims, Subject},
        chain::{Actor, Chain, ChainError, MAX_HOPS, MayAct},
        scope::Scope,
        token::TokenResponse,
    },
    registry::{Registry, Server, Status},
    store::{WriteTx, users},
};

/// Seconds of life: for one call, which the server makes at once.
const TTL_S: u64 = 60;

pub(super) async fn exchange(
    app: &App,
    server: &Server,
    request: &Request<'_>,
) -> Result<TokenResponse, OAuthError> {
    let brought = request
        .verified(app, "subject_token", request.subject_token)
        .await?;
    if request.actor_token.is_some() {
        let told = "actor_token is not for servers: the actor is the server itself";
        return Err(OAuthError::InvalidRequest(told.into()));
    }
    let mut record = request.record(&brought, app.clock.now());
    record.detail = Some(json!({"kind": "onward", "server": server.id}));
    // Under an open write transaction nobody can change the registry: what is read now holds until the commit.
    let mut tx = app.store.write().await?;
    let registry = app.current_registry().await?;
    match derive(app, &mut tx, &registry, server, request, &brought).await {
        Ok((derived, next)) => {
            let detail = json!({"kind": "onward", "server": server.id, "hops": derived.chain.hops});
            derived.commit(app, tx, record, next, detail).await
        }
        Err(error) => refused(tx, record, error).await,
    }
}

async fn derive<'r>(
    app: &App,
    tx: &mut WriteTx,
    registry: &'r Registry,
    server: &Server,
    request: &Request<'_>,
    brought: &Brought,
) -> Result<(Derived, &'r Server), OAuthError> {
    let (claims, links) = (brought.claims(), &brought.links);
    let bad = |told: &'static str| Err(OAuthError::InvalidGrant(told.into()));
    let server = registry
        .server(server.id.as_str())
        .filter(|server| server.status == Status::Approved)
        .ok_or(OAuthError::InvalidClient("this server is disabled".into()))?;
    if !claims.minted {
        return bad(
            "subject_token is a caller's own: a server exchanges the token that it was called with",
        );
    }
    if !claims.is_for(&server.upstream_audience) {
        return bad("subject_token was minted for another server");
    }
    if may_act(claims).is_none_or(|may| may.sub != server.id.as_str()) {
        return bad(
            "subject_token lets nobody act on it (may_act): the server's registration named no server to call, or the token is for looking around only",
        );
    }
    let next = target(registry, request.resource)?;
    brought.check(registry, next)?;
    if !server.may_call.iter().any(|id| id == next.id.as_str()) {
        let told =
            "this server may not call that one: its registration names the servers that it may";
        return Err(OAuthError::InvalidTarget(told.into()));
    }
    if links.chain.hops >= MAX_HOPS {
        return Err(OAuthError::InvalidGrant(
            ChainError::TooDeep.to_string().into(),
        ));
    }
    let scope = Scope::narrowed(&claims.scopes, request.scope, next)
        .map_err(|e| OAuthError::InvalidScope(e.to_string().into()))?;
    let now = app.clock.now();
    let subject = match claims.subject_kind {
        SubjectKind::Workload => Subject::Agent,
        SubjectKind::User => match users::find(tx.conn(), &claims.subject).await? {
            // As the directory has them now, groups included.
            Some(user) if user.is_active() => Subject::User(user),
            _ => return bad("the user is disabled, or not known here any more"),
        },
    };
    let agent = (claims.client_id.as_str(), links.chain.agent_authn);
    let mut token = CallerClaims::new(app, subject, agent, &next.resource, &scope, now);
    // A workload that another agent acts for is not that agent.
    token.sub.clone_from(&claims.subject);
    token.exp = unix(now).saturating_add(TTL_S).min(links.chain.until);
    if token.exp <= token.iat {
        return bad("the token that the call began with has expired; the agent must call again");
    }
    let derived = Derived {
        token,
        txn: links.txn.clone(),
        act: Some(Actor::new(server.id.as_str(), links.act.clone())),
        derived_from: links.from.clone(),
        chain: Chain {
            hops: links.chain.hops + 1,
            ..links.chain.clone()
        },
    };
    Ok((derived, next))
}

fn may_act(claims: &Claims) -> Option<MayAct> {
    serde_json::from_value(claims.others.get("may_act")?.clone()).ok()
}
