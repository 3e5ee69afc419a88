//! `POST /gateway/v1/events`: what a gateway saw, on record before it is answered.

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use writ_policy::event::{Event, EventBatch, MAX_EVENTS, MAX_SPANS};

use super::{GatewayError, authenticate_any, report};
use crate::{
    app::SharedApp,
    audit::TryKind,
    http::{Peer, PeerCertificate},
    telemetry::filter,
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
    if batch.events.len() > MAX_EVENTS || batch.spans.len() > MAX_SPANS {
        let told = format!(
            "a batch may have {MAX_EVENTS} events and {MAX_SPANS} spans; send the rest in another one"
        );
        return Err(GatewayError::Malformed(told));
    }
    let mut refused = Vec::new();
    let mut allowed = EventBatch {
        events: Vec::new(),
        spans: Vec::new(),
    };
    for (index, event) in batch.events.into_iter().enumerate() {
        match asker.may_report(&event) {
            true => allowed.events.push(event),
            false => refused.push(index),
        }
    }
    metrics::counter!("writ_events_total").increment(allowed.events.len() as u64);
    let report = report::of(&asker, &allowed, &app, &registry, now)?;
    app.store.report(report).await?;
    for event in &allowed.events {
        if let Event::Outcome(outcome) = event {
            app.telemetry.operations.count(outcome);
        }
    }
    let spans = batch.spans.iter();
    spans
        .filter_map(|span| filter::span(&asker, span))
        .for_each(|span| app.telemetry.add(span));
    match refused.is_empty() {
        true => Ok(StatusCode::NO_CONTENT),
        // Whoever may not report one thing has not lost the others.
        false => Err(GatewayError::NotRecorded(refused)),
    }
}
