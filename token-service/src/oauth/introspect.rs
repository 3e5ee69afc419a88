//! Introspection (RFC 7662) for MCP servers, with Writ's `consume`: a single-use token is spent by asking, once.
//!
//! A server learns about tokens minted for itself, and nothing about any other. Whatever else is brought here reached
//! the server past the gateway, or is used again: that is a rogue access, and goes on record without the credential.

mod rogue;

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};
use writ_core::{
    guard::Rogue,
    token::{Accepted, Claims},
};
use writ_policy::credential::Credential;

use super::{
    NO_STORE, OAuthError,
    chain::{ChainError, Links},
    params::Params,
};
use crate::{
    app::{App, SharedApp},
    audit::TryKind,
    clock::unix,
    http::{Peer, basic},
    registry::{Registry, Server, Status},
    store::{StoreError, commit::Spent},
};

/// How often a token is looked at again because the registry changed under it.
const ATTEMPTS: usize = 5;

/// `POST /oauth/introspect`.
///
/// # Errors
/// RFC 7662 section 2.3: `invalid_client` for who is no registered server, `invalid_request` without a token.
#[utoipa::path(
    post,
    path = "/oauth/introspect",
    operation_id = "introspect",
    summary = "What a token is good for, asked by a server (RFC 7662)",
    request_body(content = crate::openapi::schemas::IntrospectionRequest, content_type = "application/x-www-form-urlencoded"),
    security(("basic" = [])),
    responses((status = 200, description = "What is known of it", body = crate::openapi::schemas::IntrospectionAnswer), crate::openapi::schemas::Refused)
)]
pub async fn serve(
    State(app): State<SharedApp>,
    peer: Peer,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, OAuthError> {
    let registry = app.current_registry().await.map_err(|e| unavailable(&e))?;
    let Some(server) = authenticate(&registry, &headers) else {
        app.tries
            .note(TryKind::InvalidServer, &peer.text(), app.clock.now());
        app.limits.address(peer)?;
        return Err(OAuthError::InvalidClient(
            "the server's id or secret is wrong, or it is disabled".into(),
        ));
    };
    let params = Params::form(&headers, &body)?;
    let token = params.require("token")?;
    let consume = match params.get("consume") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => {
            return Err(OAuthError::InvalidRequest(
                "consume must be true or false".into(),
            ));
        }
    };
    let answer = match look(&app, registry, &server, token, consume).await? {
        Finding::Live(claims) => active(claims),
        Finding::Rogue(rogue) => {
            metrics::counter!("writ_rogue_total", "credential" => rogue.credential.word())
                .increment(1);
            let record = rogue::record(rogue, &server, params.get("source_ip"), app.clock.now());
            app.store
                .record_rogue(record)
                .await
                .map_err(|e| unavailable(&e))?;
            json!({"active": false})
        }
    };
    Ok((NO_STORE, Json(answer)).into_response())
}

/// What a token turned out to be.
enum Finding {
    /// Minted for this server and good: its claims.
    Live(Map<String, Value>),
    /// Anything else.
    Rogue(Rogue),
}

async fn look(
    app: &App,
    mut registry: Arc<Registry>,
    server: &Server,
    token: &str,
    consume: bool,
) -> Result<Finding, OAuthError> {
    let now = unix(app.clock.now());
    let accepted = match app.verify(token, now).await {
        Ok(accepted) => accepted,
        Err(error) => {
            return Ok(Finding::Rogue(Rogue::unverified(
                token,
                Credential::by_prefix(token),
                &error,
                &app.config.issuer,
            )));
        }
    };
    for _ in 0..ATTEMPTS {
        if let Some(rogue) = standing(&registry, server, &accepted) {
            return Ok(Finding::Rogue(rogue));
        }
        let Some(claims) = claims(token) else {
            return Ok(Finding::Rogue(Rogue::unknown(Credential::Opaque)));
        };
        let jti = accepted
            .claims
            .id
            .as_deref()
            .filter(|_| is_single_use(&claims));
        let spent = match jti {
            // A discovery token is good until it expires; there is nothing to spend.
            None => Ok(Spent::Now),
            Some(jti) if consume => app.store.consume(registry.revision(), jti, now).await,
            Some(jti) => app.store.peek(jti).await,
        };
        match spent {
            Ok(Spent::Now) => return Ok(Finding::Live(claims)),
            Ok(Spent::Before) => {
                return Ok(Finding::Rogue(Rogue::of(
                    Credential::Replay,
                    &accepted.claims,
                )));
            }
            Err(StoreError::Stale) => {
                registry = app.current_registry().await.map_err(|e| unavailable(&e))?;
            }
            Err(error) => return Err(unavailable(&error)),
        }
    }
    Err(OAuthError::TemporarilyUnavailable(
        "the registry keeps changing; try again".into(),
    ))
}

