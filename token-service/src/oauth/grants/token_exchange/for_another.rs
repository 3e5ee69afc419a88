//! An agent gets a token for another subject, if policy lets it (`data.writ.exchange`).
//!
//! With an `actor_token` of its own that is delegation: the token names the agent as the actor, and those before it. Without, it
//! is impersonation: the token names no actor but `client_id`. The audit trail says who asked either way.

use serde::{Deserialize, Serialize};
use serde_json::json;
use writ_policy::{
    engine::EXCHANGE,
    input::{AgentAuthn, Labels, SubjectKind},
};

use super::{Brought, Derived, Request, refused, target};
use crate::{
    app::App,
    clock::{rfc3339, unix},
    oauth::{
        OAuthError,
        caller_token::{CallerClaims, Subject},
        chain::{self, Actor, Chain, Links, MayAct},
        client_auth::Client,
        scope::Scope,
        token::TokenResponse,
    },
    registry::{AuthMethod, Grant, Registry, Server, Status},
    store::{WriteTx, users},
};

/// How the agent will act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum ExchangeKind {
    /// In its own name, for the subject (RFC 8693 section 1.1).
    Delegation,
    /// As the subject (RFC 8693 section 1.1).
    Impersonation,
}

/// What the policy is asked with.
#[derive(Serialize)]
struct Question<'a> {
    subject: AskedSubject<'a>,
    agent: AskedAgent<'a>,
    server: AskedServer<'a>,
    exchange: AskedExchange<'a>,
    request: Circumstances<'a>,
}

#[derive(Serialize)]
struct AskedSubject<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: SubjectKind,
    issuer: &'a str,
    groups: &'a [String],
    scopes: &'a [String],
}

#[derive(Serialize)]
struct AskedAgent<'a> {
    id: &'a str,
    authn: AgentAuthn,
    labels: &'a Labels,
}

#[derive(Serialize)]
struct AskedServer<'a> {
    id: &'a str,
    resource: &'a str,
    labels: &'a Labels,
}

#[derive(Serialize)]
struct AskedExchange<'a> {
    kind: ExchangeKind,
    /// Whose token it is now.
    subject_agent: &'a str,
    /// Who has acted for the subject so far.
    act: Option<&'a Actor>,
    scopes: Vec<&'a str>,
}

#[derive(Serialize)]
struct Circumstances<'a> {
    time: &'a str,
    source_ip: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    allow: bool,
    reason: Option<String>,
}

pub(super) async fn exchange(
    app: &App,
    client: &Client,
    request: &Request<'_>,
) -> Result<TokenResponse, OAuthError> {
    client.must_have(Grant::TokenExchange)?;
    if client.agent().auth == AuthMethod::None {
        let told = "a public client cannot act for others; register it with a secret or a key";
        return Err(OAuthError::UnauthorizedClient(told.into()));
    }
    let brought = request
        .verified(app, "subject_token", request.subject_token)
        .await?;
    let actor = match request.actor_token {
        Some(token) => Some(request.verified(app, "actor_token", token).await?),
        None => None,
    };
    let kind = match actor {
        Some(_) => ExchangeKind::Delegation,
        None => ExchangeKind::Impersonation,
    };
    let mut record = request.record(&brought, app.clock.now());
    // Who asks, not whose token it was.
    record.agent = Some(client.id().to_owned());
    record.service_policy = Some(app.policy().revision().to_owned());
    let detail = json!({"kind": kind, "subject_agent": brought.claims().client_id});
    record.detail = Some(detail.clone());
    // Under an open write transaction nobody can change the registry: what is read now holds until the commit.
    let mut tx = app.store.write().await?;
    let registry = app.current_registry().await?;
    let asked = Asked {
        client,
        request,
        brought: &brought,
        actor: actor.as_ref(),
        kind,
    };
    match asked.derive(app, &mut tx, &registry).await {
        Ok((derived, server)) => derived.commit(app, tx, record, server, detail).await,
        Err(error) => refused(tx, record, error).await,
    }
}

struct Asked<'a> {
    client: &'a Client,
    request: &'a Request<'a>,
    brought: &'a Brought,
    actor: Option<&'a Brought>,
    kind: ExchangeKind,
}

