//! What the filter asks for: snapshots to decide from, a place for what it saw, and spending tokens at a server's door.
//!
//! Served on the gateways' own listener, together with the token exchange.

mod auth;
mod consume;
mod error;
mod events;
mod report;
mod shadow;
mod snapshot;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post},
};

pub use auth::{Asker, authenticate, authenticate_any};
pub use error::GatewayError;

use crate::{app::SharedApp, authzen, oauth::grants::exchange, telemetry};

/// The most a request of a gateway may hold: a message of a few megabytes, encoded.
const MAX_BODY: usize = 8 * 1024 * 1024;

/// The routes of the gateways' listener.
pub fn routes(app: &SharedApp) -> Router<SharedApp> {
    Router::new()
        .route("/gateway/v1/consume", post(consume::serve))
        .route("/oauth/token", post(exchange::serve))
        .route_layer(middleware::from_fn_with_state(
            Arc::clone(app),
            telemetry::traced,
        ))
        // What filters do by themselves belongs to no trace.
        .route("/gateway/v1/snapshot", get(snapshot::serve))
        .route("/gateway/v1/events", post(events::serve))
        .merge(authzen::gateway_routes(app))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(snapshot::serve, events::serve, consume::serve))]
struct Api;

/// The endpoints, for the OpenAPI document.
pub(crate) fn api() -> utoipa::openapi::OpenApi {
    <Api as utoipa::OpenApi>::openapi()
}
