//! For those who operate the service: is it alive, is it ready, what has it done.

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::app::SharedApp;

pub(super) fn routes(metrics: Option<PrometheusHandle>) -> Router<SharedApp> {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route(
            "/metrics",
            get(move || std::future::ready(render(metrics.as_ref()))),
        )
}

/// Ready is who can read the database.
async fn ready(State(app): State<SharedApp>) -> Response {
    match app.current_registry().await {
        Ok(_) => "ready\n".into_response(),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "the database cannot be read\n",
            )
                .into_response()
        }
    }
}

fn render(metrics: Option<&PrometheusHandle>) -> Response {
    match metrics {
        Some(handle) => (
            [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
            handle.render(),
        )
            .into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
