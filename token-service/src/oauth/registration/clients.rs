//! Clients: registration (RFC 7591 section 3) and its management (RFC 7592 section 2).

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};
use writ_policy::registration::{RegistrationDecision, Verdict};
use zeroize::Zeroizing;

use super::{
    bearer,
    client_metadata::{CheckedClient, Registered, Source},
    error::RegistrationError,
    judge::{self, Case, Occasion},
    object,
};
use crate::{
    app::{App, SharedApp},
    clock::unix,
    http::Peer,
    oauth::{NO_STORE, OAuthError, metadata::Endpoints},
    registry::{Agent, AuthMethod, Id, Origin, Registry, Status},
    secret::{self, SecretHash},
    store::{
        initial_tokens,
        registrations::{self, Registered as Table},
    },
};

/// How many clients may have come by themselves at a time: the registry is held in memory as a whole.
pub(crate) const MAX_SELF_REGISTERED: i64 = 10_000;

/// `POST /oauth/register`.
#[utoipa::path(
    post,
    path = "/oauth/register",
    operation_id = "register_client",
    summary = "Register a client (RFC 7591)",
    request_body(content = crate::openapi::schemas::ClientMetadata),
    security((), ("bearer" = [])),
    responses((status = 201, description = "It is registered", body = crate::openapi::schemas::ClientInformation), crate::openapi::schemas::Refused)
)]
pub(super) async fn register(
    State(app): State<SharedApp>,
    peer: Peer,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, RegistrationError> {
    let token = bearer::initial(&app, &headers, peer).await?;
    if token.is_none() && !app.config.registration.open {
        return Err(RegistrationError::NoToken);
    }
    let checked = CheckedClient::check(object(&headers, &body)?, Source::Request)?;
    let now = app.clock.now();
    let access_token = secret::generate();
    let client_secret = (checked.auth() == AuthMethod::Secret).then(secret::generate);
    let id = Id::parse(&secret::new_id()).map_err(|e| OAuthError::internal(&e))?;
    let mut agent = Agent {
        secret: client_secret.as_ref().map(|s| SecretHash::of(s)),
        origin: Origin::Dynamic,
        registration: Some(SecretHash::of(&access_token)),
        ..Agent::new(id.into(), String::new(), checked.auth())
    };
    checked.apply(&mut agent);
    let case = Case {
        occasion: Occasion::Dynamic,
        token: token.as_ref().map(|token| &token.labels),
        peer,
    };
    let decision = judge::client(&app, case, &mut agent);
    let detail = json!({
        "metadata": Registered::of(&agent),
        "initial_access_token": token.as_ref().map(|token| &token.id),
    });
    let id = agent.id.as_str();
    let record = judge::record(&app, "client register", id, peer, &decision, detail);
    if decision.decision == Verdict::Reject {
        app.store.record(record).await?;
        return Err(RegistrationError::AccessDenied(decision.reason));
    }

    let mut tx = app.store.write().await?;
    match &token {
        Some(token) if !initial_tokens::spend(tx.conn(), &token.id).await? => {
            return Err(RegistrationError::InvalidToken);
        }
        None if initial_tokens::self_registered(tx.conn()).await? >= MAX_SELF_REGISTERED => {
            let told = "too many clients have registered themselves; ask an administrator";
            return Err(RegistrationError::AccessDenied(told.to_owned()));
        }
        _ => {}
    }
    registrations::insert_agent(tx.conn(), &agent, now).await?;
    if let Some(token) = &token {
        initial_tokens::vouch(tx.conn(), Table::Agent, id, &token.labels).await?;
    }
    tx.audit(&record).await?;
    tx.commit().await?;

    let mut answer = information(&app, &agent, Some(&decision));
    answer.insert("client_id_issued_at".to_owned(), unix(now).into());
    add_secrets(&mut answer, client_secret.as_ref(), &access_token);
    Ok((StatusCode::CREATED, NO_STORE, Json(answer)).into_response())
}

/// `GET /oauth/register/{client_id}`.
#[utoipa::path(
    get,
    path = "/oauth/register/{client_id}",
    operation_id = "client",
    summary = "What a client is registered with (RFC 7592)",
    params(("client_id" = String, Path, description = "The client")),
    security(("bearer" = [])),
    responses((status = 200, description = "The registration", body = crate::openapi::schemas::ClientInformation), crate::openapi::schemas::Refused)
)]
pub(super) async fn read(
    State(app): State<SharedApp>,
    peer: Peer,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, RegistrationError> {
    let registry = app.current_registry().await?;
    let agent = owned(&app, &registry, &id, &headers, peer)?;
    Ok((NO_STORE, Json(information(&app, &agent, None))).into_response())
}

/// `PUT /oauth/register/{client_id}`: what is sent replaces what was registered, members that are left out included.
#[utoipa::path(
    put,
    path = "/oauth/register/{client_id}",
    operation_id = "update_client",
    summary = "Register a client anew (RFC 7592)",
    params(("client_id" = String, Path, description = "The client")),
    request_body(content = crate::openapi::schemas::ClientMetadata),
    security(("bearer" = [])),
    responses((status = 200, description = "The registration", body = crate::openapi::schemas::ClientInformation), crate::openapi::schemas::Refused)
)]
pub(super) async fn update(
    State(app): State<SharedApp>,
    peer: Peer,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, RegistrationError> {
    let mut members = object(&headers, &body)?;
    // Under an open write transaction nobody can change the registry: one token is good for one change.
    let mut tx = app.store.write().await?;
    let registry = app.current_registry().await?;
    let mut agent = owned(&app, &registry, &id, &headers, peer)?;
    check_own(&mut members, &agent)?;
    let checked = CheckedClient::check(members, Source::Request)?;

    let access_token = secret::generate();
    let client_secret =
        (checked.auth() == AuthMethod::Secret && agent.secret.is_none()).then(secret::generate);
    if let Some(secret) = &client_secret {
        agent.secret = Some(SecretHash::of(secret));
    }
    agent.registration = Some(SecretHash::of(&access_token));
    checked.apply(&mut agent);
    let token = initial_tokens::vouched(tx.conn(), Table::Agent, &id).await?;
    let case = Case {
        occasion: Occasion::Update,
        token: token.as_ref(),
        peer,
    };
    let decision = judge::client(&app, case, &mut agent);
    let detail = json!({ "metadata": Registered::of(&agent) });
    tx.audit(&judge::record(
        &app,
        "client update",
        &id,
        peer,
        &decision,
        detail,
    ))
    .await?;
    if decision.decision == Verdict::Reject {
        tx.commit().await?;
        return Err(RegistrationError::AccessDenied(decision.reason));
    }
    registrations::update_agent(tx.conn(), &agent).await?;
    tx.commit().await?;

    let mut answer = information(&app, &agent, Some(&decision));
    add_secrets(&mut answer, client_secret.as_ref(), &access_token);
    Ok((NO_STORE, Json(answer)).into_response())
}

/// `DELETE /oauth/register/{client_id}`.
#[utoipa::path(
    delete,
    path = "/oauth/register/{client_id}",
    operation_id = "remove_client",
    summary = "Remove a client (RFC 7592)",
    params(("client_id" = String, Path, description = "The client")),
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
    registrations::remove(tx.conn(), Table::Agent, &id).await?;
    tx.audit(&judge::plain_record(&app, "client delete", &id, peer))
        .await?;
    tx.commit().await?;
    Ok((StatusCode::NO_CONTENT, NO_STORE).into_response())
}

