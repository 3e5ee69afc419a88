//! What the grants that issue callers' tokens have in common.

use serde_json::json;

use super::first_seen;

use crate::{
    app::App,
    audit::{Kind, Record, Verdict},
    http::Peer,
    oauth::{
        OAuthError, caller_token::CallerClaims, client_auth::Client, locked_out,
        token::TokenResponse,
    },
    registry::{Grant, Registry, Server, Status},
    store::WriteTx,
};

/// Refuses a client that was switched off since it authenticated.
pub(super) fn still_approved(registry: &Registry, client: &Client) -> Result<(), OAuthError> {
    registry
        .agent(client.id())
        .filter(|agent| agent.status == Status::Approved)
        .map(drop)
        .ok_or(OAuthError::InvalidClient("this client is disabled".into()))
}

/// Signs a token and commits it with its record: no token without it, and no answer before it is durable.
pub(super) async fn commit(
    app: &App,
    mut tx: WriteTx,
    claims: &CallerClaims,
    server: Option<&Server>,
    grant: Grant,
    peer: Peer,
) -> Result<TokenResponse, OAuthError> {
    not_locked_out(app, &claims.sub, &claims.client_id, server).await?;
    let token = TokenResponse::sign(app, claims)?;
    let record = record(app, claims, server, grant, peer);
    tx.audit(&record).await?;
    first_seen::note(&mut tx, claims, grant, &record, app.clock.now()).await?;
    tx.commit().await?;
    metrics::counter!("writ_tokens_issued_total", "grant" => grant.as_str()).increment(1);
    Ok(token)
}

/// Refuses a token for whom a lockdown stops. Under the caller's open write transaction: the list cannot change before its commit.
pub(super) async fn not_locked_out(
    app: &App,
    subject: &str,
    agent: &str,
    server: Option<&Server>,
) -> Result<(), OAuthError> {
    let registry = app.current_registry().await?;
    let server = server.map(|server| server.id.as_str());
    if registry.stops().locks_out(subject, agent, server) {
        return Err(locked_out());
    }
    Ok(())
}

fn record(
    app: &App,
    claims: &CallerClaims,
    server: Option<&Server>,
    grant: Grant,
    peer: Peer,
) -> Record {
    let mut record = Record::new(Kind::TokenIssued, app.clock.now());
    record.subject = Some(claims.sub.clone());
    record.agent = Some(claims.client_id.clone());
    record.server = server.map(|server| server.id.to_string());
    record.decision = Some(Verdict::Allow);
    record.token_id = Some(claims.jti.clone());
    record.source_ip = Some(peer.text());
    record.detail = Some(json!({
        "grant": grant.as_str(),
        "grant_id": claims.grant_id,
        "scope": claims.scope,
        "agent_authn": claims.agent_authn,
        "expires": claims.exp,
    }));
    record
}