/// What is wrong with a token of ours that this server asks about; `None` when nothing is.
fn standing(registry: &Registry, server: &Server, accepted: &Accepted) -> Option<Rogue> {
    let claims: &Claims = &accepted.claims;
    let rogue = |credential| Some(Rogue::of(credential, claims));
    if !claims.minted {
        return rogue(Credential::CallerToken);
    }
    if !claims.is_for(&server.upstream_audience) {
        return rogue(Credential::ForeignToken);
    }
    let approved = registry
        .agent(&claims.client_id)
        .is_some_and(|a| a.status == Status::Approved)
        && registry
            .server(server.id.as_str())
            .is_some_and(|s| s.status == Status::Approved)
        && !registry.is_disabled_subject(&claims.subject);
    if !approved {
        return rogue(Credential::Disabled);
    }
    // Whoever acted on the way to it counts too.
    match Links::of(claims).and_then(|links| links.check(registry, true)) {
        Ok(()) => None,
        Err(ChainError::Revoked) => rogue(Credential::Revoked),
        Err(_) => rogue(Credential::Disabled),
    }
}

/// The server whose Basic credentials these are, when it is approved in this registry.
pub(super) fn authenticate(registry: &Registry, headers: &HeaderMap) -> Option<Arc<Server>> {
    let credentials = basic::credentials(headers)?;
    let server = registry.server(&credentials.id)?;
    let proven = server.secret.verify(credentials.secret()) && server.status == Status::Approved;
    proven.then(|| Arc::clone(server))
}

/// The claims of a token whose signature has been checked, as they are.
fn claims(token: &str) -> Option<Map<String, Value>> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

fn is_single_use(claims: &Map<String, Value>) -> bool {
    let details = claims
        .get("authorization_details")
        .and_then(Value::as_array);
    let discovery = |d: &Value| d.get("type").and_then(Value::as_str) == Some("mcp_discovery");
    !details.is_some_and(|d| !d.is_empty() && d.iter().all(discovery))
}

/// RFC 7662 section 2.2.
fn active(mut claims: Map<String, Value>) -> Value {
    claims.insert("active".to_owned(), Value::Bool(true));
    claims.insert("token_type".to_owned(), Value::from("Bearer"));
    Value::Object(claims)
}

fn unavailable(error: &StoreError) -> OAuthError {
    match error {
        StoreError::Busy | StoreError::Stale => {
            OAuthError::TemporarilyUnavailable(error.to_string().into())
        }
        other => OAuthError::internal(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_discovery_tokens_are_good_more_than_once() {
        let claims = |details: Value| {
            let Value::Object(claims) = json!({"authorization_details": details}) else {
                unreachable!()
            };
            claims
        };
        assert!(is_single_use(&claims(json!([{"type": "mcp_request"}]))));
        assert!(is_single_use(&claims(
            json!([{"type": "mcp_discovery"}, {"type": "mcp_request"}])
        )));
        assert!(is_single_use(&claims(json!([]))));
        assert!(is_single_use(&Map::new()));
        assert!(!is_single_use(&claims(json!([{"type": "mcp_discovery"}]))));
    }
}
