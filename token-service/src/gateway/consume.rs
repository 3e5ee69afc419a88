//! `POST /gateway/v1/consume`: a guard spends the token of a call before the call goes on to the server.
//!
//! Of all guards that ask with one token, one is told that it is spent, and that answer is durable before it is given.
//! A token that cannot be spent is a rogue access and goes on record here.

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::json;

use super::{GatewayError, authenticate_any};
use crate::{
    app::SharedApp,
    audit::TryKind,
    http::{Peer, PeerCertificate},
    oauth::{
        NO_STORE,
        introspect::{Arrival, Finding, look},
    },
    registry::GatewayKind,
    telemetry,
};

/// What a guard asks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// The guarded server's id.
    server: String,
    /// The token.
    token: String,
    /// Where the request came from.
    source_ip: String,
    /// `x-request-id`.
    request_id: String,
}

#[utoipa::path(
    post,
    path = "/gateway/v1/consume",
    operation_id = "consume",
    summary = "Spends the token of a call, once",
    request_body(content = crate::openapi::schemas::Consumption),
    security(("basic" = [])),
    responses((status = 200, description = "Whether it was spent now", body = crate::openapi::schemas::Consumed), crate::openapi::schemas::Refused)
)]
pub(super) async fn serve(
    State(app): State<SharedApp>,
    peer: Peer,
    certificate: PeerCertificate,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, GatewayError> {
    let registry = app.current_registry().await?;
    let now = app.clock.now();
    let Some(asker) = authenticate_any(&registry, &headers, &certificate) else {
        app.tries.note(TryKind::InvalidGateway, &peer.text(), now);
        return Err(GatewayError::Unauthorized);
    };
    let (gateway, name) = (asker.as_gateway(), asker.name());
    if gateway.kind != GatewayKind::Guard {
        return Err(GatewayError::NoGuard);
    }
    let asked: Asked = serde_json::from_slice(&body)
        .map_err(|e| GatewayError::Malformed(format!("the body does not name a token: {e}")))?;
    let server = registry
        .server(&asked.server)
        .filter(|server| gateway.is_for(server.id.as_str()))
        .ok_or(GatewayError::OtherServer)?;
    telemetry::note([("writ.server", Some(server.id.as_str()))]);
    let answer = match look(&app, registry.clone(), server, &asked.token, true).await? {
        Finding::Live(_) => json!({"active": true}),
        Finding::Rogue(rogue) => {
            let credential = rogue.credential;
            let arrival = Arrival {
                gateway: Some(&name),
                source_ip: Some(&asked.source_ip),
                request_id: Some(&asked.request_id),
            };
            let mut record = arrival.record(rogue, server, now);
            record.of_trace(telemetry::trace_id());
            app.store.record_rogue(record).await?;
            json!({"active": false, "credential": credential})
        }
    };
    Ok((NO_STORE, Json(answer)).into_response())
}
