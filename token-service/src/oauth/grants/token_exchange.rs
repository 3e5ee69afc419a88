//! Token exchange at the public endpoint (RFC 8693): from one caller's token to another, never to more.
//!
//! Two may ask. A server that was called and calls the next server brings the token that was minted for it ([`onward`]). An
//! agent that acts for another brings that one's token ([`for_another`]), if policy lets it. Gateways exchange at their own
//! listener ([`super::exchange`]).

mod for_another;
mod onward;

use std::sync::Arc;

use axum::http::HeaderMap;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use writ_core::token::{Accepted, Claims};

use super::{first_seen, issue};
use crate::{
    app::App,
    audit::{Kind, Record, TryKind, Verdict, clip},
    clock::unix,
    http::Peer,
    oauth::{
        OAuthError,
        caller_token::CallerClaims,
        chain::{Actor, Chain, Links},
        client_auth, dpop, introspect,
        params::Params,
        stopped,
        token::TokenResponse,
    },
    registry::{Grant, Registry, Server, Status},
    store::WriteTx,
};

/// RFC 8693 section 2.1.
pub const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// RFC 8693 section 3.
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A request, checked for form.
struct Request<'a> {
    subject_token: &'a str,
    actor_token: Option<&'a str>,
    /// The public resource identifier of the server that the token is to be for (RFC 8707).
    resource: &'a str,
    scope: Option<&'a str>,
    peer: Peer,
}

/// A token of ours, with what it was derived from.
struct Brought {
    accepted: Arc<Accepted>,
    links: Links,
}

/// Answers a token exchange.
///
/// # Errors
/// RFC 8693 section 2.2.2.
pub async fn answer(
    app: &App,
    registry: &Registry,
    headers: &HeaderMap,
    params: &Params,
    peer: Peer,
) -> Result<TokenResponse, OAuthError> {
    let request = Request::read(params, peer)?;
    if let Some(server) = introspect::authenticate(registry, headers) {
        return onward::exchange(app, &server, &request).await;
    }
    let proof = dpop::at_token_endpoint(app, headers)?;
    let client = client_auth::authenticate(app, registry, headers, params, peer).await?;
    let client = client.holding(app, proof).await?;
    for_another::exchange(app, &client, &request).await
}

impl<'a> Request<'a> {
    fn read(params: &'a Params, peer: Peer) -> Result<Self, OAuthError> {
        let invalid = |told: &'static str| Err(OAuthError::InvalidRequest(told.into()));
        if params.require("subject_token_type")? != ACCESS_TOKEN {
            return invalid(
                "subject_token_type must be urn:ietf:params:oauth:token-type:access_token: nothing else is exchanged here",
            );
        }
        if params
            .get("requested_token_type")
            .is_some_and(|t| t != ACCESS_TOKEN)
        {
            return invalid(
                "requested_token_type must be urn:ietf:params:oauth:token-type:access_token",
            );
        }
        let actor_token = match (params.get("actor_token"), params.get("actor_token_type")) {
            (None, None) => None,
            (Some(token), Some(ACCESS_TOKEN)) => Some(token),
            _ => {
                return invalid(
                    "actor_token needs the actor_token_type urn:ietf:params:oauth:token-type:access_token",
                );
            }
        };
        if params.get("audience").is_some() {
            return invalid("name the server with resource, not with audience");
        }
        Ok(Self {
            subject_token: params.require("subject_token")?,
            actor_token,
            resource: params.require("resource")?,
            scope: params.get("scope"),
            peer,
        })
    }

    /// Checks a token that was brought: ours, and alive.
    async fn verified(
        &self,
        app: &App,
        name: &'static str,
        token: &str,
    ) -> Result<Brought, OAuthError> {
        let now = app.clock.now();
        let wrong = |told: String| OAuthError::InvalidGrant(format!("{name}: {told}").into());
        let accepted = app.verify(token, unix(now)).await.map_err(|e| {
            app.tries
                .note(TryKind::InvalidSubjectToken, &self.peer.text(), now);
            wrong(e.to_string())
        })?;
        let links = Links::of(&accepted.claims).map_err(|e| wrong(e.to_string()))?;
        Ok(Brought { accepted, links })
    }

