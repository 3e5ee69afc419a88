//! The policy for whoever else enforces it (OpenID AuthZEN Authorization API 1.0): an API gateway or an application asks
//! what a gateway of ours decides by itself, and is answered from the same policy and the same registry.
//!
//! [`asker`] says who asks and about what they may; [`request`] reads what is asked; [`evaluate`] turns it into the message
//! that it is about ([`message`]) and decides; [`answer`] is what goes back. Every decision is on record before it is
//! answered; nothing is minted, and nothing is counted against a task.

mod answer;
mod asker;
mod evaluate;
mod message;
mod request;
mod standing;

use axum::{
    Extension, Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};

use self::{
    answer::{AuthZenError, Many},
    asker::Asker,
    evaluate::Evaluator,
    request::Asked,
};
use crate::{
    app::SharedApp,
    config::Config,
    oauth::{NO_STORE, metadata::Endpoints},
};

/// The most a request may hold, in bytes.
const MAX_BODY: usize = 256 * 1024;

/// Section 10.1.4.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The endpoints of the public listener, for servers and agents.
pub fn public_routes(app: &SharedApp) -> Router<SharedApp> {
    let at = Endpoints::of(&app.config.issuer);
    let authenticated = middleware::from_fn_with_state(app.clone(), asker::on_public);
    Router::new()
        .route(&at.path("/access/v1/evaluation"), post(evaluation))
        .route(&at.path("/access/v1/evaluations"), post(evaluations))
        .layer(authenticated)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(with_request_id))
}

/// The metadata, for anybody.
pub fn metadata_routes(config: &Config) -> Router<SharedApp> {
    let at = Endpoints::of(&config.issuer);
    Router::new().route(&at.well_known("authzen-configuration"), get(metadata))
}

/// The endpoints of the gateways' listener.
pub fn gateway_routes(app: &SharedApp) -> Router<SharedApp> {
    let authenticated = middleware::from_fn_with_state(app.clone(), asker::at_gateways);
    Router::new()
        .route("/access/v1/evaluation", post(evaluation))
        .route("/access/v1/evaluations", post(evaluations))
        .layer(authenticated)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(with_request_id))
}

/// Section 10.1.4: the request's identifier comes back with whatever answer there is.
async fn with_request_id(request: Request, next: Next) -> Response {
    let id = request.headers().get(REQUEST_ID).cloned();
    let mut response = next.run(request).await;
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// Section 6.
#[utoipa::path(
    post,
    path = "/access/v1/evaluation",
    operation_id = "access_evaluation",
    summary = "What the policy says of one request (AuthZEN 1.0)",
    request_body(content = crate::openapi::schemas::AccessEvaluation),
    security(("basic" = [])),
    responses((status = 200, description = "The decision", body = crate::openapi::schemas::AccessDecision), crate::openapi::schemas::AccessRefused)
)]
async fn evaluation(
    State(app): State<SharedApp>,
    Extension(asker): Extension<Asker>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, AuthZenError> {
    let asked = Asked::read(&headers, &body)?;
    let question = asked.question()?;
    let mut evaluator = Evaluator::new(&app, &asker, &headers, &body).await?;
    let decision = evaluator.evaluate(&question).await?;
    evaluator.on_record().await?;
    Ok((NO_STORE, Json(decision)).into_response())
}

/// Section 7.
#[utoipa::path(
    post,
    path = "/access/v1/evaluations",
    operation_id = "access_evaluations",
    summary = "What the policy says of several requests (AuthZEN 1.0)",
    request_body(content = crate::openapi::schemas::AccessEvaluations),
    security(("basic" = [])),
    responses((status = 200, description = "The decisions, in the order of the requests", body = crate::openapi::schemas::AccessDecisions), crate::openapi::schemas::AccessRefused)
)]
async fn evaluations(
    State(app): State<SharedApp>,
    asker: Extension<Asker>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, AuthZenError> {
    let asked = Asked::read(&headers, &body)?;
    let Some(questions) = asked.questions()? else {
        return evaluation(State(app), asker, headers, body).await;
    };
    let semantic = asked.semantic()?;
    let mut evaluator = Evaluator::new(&app, &asker, &headers, &body).await?;
    let mut decisions = Vec::with_capacity(questions.len());
    for question in &questions {
        let decision = evaluator.evaluate(question).await?;
        let last = semantic.ends_with(decision.allows());
        decisions.push(decision);
        if last {
            break;
        }
    }
    evaluator.on_record().await?;
    let answer = Many {
        evaluations: decisions,
    };
    Ok((NO_STORE, Json(answer)).into_response())
}

/// Section 9.
#[utoipa::path(
    get,
    path = "/.well-known/authzen-configuration",
    operation_id = "authzen_metadata",
    summary = "Where decisions are asked for (AuthZEN 1.0)",
    responses((status = 200, description = "The metadata", body = crate::openapi::schemas::AccessMetadata), crate::openapi::schemas::Refused)
)]
async fn metadata(State(app): State<SharedApp>) -> impl IntoResponse {
    let cached = HeaderValue::from_static("public, max-age=300");
    (
        [(header::CACHE_CONTROL, cached)],
        Json(document(&app.config)),
    )
}

fn document(config: &Config) -> Value {
    let at = Endpoints::of(&config.issuer);
    json!({
        "policy_decision_point": config.issuer,
        "access_evaluation_endpoint": at.url("/access/v1/evaluation"),
        "access_evaluations_endpoint": at.url("/access/v1/evaluations"),
    })
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(evaluation, evaluations, metadata))]
struct Api;

/// The endpoints, for the OpenAPI document.
pub(crate) fn api() -> utoipa::openapi::OpenApi {
    <Api as utoipa::OpenApi>::openapi()
}
