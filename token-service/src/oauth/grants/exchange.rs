//! Token exchange (RFC 8693): a gateway brings a caller's token and a message, and gets a token for that message alone.
//!
//! The gateway is trusted for the message's bytes and for where they came from. What the message says, who the caller
//! is and whether it may be done is found out here, from the bytes, the token and the registry.

mod decide;
mod minted;
mod request;

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};

use jiff::Timestamp;
use writ_core::token::Accepted;

use self::{decide::Outcome, request::ExchangeRequest};
use crate::{
    app::{App, SharedApp},
    audit::{Record, TryKind, Verdict},
    clock::unix,
    gateway::authenticate,
    http::{Peer, PeerCertificate, basic},
    oauth::{NO_STORE, OAuthError, chain::Links, dpop},
    otlp,
    store::{StoreError, sightings::Sighting, tasks::Found},
    telemetry,
};

/// How often a decision is made again because the registry changed under it.
const ATTEMPTS: usize = 5;

/// Whose message it is: the caller's token, with what it was derived from.
struct Caller {
    accepted: Arc<Accepted>,
    links: Links,
}

/// The task that a message names; none where there is no such task.
type Within = Option<Found>;

/// `POST /oauth/token` of the gateways' listener.
///
/// # Errors
/// RFC 6749 section 5.2 and RFC 8693 section 2.2.2; `access_denied` has the reason for the caller.
pub async fn serve(
    State(app): State<SharedApp>,
    peer: Peer,
    certificate: PeerCertificate,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, OAuthError> {
    let started = Instant::now();
    let answer = exchange(&app, (peer, &certificate), &headers, &body).await;
    let result = answer.as_ref().map_or_else(OAuthError::code, |_| "minted");
    metrics::counter!("writ_exchanges_total", "result" => result).increment(1);
    metrics::histogram!("writ_exchange_seconds").record(started.elapsed());
    answer
}

async fn exchange(
    app: &App,
    peer: (Peer, &PeerCertificate),
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response, OAuthError> {
    let verifying = telemetry::child("verify");
    let gateway_id = prove(app, peer, headers).await?;
    let request = ExchangeRequest::read(headers, body)?;
    let now = app.clock.now();
    let accepted = verified(app, &request, now).await?;
    if let Some(key) = &accepted.claims.bound_to {
        let used_for = (
            request.context.http_method(),
            request.resource.as_str(),
            request.subject_token.as_str(),
        );
        let proof = request.context.dpop_proof.as_deref();
        dpop::at_exchange(app, key, proof, used_for)
            .await
            .inspect_err(|_| {
                let from = &request.context.source_ip;
                app.tries.note(TryKind::InvalidSubjectToken, from, now);
            })?;
    }
    let links = Links::of(&accepted.claims)
        .map_err(|e| OAuthError::InvalidGrant(format!("subject_token: {e}").into()))?;
    let mut caller = Caller { accepted, links };
    verifying.end();
    let _turn = match request.context.task {
        Some(_) => {
            let claims = &caller.accepted.claims;
            let turn = app.task_turns.take(&claims.subject, &claims.client_id);
            Some(turn.await.map_err(|e| unavailable(&e))?)
        }
        None => None,
    };
    for _ in 0..ATTEMPTS {
        let registry = app.registry();
        let gateway = registry.gateway(&gateway_id).ok_or_else(unproven)?;
        let within: Option<Within> = match &request.context.task {
            Some(id) => Some(app.store.task(id, now).await.map_err(|e| unavailable(&e))?),
            None => None,
        };
        let deciding = telemetry::child("decide");
        let Outcome {
            mut record,
            beside,
            mint,
            answer,
        } = decide::decide(
            app,
            &registry,
            gateway,
            &request,
            &caller,
            within.as_ref(),
            now,
        );
        deciding.end();
        record.of_trace(telemetry::trace_id());
        record.of_session(request.context.session.as_deref());
        telemetry::note(told(&record));
        let called = mint.if_new.as_ref().map(|new| new.sighting.clone());
        let committing = telemetry::child("commit");
        let committed = app
            .store
            .commit_decision(registry.revision(), record, beside, mint)
            .await;
        committing.end();
        match committed {
            Ok(()) => {
                if let Some(Sighting::Tool(server, tool)) = called {
                    app.seen_tools.add(server, tool);
                }
                return answer.map(|answer| (NO_STORE, Json(answer)).into_response());
            }
            Err(StoreError::Stale) => {
                app.reload_registry(registry.revision())
                    .await
                    .map_err(|e| unavailable(&e))?;
                // What changed may be the gateway's proof, or the key that the caller's token was signed with.
                if prove(app, peer, headers).await? != gateway_id {
                    return Err(unproven());
                }
                caller.accepted = verified(app, &request, now).await?;
            }
            Err(error) => return Err(unavailable(&error)),
        }
    }
    Err(OAuthError::TemporarilyUnavailable(
        "the registry keeps changing; try again".into(),
    ))
}

/// What a trace says of a decision.
fn told(record: &Record) -> impl Iterator<Item = (&'static str, Option<&str>)> {
    let call = record.method.iter();
    let call = call.flat_map(|method| otlp::call(method, record.target.as_deref()));
    call.chain([
        ("gen_ai.agent.id", record.agent.as_deref()),
        ("writ.server", record.server.as_deref()),
        ("writ.decision", record.decision.map(Verdict::as_str)),
        ("writ.record.id", Some(&*record.id)),
    ])
}

/// The id of the gateway that asks. One that is not known yet may have been registered a moment ago.
async fn prove(
    app: &App,
    (peer, certificate): (Peer, &PeerCertificate),
    headers: &HeaderMap,
) -> Result<String, OAuthError> {
    if let Some(gateway) = authenticate(&app.registry(), headers, certificate) {
        return Ok(gateway.id.to_string());
    }
    // Without credentials there is nothing to look up again.
    if certificate.0.is_some() || basic::credentials(headers).is_some() {
        let registry = app.current_registry().await.map_err(|e| unavailable(&e))?;
        if let Some(gateway) = authenticate(&registry, headers, certificate) {
            return Ok(gateway.id.to_string());
        }
    }
    app.tries
        .note(TryKind::InvalidGateway, &peer.text(), app.clock.now());
    Err(unproven())
}

/// The caller's token, when it is ours and alive.
async fn verified(
    app: &App,
    request: &ExchangeRequest,
    now: Timestamp,
) -> Result<Arc<Accepted>, OAuthError> {
    app.verify(&request.subject_token, unix(now))
        .await
        .map_err(|e| {
            let from = &request.context.source_ip;
            app.tries.note(TryKind::InvalidSubjectToken, from, now);
            OAuthError::InvalidGrant(format!("subject_token: {e}").into())
        })
}

fn unproven() -> OAuthError {
    OAuthError::InvalidClient(
        "the gateway's id, secret or certificate is wrong, or it is disabled".into(),
    )
}

fn unavailable(error: &StoreError) -> OAuthError {
    match error {
        error if error.passes() => OAuthError::TemporarilyUnavailable(error.to_string().into()),
        other => {
            tracing::error!(error = %other, "a decision could not be put on record");
            OAuthError::TemporarilyUnavailable(
                "the audit record could not be committed; try again".into(),
            )
        }
    }
}
