//! The OpenAPI document: every JSON endpoint of both listeners, from what stands at the handlers.
//!
//! Paths are below the issuer; those of gateways (`/gateway/v1/…`) are at the gateways' listener, and so is the token
//! exchange of `/oauth/token`. Pages for people are not in it.

pub(crate) mod schemas;

use axum::{Json, extract::State, response::IntoResponse};
use utoipa::{
    Modify, OpenApi as _,
    openapi::{
        OpenApi, Server,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

use crate::{app::SharedApp, authzen, config::Config, federation, gateway, log, oauth};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Writ",
        description = "The token service: OAuth 2.1 issuer, registration, tasks, what gateways ask for, and decisions for others (AuthZEN)."
    ),
    modifiers(&Credentials),
    paths(serve)
)]
struct Api;

/// How callers prove who they are.
struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut OpenApi) {
        let schemes = document.components.get_or_insert_default();
        for (name, scheme) in [
            ("basic", HttpAuthScheme::Basic),
            ("bearer", HttpAuthScheme::Bearer),
        ] {
            schemes.add_security_scheme(name, SecurityScheme::Http(Http::new(scheme)));
        }
    }
}

/// The document of a service with this configuration.
#[must_use]
pub fn document(config: &Config) -> OpenApi {
    let mut document = Api::openapi();
    for part in [
        oauth::api(),
        federation::api(),
        gateway::api(),
        authzen::api(),
        log::proofs::api(),
        log::witness::api(),
    ] {
        document.merge(part);
    }
    document.servers = Some(vec![Server::new(config.issuer.clone())]);
    document
}

/// `GET /openapi.json`.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "openapi",
    summary = "This document",
    responses((status = 200, description = "OpenAPI 3.1", body = schemas::Object))
)]
pub(crate) async fn serve(State(app): State<SharedApp>) -> impl IntoResponse {
    Json(document(&app.config))
}