    /// What is put on record, before anything is decided.
    fn record(&self, brought: &Brought, now: Timestamp) -> Record {
        let claims = &brought.accepted.claims;
        let mut record = Record::new(Kind::Denied, now);
        record.method = Some("token_exchange".to_owned());
        record.subject = Some(clip(&claims.subject, 512));
        record.agent = Some(clip(&claims.client_id, 512));
        record.target = Some(clip(self.resource, 2048));
        record.subject_token_id = claims.id.as_deref().map(|id| clip(id, 128));
        record.txn.clone_from(&brought.links.txn);
        record.source_ip = Some(self.peer.text());
        record
    }
}

impl Brought {
    fn claims(&self) -> &Claims {
        &self.accepted.claims
    }

    /// Whether everybody whom the token speaks for is in good standing, nothing it comes from was taken back, and nothing stops
    /// what it is to be for.
    fn check(&self, registry: &Registry, next: &Server) -> Result<(), OAuthError> {
        let claims = self.claims();
        let bad = |told: String| Err(OAuthError::InvalidGrant(told.into()));
        if let Err(error) = self.links.check(registry, claims.minted) {
            return bad(format!("subject_token: {error}"));
        }
        let agent = registry.agent(&claims.client_id);
        if agent.is_none_or(|agent| agent.status != Status::Approved) {
            return bad("the agent is disabled or not registered".to_owned());
        }
        if registry.is_disabled_subject(&claims.subject) {
            return bad("the subject is disabled".to_owned());
        }
        stopped(claims, registry, Some(next.id.as_str()))
    }
}

/// A caller's token that was derived from another.
#[derive(Serialize)]
struct Derived {
    #[serde(flatten)]
    token: CallerClaims,
    #[serde(skip_serializing_if = "Option::is_none")]
    txn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<Actor>,
    derived_from: Vec<String>,
    chain: Chain,
}

impl Derived {
    /// Signs the token and commits it with its record.
    async fn commit(
        self,
        app: &App,
        mut tx: WriteTx,
        mut record: Record,
        server: &Server,
        detail: Value,
    ) -> Result<TokenResponse, OAuthError> {
        let (sub, client_id) = (&self.token.sub, &self.token.client_id);
        issue::not_locked_out(app, sub, client_id, Some(server)).await?;
        let signed = app.keys.sign(&self).map_err(|e| OAuthError::internal(&e))?;
        record.kind = Kind::TokenIssued;
        record.decision = Some(Verdict::Allow);
        record.server = Some(server.id.to_string());
        record.token_id = Some(self.token.jti.clone());
        let mut fields = json!({
            "grant": GRANT_TYPE, "scope": self.token.scope, "agent_authn": self.token.agent_authn, "expires": self.token.exp,
            "act": self.act,
        });
        if let (Value::Object(fields), Value::Object(more)) = (&mut fields, detail) {
            fields.extend(more);
        }
        record.detail = Some(fields);
        tx.audit(&record).await?;
        let now = app.clock.now();
        first_seen::note(&mut tx, &self.token, Grant::TokenExchange, &record, now).await?;
        tx.commit().await?;
        metrics::counter!("writ_tokens_issued_total", "grant" => "token_exchange").increment(1);
        let life = self.token.exp.saturating_sub(self.token.iat);
        Ok(TokenResponse::exchanged(signed, life, self.token))
    }
}

/// Puts a refusal on record, and gives it back.
async fn refused(
    mut tx: WriteTx,
    mut record: Record,
    error: OAuthError,
) -> Result<TokenResponse, OAuthError> {
    record.decision = Some(Verdict::Deny);
    record.reason = Some(clip(&error.to_string(), 1024));
    if record.detail.is_none() {
        record.detail = Some(json!({"cause": error.code()}));
    }
    tx.audit(&record).await?;
    tx.commit().await?;
    Err(error)
}

/// The approved server that the token is to be for.
fn target<'a>(registry: &'a Registry, resource: &str) -> Result<&'a Arc<Server>, OAuthError> {
    registry
        .server_by_resource(resource)
        .filter(|server| server.status == Status::Approved)
        .ok_or_else(|| {
            let told =
                "resource is not the identifier of a server that is registered here and in use";
            OAuthError::InvalidTarget(told.into())
        })
}
