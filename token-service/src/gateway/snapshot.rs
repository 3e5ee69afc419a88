//! `GET /gateway/v1/snapshot`: what a gateway decides from, as soon as there is something new.

use std::time::Duration;

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};
use writ_policy::snapshot::FORMAT;

use super::{GatewayError, authenticate_any};
use crate::{
    app::SharedApp,
    audit::TryKind,
    http::{Peer, PeerCertificate},
    snapshot::{Asked, Form},
};

/// The longest that anybody may wait, in seconds.
const LONGEST_WAIT_S: u64 = 10;

/// The most parts that may be asked for at once.
const MOST_PARTS: usize = 64;

/// What the filter says of itself.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Params {
    /// The format that it reads.
    format: u32,
    /// The engine that it runs.
    engine: String,
    /// The thumbprint (RFC 7638) of the key that it trusts.
    key: String,
    /// The names of the parts that it lacks of the revision in `If-None-Match`, separated by commas: at most 64.
    parts: Option<String>,
}

#[utoipa::path(
    get,
    path = "/gateway/v1/snapshot",
    operation_id = "snapshot",
    summary = "What a gateway decides from",
    params(Params),
    security(("basic" = [])),
    responses((status = 200, description = "Lines: a signed head, and the documents that are new", body = String, content_type = "application/vnd.writ.snapshot"), (status = 406, description = "There is none of this format"), crate::openapi::schemas::Refused)
)]
pub(super) async fn serve(
    State(app): State<SharedApp>,
    peer: Peer,
    certificate: PeerCertificate,
    params: Result<Query<Params>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, GatewayError> {
    let registry = app.current_registry().await?;
    if authenticate_any(&registry, &headers, &certificate).is_none() {
        app.tries
            .note(TryKind::InvalidGateway, &peer.text(), app.clock.now());
        return Err(GatewayError::Unauthorized);
    }
    let Query(params) = params.map_err(|e| GatewayError::Malformed(e.body_text()))?;
    if params.format != FORMAT {
        return Err(GatewayError::Format(params.format));
    }
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let parts = params.parts.as_deref().unwrap_or_default();
    let asked = Asked {
        known: text(header::IF_NONE_MATCH).map(|tag| tag.trim_matches('"')),
        parts: parts.split(',').filter(|name| !name.is_empty()).collect(),
        key: &params.key,
    };
    if asked.parts.len() > MOST_PARTS {
        return Err(GatewayError::Malformed(format!(
            "at most {MOST_PARTS} parts may be asked for at once"
        )));
    }
    let form = Form::for_engine(&params.engine);
    let waits_s = wait_s(headers.get("prefer")).min(LONGEST_WAIT_S);
    let until = Instant::now() + Duration::from_secs(waits_s);
    loop {
        // Before anything is read: what changes meanwhile is not missed.
        let mut news = app.changes.wait();
        let registry = app.current_registry().await?;
        // Again: who is switched off while it waits gets nothing any more.
        let asker = authenticate_any(&registry, &headers, &certificate);
        let asker = asker.ok_or(GatewayError::Unauthorized)?;
        let built = app.snapshots.get(&app, &registry, &asker, form)?;
        let is_new = asked.known != Some(built.digest());
        let answers = is_new || !asked.parts.is_empty() || news.is_over();
        if answers || timeout_at(until, news.changed()).await.is_err() {
            let body = app.snapshots.answer(&app, &asker, form, &built, &asked)?;
            let etag = HeaderValue::try_from(format!("\"{}\"", built.digest()))
                .map_err(|_| GatewayError::Malformed("no digest".to_owned()))?;
            let headers = [
                (header::ETAG, etag),
                (
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("application/vnd.writ.snapshot"),
                ),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            ];
            return Ok((headers, body).into_response());
        }
    }
}

/// `Prefer: wait=…` (RFC 7240 section 4.3), in seconds; 0 without it.
fn wait_s(prefer: Option<&HeaderValue>) -> u64 {
    let preferences = prefer.and_then(|value| value.to_str().ok());
    let mut preferences = preferences.into_iter().flat_map(|text| text.split(','));
    preferences
        .find_map(|one| one.trim().strip_prefix("wait="))
        .and_then(|seconds| seconds.trim().parse().ok())
        .unwrap_or(0)
}
