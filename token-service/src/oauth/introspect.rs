//! Introspection (RFC 7662) for MCP servers, with Writ's `consume`: a single-use token is spent by asking, once.
//!
//! A server learns about tokens minted for itself, and nothing about any other. Whatever else is brought here reached
//! the server past the gateway, or is used again: that is a rogue access, and goes on record without the credential.

mod look;
mod rogue;

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use serde_json::{Map, Value, json};

pub(crate) use self::look::{Finding, look};
pub(crate) use self::rogue::Arrival;
use super::{NO_STORE, OAuthError, params::Params};
use crate::{
    app::SharedApp,
    audit::TryKind,
    http::{Peer, basic},
    registry::{Registry, Server, Status},
    store::StoreError,
    telemetry,
};

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
        app.limits.address(peer).await?;
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
    telemetry::note([("writ.server", Some(server.id.as_str()))]);
    let found = look(&app, registry, &server, token, consume).await;
    let answer = match found.map_err(|e| unavailable(&e))? {
        Finding::Live(claims) => active(claims),
        Finding::Rogue(rogue) => {
            let arrival = Arrival {
                source_ip: params.get("source_ip"),
                ..Arrival::default()
            };
            let mut record = arrival.record(rogue, &server, app.clock.now());
            record.of_trace(telemetry::trace_id());
            app.store
                .record_rogue(record)
                .await
                .map_err(|e| unavailable(&e))?;
            json!({"active": false})
        }
    };
    Ok((NO_STORE, Json(answer)).into_response())
}

/// The server whose Basic credentials these are, when it is approved in this registry.
pub(crate) fn authenticate(registry: &Registry, headers: &HeaderMap) -> Option<Arc<Server>> {
    let credentials = basic::credentials(headers)?;
    let server = registry.server(&credentials.id)?;
    let proven = server.secret.verify(credentials.secret()) && server.status == Status::Approved;
    proven.then(|| Arc::clone(server))
}

/// RFC 7662 section 2.2.
fn active(mut claims: Map<String, Value>) -> Value {
    claims.insert("active".to_owned(), Value::Bool(true));
    claims.insert("token_type".to_owned(), Value::from("Bearer"));
    Value::Object(claims)
}

fn unavailable(error: &StoreError) -> OAuthError {
    match error {
        error if error.passes() => OAuthError::TemporarilyUnavailable(error.to_string().into()),
        other => OAuthError::internal(other),
    }
}
