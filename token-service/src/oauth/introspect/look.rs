//! What a token is to the server that it reached, and spending it.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use writ_core::{
    guard::Rogue,
    token::{Accepted, Claims, Stopped},
};
use writ_policy::credential::Credential;

use crate::{
    app::App,
    clock::unix,
    oauth::chain::{ChainError, Links},
    registry::{Registry, Server, Status},
    store::{StoreError, commit::Spent},
};

/// How often a token is looked at again because the registry changed under it.
const ATTEMPTS: usize = 5;

/// What a token turned out to be.
pub(crate) enum Finding {
    /// Minted for this server and good: its claims.
    Live(Map<String, Value>),
    /// Anything else.
    Rogue(Rogue),
}

/// Looks at a token that reached `server`, and spends it where that is asked for and it can be.
///
/// # Errors
/// When the store fails, or the registry keeps changing meanwhile.
pub(crate) async fn look(
    app: &App,
    mut registry: Arc<Registry>,
    server: &Server,
    token: &str,
    consume: bool,
) -> Result<Finding, StoreError> {
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
                registry = app.current_registry().await?;
            }
            Err(error) => return Err(error),
        }
    }
    Err(StoreError::Stale)
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
    let stopped = claims.stopped(registry.stops(), Some(server.id.as_str()));
    if !approved || stopped == Some(Stopped::LockedOut) {
        return rogue(Credential::Disabled);
    }
    if stopped == Some(Stopped::Revoked) {
        return rogue(Credential::Revoked);
    }
    // Whoever acted on the way to it counts too.
    match Links::of(claims).and_then(|links| links.check(registry, true)) {
        Ok(()) => None,
        Err(ChainError::Revoked) => rogue(Credential::Revoked),
        Err(_) => rogue(Credential::Disabled),
    }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

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