impl Asked<'_> {
    async fn derive<'r>(
        &self,
        app: &App,
        tx: &mut WriteTx,
        registry: &'r Registry,
    ) -> Result<(Derived, &'r Server), OAuthError> {
        let (claims, links) = (self.brought.claims(), &self.brought.links);
        let client = registry
            .agent(self.client.id())
            .filter(|agent| agent.status == Status::Approved)
            .ok_or(OAuthError::InvalidClient("this client is disabled".into()))?;
        is_callers(registry, "subject_token", self.brought)?;
        let server = target(registry, self.request.resource)?;
        self.brought.check(registry, server)?;
        self.is_named(client.id.as_str())?;
        let mut from = links.from.clone();
        if let Some(actor) = self.actor {
            is_callers(registry, "actor_token", actor)?;
            actor.check(registry, server)?;
            let own = (
                actor.claims().client_id.as_str(),
                actor.claims().subject.as_str(),
            );
            if own != (client.id.as_str(), client.id.as_str()) {
                let told = "actor_token must be this client's own, from client_credentials";
                return Err(OAuthError::InvalidGrant(told.into()));
            }
            from.extend(actor.links.from.iter().cloned());
        }
        let scope = Scope::narrowed(&claims.scopes, self.request.scope, server)
            .map_err(|e| OAuthError::InvalidScope(e.to_string().into()))?;
        self.judge(app, &client.labels, server, &scope)?;

        let act = match self.kind {
            ExchangeKind::Delegation => {
                let before = links.act.clone();
                let before = before.unwrap_or_else(|| Actor::new(&claims.client_id, None));
                Some(
                    Actor::new(client.id.as_str(), Some(before))
                        .holding(self.client.key().cloned()),
                )
            }
            ExchangeKind::Impersonation => links.act.clone(),
        };
        // It ends with the agent whose token it was, named among its actors or not: gateways and guards look here alone.
        let whose = chain::of_agent(&claims.client_id);
        if !from.contains(&whose) {
            from.push(whose);
        }
        let after = Links {
            act,
            chain: Chain {
                agent_authn: self.client.authn(),
                ..links.chain.clone()
            },
            from,
            txn: None,
            issued_at: Some(unix(app.clock.now())),
        };
        after
            .check(registry, false)
            .map_err(|e| OAuthError::InvalidGrant(format!("subject_token: {e}").into()))?;
        let now = app.clock.now();
        let agent = (client.id.as_str(), self.client.authn());
        let mut token =
            CallerClaims::new(app, Subject::Agent, agent, &server.resource, &scope, now);
        token.sub.clone_from(&claims.subject);
        token.cnf = self.client.key().cloned();
        token.subject_type = claims.subject_kind;
        if claims.subject_kind == SubjectKind::User {
            // As the directory has them now, where it knows them.
            let user = users::find(tx.conn(), &claims.subject).await?;
            token.groups = Some(user.map_or_else(|| claims.groups.clone(), |user| user.groups));
        }
        token.exp = token.exp.min(after.chain.until).min(claims.expires);
        if token.exp <= unix(now) {
            return Err(OAuthError::InvalidGrant("subject_token has expired".into()));
        }
        let derived = Derived {
            token,
            txn: None,
            act: after.act,
            derived_from: after.from,
            chain: after.chain,
        };
        Ok((derived, server))
    }

    /// A subject's token may say who alone may act on it (RFC 8693 section 4.4).
    fn is_named(&self, client: &str) -> Result<(), OAuthError> {
        let Some(may_act) = self.brought.claims().others.get("may_act") else {
            return Ok(());
        };
        match serde_json::from_value::<MayAct>(may_act.clone()) {
            Ok(may) if may.sub == client => Ok(()),
            _ => Err(OAuthError::InvalidGrant(
                "subject_token names somebody else who may act on it (may_act)".into(),
            )),
        }
    }

    fn judge(
        &self,
        app: &App,
        labels: &Labels,
        server: &Server,
        scope: &Scope,
    ) -> Result<(), OAuthError> {
        let claims = self.brought.claims();
        let question = Question {
            subject: AskedSubject {
                id: &claims.subject,
                kind: claims.subject_kind,
                issuer: &claims.issuer,
                groups: &claims.groups,
                scopes: &claims.scopes,
            },
            agent: AskedAgent {
                id: self.client.id(),
                authn: self.client.authn(),
                labels,
            },
            server: AskedServer {
                id: server.id.as_str(),
                resource: &server.resource,
                labels: &server.labels,
            },
            exchange: AskedExchange {
                kind: self.kind,
                subject_agent: &claims.client_id,
                act: self.brought.links.act.as_ref(),
                scopes: scope.words().collect(),
            },
            request: Circumstances {
                time: &rfc3339(app.clock.now()),
                source_ip: &self.request.peer.text(),
            },
        };
        let denied = |told: String| Err(OAuthError::AccessDenied(told.into()));
        match app.policy().judge::<Answer>(EXCHANGE, &question) {
            Ok(Answer { allow: true, .. }) => Ok(()),
            Ok(Answer { reason, .. }) => denied(
                reason
                    .unwrap_or_else(|| "the policy does not let this agent act for it".to_owned()),
            ),
            Err(unjudged) => denied(unjudged.reason),
        }
    }
}

/// Whether this is a token that an agent itself calls a server with, and that it may hand on.
fn is_callers(
    registry: &Registry,
    name: &'static str,
    brought: &Brought,
) -> Result<(), OAuthError> {
    let bad = |told: &str| Err(OAuthError::InvalidGrant(format!("{name} {told}").into()));
    let claims = brought.claims();
    if claims.minted {
        return bad("was minted for an upstream: it is good there only");
    }
    if brought.links.chain.hops > 0 {
        return bad("belongs to a server that calls the next one: it is good for that call only");
    }
    if claims.bound_to.is_some() {
        return bad("is bound to a key (RFC 9449) and good with a proof of that only");
    }
    let for_a_server = claims
        .audience
        .iter()
        .any(|aud| registry.server_by_resource(aud).is_some());
    if for_a_server {
        Ok(())
    } else {
        bad("is for no server that is registered here")
    }
}
