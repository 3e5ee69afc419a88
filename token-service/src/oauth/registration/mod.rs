//! Registration without an administrator: clients (RFC 7591, RFC 7592) and, in the same way, MCP servers.
//!
//! What is said is checked ([`client_metadata`], [`server_metadata`]), the policy judges all of it ([`judge`]), and the
//! registration, its record and the use of an initial access token are committed together ([`clients`], [`servers`]). What
//! was registered is changed with its registration access token, which is another one after each change.

mod bearer;
pub mod client_metadata;
mod clients;
mod error;
pub mod judge;
mod server_metadata;
mod servers;

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, header},
    routing::{get, post},
};
use serde_json::{Map, Value};

pub(super) use self::clients::MAX_SELF_REGISTERED;
use self::error::RegistrationError;
use super::{metadata::Endpoints, strict_json};
use crate::app::SharedApp;

/// The most that a client or server may say about itself: sixteen keys are the longest part.
const MAX_BODY: usize = 16 * 1024;

/// The endpoints, under the issuer's path where it has one.
pub(super) fn routes(at: Endpoints<'_>) -> Router<SharedApp> {
    Router::new()
        .route(&at.path("/oauth/register"), post(clients::register))
        .route(
            &at.path("/oauth/register/{client_id}"),
            get(clients::read)
                .put(clients::update)
                .delete(clients::remove),
        )
        .route(&at.path("/oauth/register/servers"), post(servers::register))
        .route(
            &at.path("/oauth/register/servers/{server_id}"),
            get(servers::read)
                .put(servers::update)
                .delete(servers::remove),
        )
}

/// Reads a body: one JSON object in which no name is repeated.
fn object(headers: &HeaderMap, body: &Bytes) -> Result<Map<String, Value>, RegistrationError> {
    let is_json = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    let refused = |told: &str| RegistrationError::InvalidMetadata(told.to_owned());
    if !is_json {
        return Err(refused("send JSON: content-type: application/json"));
    }
    if body.len() > MAX_BODY {
        return Err(refused(
            "the metadata is longer than 16 KiB; leave out what is not needed",
        ));
    }
    strict_json::object(body)
        .ok_or_else(|| refused("the body is not one JSON object in which every name occurs once"))
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(
    clients::register,
    clients::read,
    clients::update,
    clients::remove,
    servers::register,
    servers::read,
    servers::update,
    servers::remove
))]
struct Api;

/// The endpoints, for the OpenAPI document.
pub(super) fn api() -> utoipa::openapi::OpenApi {
    <Api as utoipa::OpenApi>::openapi()
}
