//! Tasks over HTTP: an agent opens one with the token it calls with, looks at it, and closes it.
//!
//! Policy (`data.writ.task`) approves what is asked for, makes it less, or refuses it; never more.

mod error;
mod open;

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use serde::Serialize;
use writ_core::token::Accepted;

use self::error::TaskError;
use super::{NO_STORE, chain::Links, metadata::Endpoints, stopped};
use crate::{
    app::{App, SharedApp},
    clock::{rfc3339, unix},
    http::Peer,
    registry::{Agent, Registry, Status},
    store,
    task::{State as TaskState, Task, Tools},
};

/// The endpoints below the issuer's path.
pub(super) fn routes(at: &Endpoints<'_>) -> Router<SharedApp> {
    Router::new()
        .route(&at.path("/oauth/tasks"), post(open))
        .route(&at.path("/oauth/tasks/{id}"), get(show))
        .route(&at.path("/oauth/tasks/{id}/close"), post(close))
}

/// A task as its agent sees it.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    task: &'a str,
    state: TaskState,
    purpose: &'a str,
    tools: &'a Tools,
    expires_at: String,
    calls: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_calls: Option<u64>,
}

/// `POST /oauth/tasks`.
#[utoipa::path(
    post,
    path = "/oauth/tasks",
    operation_id = "open_task",
    summary = "Open a task",
    request_body(content = crate::openapi::schemas::TaskRequest),
    security(("bearer" = [])),
    responses((status = 201, description = "It is open", body = crate::openapi::schemas::Task), crate::openapi::schemas::Refused)
)]
async fn open(
    State(app): State<SharedApp>,
    peer: Peer,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, TaskError> {
    let asked = open::Asked::read(&headers, &body)?;
    let caller = Caller::prove(&app, &headers).await?;
    let task = open::open(&app, &caller, asked, peer).await?;
    Ok((StatusCode::CREATED, answer(&app, &task)).into_response())
}

/// `GET /oauth/tasks/{id}`.
#[utoipa::path(
    get,
    path = "/oauth/tasks/{id}",
    operation_id = "task",
    summary = "Look at a task",
    params(("id" = String, Path, description = "The task")),
    security(("bearer" = [])),
    responses((status = 200, description = "The task", body = crate::openapi::schemas::Task), (status = 404, description = "There is none", body = crate::openapi::schemas::Problem), crate::openapi::schemas::Refused)
)]
async fn show(
    State(app): State<SharedApp>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, TaskError> {
    let caller = Caller::prove(&app, &headers).await?;
    let task = caller.own(&app, &id).await?;
    Ok(answer(&app, &task))
}

/// `POST /oauth/tasks/{id}/close`.
#[utoipa::path(
    post,
    path = "/oauth/tasks/{id}/close",
    operation_id = "close_task",
    summary = "Close a task",
    params(("id" = String, Path, description = "The task")),
    security(("bearer" = [])),
    responses((status = 200, description = "It is closed", body = crate::openapi::schemas::Task), (status = 404, description = "There is none", body = crate::openapi::schemas::Problem), crate::openapi::schemas::Refused)
)]
async fn close(
    State(app): State<SharedApp>,
    peer: Peer,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, TaskError> {
    let caller = Caller::prove(&app, &headers).await?;
    let mut task = caller.own(&app, &id).await?;
    let now = app.clock.now();
    let mut tx = app.store.write().await?;
    if store::tasks::close(tx.conn(), &task.id, now).await? {
        let mut record = store::tasks::record(&task, "close", now);
        record.subject_token_id = caller.accepted.claims.id.clone();
        record.source_ip = Some(peer.text());
        tx.audit(&record).await?;
        tx.commit().await?;
        task.closed = Some(now);
    }
    Ok(answer(&app, &task))
}

fn answer(app: &App, task: &Task) -> Response {
    let shown = Shown {
        task: &task.id,
        state: task.state(app.clock.now()),
        purpose: &task.purpose,
        tools: &task.tools,
        expires_at: rfc3339(task.expires),
        calls: task.calls,
        max_calls: task.max_calls,
    };
    (NO_STORE, Json(shown)).into_response()
}

/// The holder of a caller's token that is good at this moment.
struct Caller {
    accepted: Arc<Accepted>,
    agent: Arc<Agent>,
    registry: Arc<Registry>,
}

impl Caller {
    /// The caller whose token the request bears (RFC 6750 section 2.1).
    async fn prove(app: &App, headers: &HeaderMap) -> Result<Self, TaskError> {
        let token = bearer(headers).ok_or(TaskError::NoToken)?;
        // Before the token is checked: with it, the keys are those of now.
        let registry = app.current_registry().await?;
        let accepted = app
            .verify(token, unix(app.clock.now()))
            .await
            .map_err(|e| TaskError::BadToken(e.to_string()))?;
        let bad = |why: &str| Err(TaskError::BadToken(why.to_owned()));
        let claims = &accepted.claims;
        let mut audience = claims.audience.iter();
        let for_server = audience.find_map(|aud| registry.server_by_resource(aud));
        let for_server = for_server.map(|server| server.id.as_str());
        if claims.minted || for_server.is_none() {
            return bad("it is not a token that an agent calls a server with");
        }
        if claims.bound_to.is_some() {
            return bad("it is bound to a key (RFC 9449), which cannot be proved here");
        }
        let links = Links::of(claims).map_err(|e| TaskError::BadToken(e.to_string()))?;
        if links.chain.hops > 0 {
            return bad("only the agent opens tasks, not a server that acts for it");
        }
        links
            .check(&registry, false)
            .map_err(|e| TaskError::BadToken(e.to_string()))?;
        let agent = registry
            .agent(&claims.client_id)
            .filter(|agent| agent.status == Status::Approved)
            .cloned();
        match agent {
            None => bad("the agent is disabled or not registered"),
            Some(_) if registry.is_disabled_subject(&claims.subject) => {
                bad("the subject is disabled")
            }
            Some(_) if stopped(claims, &registry, for_server).is_err() => {
                bad("it has been revoked, or an administrator has stopped all calls but some")
            }
            Some(agent) => Ok(Self {
                accepted: Arc::clone(&accepted),
                agent,
                registry,
            }),
        }
    }

    /// A task of this caller's own.
    async fn own(&self, app: &App, id: &str) -> Result<Task, TaskError> {
        let claims = &self.accepted.claims;
        let found = app.store.task(id, app.clock.now()).await?;
        found
            .map(|found| found.task)
            .filter(|task| task.subject == claims.subject && task.agent == claims.client_id)
            .ok_or(TaskError::NotFound)
    }
}

/// The token of the one `Authorization: Bearer` header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (only, None) = (all.next()?.to_str().ok()?, all.next()) else {
        return None;
    };
    let (scheme, token) = only.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(open, show, close))]
struct Api;

/// The endpoints, for the OpenAPI document.
pub(super) fn api() -> utoipa::openapi::OpenApi {
    <Api as utoipa::OpenApi>::openapi()
}
