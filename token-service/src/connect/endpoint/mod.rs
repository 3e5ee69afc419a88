//! The endpoint: Streamable HTTP of both eras at `/mcp`, in front of processes that speak lines.
//!
//! In the order of a request's life: [`origin`] (is it for us at all), its body, the [`gate`](super::gate) (was it
//! decided on), then [`post`], the session's own stream or its end.

mod origin;
mod post;
mod refuse;
mod stream;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};
use writ_core::{
    guard,
    message::{SESSION_CLOSE, STREAM_OPEN},
};

pub use origin::{Hosts, HostsError};
pub(super) use refuse::Refusal;

use super::{
    gate::{Admitted, Gate},
    sessions::{Session, Sessions},
    shared::Shared,
};
use crate::http::Peer;

/// Where it is.
pub const PATH: &str = "/mcp";
/// Requests that are looked at or in flight at a time.
const REQUESTS: usize = 512;
/// How long a body may take.
const BODY_TIME: Duration = Duration::from_secs(30);
/// The header that names a session.
const SESSION: &str = "mcp-session-id";

/// What the endpoint is made of.
#[derive(Debug)]
pub(super) struct Bridge {
    pub(super) hosts: Hosts,
    pub(super) gate: Gate,
    pub(super) sessions: Arc<Sessions>,
    /// Absent where the server speaks only with sessions.
    pub(super) shared: Option<Shared>,
    /// The largest body, in bytes.
    pub(super) max_body: usize,
    /// How long a server has to be initialized.
    pub(super) start_time: Duration,
    /// True once no more is begun.
    pub(super) stopped: watch::Receiver<bool>,
}

#[derive(Debug)]
struct Served {
    bridge: Arc<Bridge>,
    places: Semaphore,
}

/// The routes.
pub(super) fn routes(bridge: Arc<Bridge>) -> Router {
    let served = Served {
        bridge,
        places: Semaphore::new(REQUESTS),
    };
    Router::new()
        .route(PATH, axum::routing::any(serve))
        .with_state(Arc::new(served))
}

async fn serve(State(served): State<Arc<Served>>, peer: Peer, request: Request) -> Response {
    let Ok(_place) = served.places.try_acquire() else {
        return Refusal::Busy.into_response();
    };
    let (parts, body) = request.into_parts();
    let bridge = &served.bridge;
    let answered = match bridge.hosts.check(&parts) {
        Ok(()) => answer(bridge, peer, &parts, body).await,
        Err(refusal) => Err(refusal),
    };
    answered.unwrap_or_else(Refusal::into_response)
}

async fn answer(
    bridge: &Bridge,
    peer: Peer,
    parts: &Parts,
    body: Body,
) -> Result<Response, Refusal> {
    let headers = &parts.headers;
    match parts.method {
        Method::POST => {
            check_media_types(headers)?;
            bridge.gate.look(peer, parts).await?;
            let body = timeout(BODY_TIME, to_bytes(body, bridge.max_body))
                .await
                .map_err(|_| Refusal::Slow(BODY_TIME))?
                .map_err(|_| Refusal::TooLarge(bridge.max_body))?;
            let admitted = bridge
                .gate
                .admit(peer, parts, guard::Request::Message(&body))
                .await?;
            post::serve(bridge, headers, &body, &admitted).await
        }
        Method::GET => {
            if !accepts(headers, "text/event-stream") {
                return Err(Refusal::NotAcceptable);
            }
            let admitted = bridge
                .gate
                .admit(peer, parts, guard::Request::Bodiless(STREAM_OPEN))
                .await?;
            let session = session(bridge, headers, &admitted)?;
            let own = session.process.channel.open_stream();
            let own = own.ok_or(Refusal::StreamIsOpen)?;
            Ok(stream::own(own, bridge.stopped.clone()))
        }
        Method::DELETE => {
            let admitted = bridge
                .gate
                .admit(peer, parts, guard::Request::Bodiless(SESSION_CLOSE))
                .await?;
            let session = session(bridge, headers, &admitted)?;
            bridge.sessions.end(&session).await;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        _ => Err(Refusal::HttpMethod),
    }
}

/// The session that a request names, if it is its sender's.
fn session(
    bridge: &Bridge,
    headers: &HeaderMap,
    admitted: &Admitted,
) -> Result<Arc<Session>, Refusal> {
    let id = session_id(headers)?.ok_or(Refusal::NoSession)?;
    bridge
        .sessions
        .find(id, &admitted.principal)
        .ok_or(Refusal::UnknownSession)
}

/// The session that a request names.
fn session_id(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    one(headers, SESSION)
}

/// A header that may occur once.
pub(super) fn one<'a>(
    headers: &'a HeaderMap,
    name: &'static str,
) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Refusal::Header(name)),
        _ => Err(Refusal::Header(name)),
    }
}

/// A message is JSON as it is, and its sender reads both kinds of answers.
fn check_media_types(headers: &HeaderMap) -> Result<(), Refusal> {
    let kind = one(headers, "content-type")?.and_then(|value| value.split(';').next());
    let is_json = kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    if !is_json || headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Refusal::MediaType);
    }
    if !accepts(headers, "application/json") || !accepts(headers, "text/event-stream") {
        return Err(Refusal::NotAcceptable);
    }
    Ok(())
}

fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let any = wanted
        .split_once('/')
        .map(|(kind, _)| format!("{kind}/*"))
        .unwrap_or_default();
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|one| one.split(';').next().unwrap_or_default().trim())
        .any(|one| {
            one == "*/*" || one.eq_ignore_ascii_case(wanted) || one.eq_ignore_ascii_case(&any)
        })
}
