//! `POST /gateway/v1/events`: what a gateway saw, on record before it is answered.

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use writ_policy::event::{EventBatch, MAX_EVENTS};

use super::{GatewayError, authenticate_any, report};
use crate::{
    app::SharedApp,
    audit::TryKind,
    http::{Peer, PeerCertificate},
};

#[utoipa::path(
    post,
    path = "/gateway/v1/events",
    operation_id = "events",
    summary = "What a gateway saw, on record",
    request_body(content = crate::openapi::schemas::EventBatch),
    security(("basic" = [])),
    responses((status = 204, description = "It is on record"), crate::openapi::schemas::Refused)
)]
pub(super) async fn serve(
    State(app): State<SharedApp>,
    peer: Peer,
    certificate: PeerCertificate,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, GatewayError> {
    let registry = app.current_registry().await?;
    let now = app.clock.now();
    let Some(asker) = authenticate_any(&registry, &headers, &certificate) else {
        app.tries.note(TryKind::InvalidGateway, &peer.text(), now);
        return Err(GatewayError::Unauthorized);
    };
    let batch: EventBatch = serde_json::from_slice(&body)
        .map_err(|e| GatewayError::Malformed(format!("the body is not a batch of events: {e}")))?;
    if batch.events.len() > MAX_EVENTS {
        let told = format!("a batch may have {MAX_EVENTS} events; send the rest in another one");
        return Err(GatewayError::Malformed(told));
    }
    if !batch.events.iter().all(|event| asker.may_report(event)) {
        let told = "a gateway reports about calls to its own servers, and a guard or a server what it refused itself; `writ gateway list` shows what each is registered for";
        return Err(GatewayError::Malformed(told.to_owned()));
    }
    metrics::counter!("writ_events_total").increment(batch.events.len() as u64);
    app.store.report(report::of(&asker, &batch, now)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
