//! A message that was admitted: to the process that it is for, and what comes of it back.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use tokio::time::timeout;

use super::{
    super::{
        channel::{Channel, Reply},
        gate::Admitted,
        outbox::Outgoing,
        wire::{self, Kind, Message, Piece},
    },
    Bridge, Refusal, SESSION, session, session_id, stream,
};

/// How long an answer may take before the response begins as a stream, so that nothing in between gives up.
const SOON: Duration = Duration::from_secs(5);

pub(super) async fn serve(
    bridge: &Bridge,
    headers: &HeaderMap,
    body: &Bytes,
    admitted: &Admitted,
) -> Result<Response, Refusal> {
    let message = wire::read(body).ok_or(Refusal::NoMessage)?;
    if admitted.stateless {
        return stateless(bridge, body, &message).await;
    }
    match &message.kind {
        Kind::Request { id, method } if method == "initialize" => {
            if session_id(headers)?.is_some() {
                return Err(Refusal::SessionExists.to(id));
            }
            initialize(bridge, body, &message, id, admitted).await
        }
        Kind::Request { id, .. } => {
            let session = session(bridge, headers, admitted).map_err(|refusal| refusal.to(id))?;
            let channel = &session.process.channel;
            let reply = request(channel, body, &message, id).await?;
            Ok(answered(reply, |_| StatusCode::OK).await)
        }
        Kind::Notification { .. } => {
            let session = session(bridge, headers, admitted)?;
            session.process.channel.notify(&message, body).await?;
            Ok(StatusCode::ACCEPTED.into_response())
        }
        Kind::Answer { id, .. } => {
            let session = session(bridge, headers, admitted)?;
            if session.process.channel.answer(id, body).await? {
                Ok(StatusCode::ACCEPTED.into_response())
            } else {
                Err(Refusal::NobodyAsked)
            }
        }
    }
}

/// MCP 2026-07-28: a message that stands for itself.
async fn stateless(bridge: &Bridge, body: &Bytes, message: &Message) -> Result<Response, Refusal> {
    let id = match &message.kind {
        Kind::Request { id, method } if is_of_one(method) => {
            return Err(Refusal::NotShared.to(id));
        }
        Kind::Request { id, .. } => id,
        // The transport has no other messages of clients: cancelling is closing the stream.
        Kind::Notification { .. } => return Ok(StatusCode::ACCEPTED.into_response()),
        Kind::Answer { .. } => return Err(Refusal::NobodyAsked),
    };
    let shared = bridge.shared.as_ref();
    let shared = shared.ok_or_else(|| Refusal::SessionsOnly.to(id))?;
    let channel = shared.channel().await;
    let channel = channel.ok_or_else(|| Refusal::NotRunning.to(id))?;
    let reply = request(&channel, body, message, id).await?;
    Ok(answered(reply, status).await)
}

/// Whether a method changes the process or asks for what is one client's. The process is everybody's, and cannot tell them
/// apart.
fn is_of_one(method: &str) -> bool {
    method.starts_with("tasks/")
        || matches!(
            method,
            "initialize" | "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe"
        )
}

/// The HTTP status of an error that is the first and only thing to say (MCP 2026-07-28, basic/transports).
fn status(code: i64) -> StatusCode {
    match code {
        -32700 | -32600 | -32022..=-32020 => StatusCode::BAD_REQUEST,
        -32601 => StatusCode::NOT_FOUND,
        _ => StatusCode::OK,
    }
}

async fn request(
    channel: &Arc<Channel>,
    body: &Bytes,
    message: &Message,
    id: &Piece,
) -> Result<Reply, Refusal> {
    let sent = channel.request(message, id, body).await;
    sent.map_err(|error| Refusal::from(error).to(id))
}

/// JSON where the answer is the first to come and comes soon, a stream otherwise.
async fn answered(reply: Reply, status: fn(i64) -> StatusCode) -> Response {
    match timeout(SOON, reply.next()).await {
        Ok(Some(Outgoing {
            json,
            answer: Some(answer),
        })) => {
            let status = answer.err().map_or(StatusCode::OK, status);
            (status, JSON, json).into_response()
        }
        Ok(first @ Some(_)) => stream::of_request(first, reply),
        Ok(None) | Err(_) => stream::of_request(None, reply),
    }
}

/// Begins a session, when the server agrees to.
async fn initialize(
    bridge: &Bridge,
    body: &Bytes,
    message: &Message,
    id: &Piece,
    admitted: &Admitted,
) -> Result<Response, Refusal> {
    let opening = bridge.sessions.open(&admitted.principal).await;
    let opening = opening.map_err(|error| Refusal::from(error).to(id))?;
    let reply = request(&opening.process.channel, body, message, id).await?;
    let answer = async {
        // What it has to say before is for the session's own stream.
        while let Some(message) = reply.next().await {
            if message.answer.is_some() {
                return Some(message);
            }
            opening.process.channel.keep(message);
        }
        None
    };
    let Ok(answer) = timeout(bridge.start_time, answer).await else {
        opening.process.stop().await;
        return Err(Refusal::Silent(bridge.start_time).to(id));
    };
    let Some(answer) = answer else {
        return Err(Refusal::NotRunning.to(id));
    };
    if let Some(Err(code)) = answer.answer {
        if opening.process.channel.is_over() {
            bridge.sessions.failed(&opening);
        }
        opening.process.stop().await;
        return Ok((status(code), JSON, answer.json).into_response());
    }
    drop(reply);
    let begun = bridge.sessions.begin(opening, admitted.principal.clone());
    let session = begun.map_err(|error| Refusal::from(error).to(id))?;
    let id = HeaderValue::from_str(&session.id).map_err(|_| Refusal::NotRunning)?;
    let name = HeaderName::from_static(SESSION);
    Ok((JSON, [(name, id)], answer.json).into_response())
}

const JSON: [(HeaderName, HeaderValue); 2] = [
    (
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    ),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];
