//! For those who operate the service: is it alive, is it ready, what has it done.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::app::SharedApp;

/// Whether more requests are welcome: until the service is about to end.
#[derive(Clone, Debug, Default)]
pub(super) struct Draining(Arc<AtomicBool>);

impl Draining {
    /// From now on `/readyz` says that nothing more should come here.
    pub(super) fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// For load balancers, at every listener.
pub(super) fn routes(draining: &Draining) -> Router<SharedApp> {
    let draining = draining.clone();
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(move |app| ready(app, draining.clone())))
}

pub(super) fn metrics(metrics: Option<PrometheusHandle>) -> Router<SharedApp> {
    let rendered = move || std::future::ready(render(metrics.as_ref()));
    Router::new().route("/metrics", get(rendered))
}

/// Ready is who can read the database and is not about to end.
async fn ready(State(app): State<SharedApp>, draining: Draining) -> Response {
    if draining.0.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "about to end\n").into_response();
    }
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
