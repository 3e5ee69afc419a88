//! MCP servers, as resources: registered and managed as clients are, always with an initial access token. A resource belongs to
//! one server, so strangers could take other people's.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};
use writ_policy::registration::{RegistrationDecision, Verdict};

use super::{
    bearer,
    error::RegistrationError,
    judge::{self, Case, Occasion, server_document},
    object,
    server_metadata::CheckedServer,
};
use crate::{
    app::{App, SharedApp},
    clock::unix,
    http::Peer,
    oauth::{NO_STORE, OAuthError, metadata::Endpoints},
    registry::{Id, Origin, Registry, Server, Status},
    secret::{self, SecretHash},
    store::{
        initial_tokens,
        registrations::{self, Registered as Table},
    },
};

/// `POST /oauth/register/servers`.
#[utoipa::path(
    post,
    path = "/oauth/register/servers",
    operation_id = "register_server",
    summary = "Register an MCP server",
    request_body(content = crate::openapi::schemas::ServerMetadata),
    security(("bearer" = [])),
    responses((status = 201, description = "It is registered", body = crate::openapi::schemas::Object), crate::openapi::schemas::Refused)
)]
pub(super) async fn register(
    State(app): State<SharedApp>,
    peer: Peer,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, RegistrationError> {
    let token = bearer::initial(&app, &headers, peer)
        .await?
        .ok_or(RegistrationError::NoToken)?;
    let checked = CheckedServer::check(object(&headers, &body)?)?;
    let now = app.clock.now();
    let access_token = secret::generate();
    let introspection_secret = app.snapshots.with_key(&secret::generate());
    let id = Id::parse(&secret::new_id()).map_err(|e| OAuthError::internal(&e))?;
    let audience = format!("urn:writ:server:{id}");
    let resource = checked.resource().to_owned();
    let mut server = Server {
        origin: Origin::Dynamic,
        registration: Some(SecretHash::of(&access_token)),
        ..Server::new(
            id,
            resource,
            audience,
            SecretHash::of(&introspection_secret),
        )
    };
    checked.apply(&mut server, &token.owner);
    let case = Case {
        occasion: Occasion::Dynamic,
        token: Some(&token.labels),
        peer,
    };
    let decision = judge::server(&app, case, &mut server);
    let detail = json!({
        "metadata": server_document(&server),
        "initial_access_token": token.id,
    });
    let record = record(&app, "server register", &server, peer, &decision, detail);
    if decision.decision == Verdict::Reject {
        app.store.record(record).await?;
        return Err(RegistrationError::AccessDenied(decision.reason));
    }

    let mut tx = app.store.write().await?;
    if !initial_tokens::spend(tx.conn(), &token.id).await? {
        return Err(RegistrationError::InvalidToken);
    }
    registrations::insert_server(tx.conn(), &server, now).await?;
    initial_tokens::vouch(tx.conn(), Table::Server, server.id.as_str(), &token.labels).await?;
    tx.audit(&record).await?;
    tx.commit().await?;

    let mut answer = information(&app, &server, Some(&decision));
    answer.insert("server_id_issued_at".to_owned(), unix(now).into());
    answer.insert(
        "introspection_secret".to_owned(),
        introspection_secret.as_str().into(),
    );
    answer.insert(
        "registration_access_token".to_owned(),
        access_token.as_str().into(),
    );
    Ok((StatusCode::CREATED, NO_STORE, Json(answer)).into_response())
}

/// `GET /oauth/register/servers/{server_id}`.
#[utoipa::path(
    get,
    path = "/oauth/register/servers/{server_id}",
    operation_id = "server",
    summary = "What a server is registered with",
    params(("server_id" = String, Path, description = "The server")),
    security(("bearer" = [])),
    responses((status = 200, description = "The registration", body = crate::openapi::schemas::Object), crate::openapi::schemas::Refused)
)]
pub(super) async fn read(
    State(app): State<SharedApp>,
    peer: Peer,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, RegistrationError> {
    let registry = app.current_registry().await?;
    let server = owned(&app, &registry, &id, &headers, peer)?;
    Ok((NO_STORE, Json(information(&app, &server, None))).into_response())
}

/// `PUT /oauth/register/servers/{server_id}`: what is sent replaces what was registered, as with clients.
#[utoipa::path(
    put,
    path = "/oauth/register/servers/{server_id}",
    operation_id = "update_server",
    summary = "Register a server anew",
    params(("server_id" = String, Path, description = "The server")),
    request_body(content = crate::openapi::schemas::ServerMetadata),
    security(("bearer" = [])),
    responses((status = 200, description = "The registration", body = crate::openapi::schemas::Object), crate::openapi::schemas::Refused)
)]
pub(super) async fn update(
    State(app): State<SharedApp>,
    peer: Peer,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, RegistrationError> {
    let checked = CheckedServer::check(object(&headers, &body)?)?;
    // Under an open write transaction nobody can change the registry: one token is good for one change.
    let mut tx = app.store.write().await?;
    let registry = app.current_registry().await?;
    let mut server = owned(&app, &registry, &id, &headers, peer)?;
    let access_token = secret::generate();
    server.registration = Some(SecretHash::of(&access_token));
    let owner = server.owner.clone();
    checked.apply(&mut server, &owner);
    let token = initial_tokens::vouched(tx.conn(), Table::Server, &id).await?;
    let case = Case {
        occasion: Occasion::Update,
        token: token.as_ref(),
        peer,
    };
    let decision = judge::server(&app, case, &mut server);
    let detail = json!({ "metadata": server_document(&server) });
    tx.audit(&record(
        &app,
        "server update",
        &server,
        peer,
        &decision,
        detail,
    ))
    .await?;
    if decision.decision == Verdict::Reject {
        tx.commit().await?;
        return Err(RegistrationError::AccessDenied(decision.reason));
    }
    registrations::update_server(tx.conn(), &server).await?;
    tx.commit().await?;

    let mut answer = information(&app, &server, Some(&decision));
    answer.insert(
        "registration_access_token".to_owned(),
        access_token.as_str().into(),
    );
    Ok((NO_STORE, Json(answer)).into_response())
}

/// `DELETE /oauth/register/servers/{server_id}`.
#[utoipa::path(
    delete,
    path = "/oauth/register/servers/{server_id}",
    operation_id = "remove_server",
    summary = "Remove a server",
    params(("server_id" = String, Path, description = "The server")),
    security(("bearer" = [])),
    responses((status = 204, description = "It is gone"), crate::openapi::schemas::Refused)
)]
pub(super) async fn remove(
    State(app): State<SharedApp>,
    peer: Peer,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, RegistrationError> {
    let mut tx = app.store.write().await?;
    let registry = app.current_registry().await?;
    owned(&app, &registry, &id, &headers, peer)?;
    registrations::remove(tx.conn(), Table::Server, &id).await?;
    let mut record = judge::plain_record(&app, "server delete", &id, peer);
    record.server = Some(id);
    tx.audit(&record).await?;
    tx.commit().await?;
    Ok((StatusCode::NO_CONTENT, NO_STORE).into_response())
}

/// The server whose registration access token the request brings. Whether there is one of this id is not told.
fn owned(
    app: &App,
    registry: &Registry,
    id: &str,
    headers: &HeaderMap,
    peer: Peer,
) -> Result<Server, RegistrationError> {
    let token = bearer::presented(headers)?.ok_or(RegistrationError::InvalidToken)?;
    let server = registry
        .server(id)
        .filter(|server| {
            server
                .registration
                .as_ref()
                .is_some_and(|t| t.verify(token))
        })
        .ok_or_else(|| bearer::wrong(app, peer))?;
    if server.status == Status::Disabled {
        let told = "this registration was rejected or switched off; ask an administrator";
        return Err(RegistrationError::AccessDenied(told.to_owned()));
    }
    Ok(Server::clone(server))
}

fn record(
    app: &App,
    command: &str,
    server: &Server,
    peer: Peer,
    decision: &RegistrationDecision,
    detail: Value,
) -> crate::audit::Record {
    let mut record = judge::record(app, command, server.id.as_str(), peer, decision, detail);
    record.server = Some(server.id.to_string());
    record
}

/// What a server is told about itself. Secrets are shown when they are made only.
fn information(
    app: &App,
    server: &Server,
    decision: Option<&RegistrationDecision>,
) -> Map<String, Value> {
    let mut answer = match server_document(server) {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    answer.retain(|_, value| !value.is_null());
    let path = format!("/oauth/register/servers/{}", server.id);
    let uri = Endpoints::of(&app.config.issuer).url(&path);
    answer.insert("registration_client_uri".to_owned(), uri.into());
    answer.insert(
        "upstream_audience".to_owned(),
        server.upstream_audience.clone().into(),
    );
    answer.insert("registration_status".to_owned(), json!(server.status));
    if let Some(decision) = decision.filter(|decision| !decision.reason.is_empty()) {
        answer.insert(
            "registration_reason".to_owned(),
            decision.reason.clone().into(),
        );
    }
    answer
}