/// The client whose registration access token the request brings. Whether there is one of this id is not told.
fn owned(
    app: &App,
    registry: &Registry,
    id: &str,
    headers: &HeaderMap,
    peer: Peer,
) -> Result<Agent, RegistrationError> {
    let token = bearer::presented(headers)?.ok_or(RegistrationError::InvalidToken)?;
    let agent = registry
        .agent(id)
        .filter(|agent| agent.registration.as_ref().is_some_and(|t| t.verify(token)))
        .ok_or_else(|| bearer::wrong(app, peer))?;
    if agent.status == Status::Disabled {
        let told = "this registration was rejected or switched off; ask an administrator";
        return Err(RegistrationError::AccessDenied(told.to_owned()));
    }
    Ok(Agent::clone(agent))
}

/// RFC 7592 section 2.2: an update names its client, and its secret only if it is the one it has.
fn check_own(members: &mut Map<String, Value>, agent: &Agent) -> Result<(), RegistrationError> {
    let refused = |told: &str| Err(RegistrationError::InvalidMetadata(told.to_owned()));
    for decided_here in [
        "registration_access_token",
        "registration_client_uri",
        "client_secret_expires_at",
        "client_id_issued_at",
    ] {
        if members.contains_key(decided_here) {
            return refused(&format!(
                "leave out {decided_here}: it cannot be chosen (RFC 7592 section 2.2)"
            ));
        }
    }
    if members
        .remove("client_id")
        .and_then(|id| Some(id.as_str()? == agent.id.as_str()))
        != Some(true)
    {
        return refused("client_id must be there and be this client's (RFC 7592 section 2.2)");
    }
    match members.remove("client_secret") {
        None => Ok(()),
        Some(Value::String(text)) => {
            let text = Zeroizing::new(text);
            match &agent.secret {
                Some(secret) if secret.verify(&text) => Ok(()),
                _ => refused("client_secret is not this client's; it cannot be chosen"),
            }
        }
        Some(_) => refused("client_secret must be text"),
    }
}

/// What a client is told about itself (RFC 7591 section 3.2.1, RFC 7592 section 3). Secrets are shown when they are made only.
fn information(
    app: &App,
    agent: &Agent,
    decision: Option<&RegistrationDecision>,
) -> Map<String, Value> {
    let mut answer = match serde_json::to_value(Registered::of(agent)) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    };
    answer.retain(|_, value| !value.is_null());
    let uri = Endpoints::of(&app.config.issuer).url(&format!("/oauth/register/{}", agent.id));
    answer.insert("registration_client_uri".to_owned(), uri.into());
    answer.insert("registration_status".to_owned(), json!(agent.status));
    if let Some(decision) = decision.filter(|decision| !decision.reason.is_empty()) {
        answer.insert(
            "registration_reason".to_owned(),
            decision.reason.clone().into(),
        );
    }
    answer
}

fn add_secrets(
    answer: &mut Map<String, Value>,
    client_secret: Option<&Zeroizing<String>>,
    access_token: &str,
) {
    if let Some(secret) = client_secret {
        answer.insert("client_secret".to_owned(), secret.as_str().into());
        // RFC 7591 section 3.2.1: 0 is never.
        answer.insert("client_secret_expires_at".to_owned(), 0.into());
    }
    answer.insert("registration_access_token".to_owned(), access_token.into());
}
