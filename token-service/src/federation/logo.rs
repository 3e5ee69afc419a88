//! A provider's picture, served from here: pages load nothing from elsewhere.

use axum::{
    extract::{Path, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};

use crate::app::SharedApp;

/// `GET /oauth/logo/{provider}`.
pub async fn serve(State(app): State<SharedApp>, Path(id): Path<String>) -> Response {
    let logo = app
        .federation
        .provider(&id)
        .and_then(|p| p.config().logo.clone());
    let Some(logo) = logo else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static(logo.content_type),
        ),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=3600"),
        ),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        // An SVG that is opened by itself is a document; it runs nothing here.
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox"),
        ),
    ];
    (headers, logo.bytes).into_response()
}
