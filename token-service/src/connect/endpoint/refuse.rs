//! Every way of saying no: an HTTP status and, in JSON-RPC's own shape, what to do.

use std::time::Duration;

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use writ_core::{
    guard,
    message::{Id, Problem},
};

use super::super::{
    channel::ChannelError,
    learn::STATELESS,
    sessions::SessionError,
    wire::{self, Piece},
};

/// JSON-RPC: not JSON.
const PARSE_ERROR: i64 = -32700;
/// JSON-RPC: wrong parameters.
const INVALID_PARAMS: i64 = -32602;
/// As the filter says it.
const UNAUTHENTICATED: i64 = 401;
/// JSON-RPC: not a request.
const INVALID_REQUEST: i64 = -32600;
/// JSON-RPC: the server failed.
const INTERNAL_ERROR: i64 = -32603;
/// Servers of the session era say so what is wrong with the transport.
const TRANSPORT: i64 = -32000;

/// Why a message does not reach the server.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum Refusal {
    /// Too many requests.
    #[error("too many requests are in flight; try again when some are answered")]
    Busy,
    /// MCP transports, DNS rebinding.
    #[error(
        "this endpoint does not serve the host that was asked for; its operator can name it with --allow-host"
    )]
    Host,
    /// MCP transports: an `Origin` that is not allowed MUST be answered with 403.
    #[error(
        "web pages of this origin may not call this endpoint; its operator can name it with --allow-origin"
    )]
    Origin,
    /// Not a method of the transport.
    #[error("an MCP endpoint takes POST, GET and DELETE")]
    HttpMethod,
    /// Not JSON.
    #[error("send the message as `content-type: application/json`, without `content-encoding`")]
    MediaType,
    /// The answer may be either.
    #[error("send `accept: application/json, text/event-stream`")]
    NotAcceptable,
    /// Twice, or not text.
    #[error("the `{0}` header must occur once, as text")]
    Header(&'static str),
    /// Too much.
    #[error("the body is larger than the limit of {0} bytes")]
    TooLarge(usize),
    /// Not one message.
    #[error("the body is not one JSON-RPC message")]
    NoMessage,
    /// MCP 2025-11-25, session management.
    #[error("the request names no session; send `initialize` first, and then its `mcp-session-id`")]
    NoSession,
    /// MCP 2025-11-25, session management: 404 tells the client to begin anew.
    #[error("there is no such session, or it has ended; send `initialize` to begin another one")]
    UnknownSession,
    /// It is begun once.
    #[error("this session is initialized; leave `mcp-session-id` out to begin another one")]
    SessionExists,
    /// One is enough.
    #[error("the session's stream is open already")]
    StreamIsOpen,
    /// An answer to no question.
    #[error("the server waits for no answer with this id")]
    NobodyAsked,
    /// The server knows only versions with sessions.
    #[error(
        "unsupported protocol version {STATELESS}: this server speaks with sessions only; send `initialize`"
    )]
    SessionsOnly,
    /// The process that answers is everybody's.
    #[error(
        "this method needs a session here: without one a process answers that all clients share; send `initialize`"
    )]
    NotShared,
    /// It did not come.
    #[error("the body did not come within {0:?}")]
    Slow(Duration),
    /// It is started again.
    #[error("the MCP server does not run at the moment; it is being started again")]
    NotRunning,
    /// It does not answer.
    #[error("the MCP server was not initialized within {0:?}")]
    Silent(Duration),
    /// It was not decided on.
    #[error("{0}")]
    Guard(guard::Refusal),
    /// It cannot be known whether it was.
    #[error("whether this call was decided on cannot be known now; try again")]
    Undecided,
    /// No process takes it.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// No session takes it.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The same, told to who waits for an answer with this id.
    #[error("{0}")]
    To(Box<Refusal>, String),
}

impl Refusal {
    /// As the answer to a request.
    pub(super) fn to(self, id: &Piece) -> Self {
        Self::To(Box::new(self), id.text.clone())
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Origin => StatusCode::FORBIDDEN,
            Self::HttpMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnknownSession => StatusCode::NOT_FOUND,
            Self::Guard(guard::Refusal::Message(_)) => StatusCode::BAD_REQUEST,
            Self::Guard(_) => StatusCode::UNAUTHORIZED,
            Self::StreamIsOpen => StatusCode::CONFLICT,
            Self::NotShared => StatusCode::NOT_FOUND,
            Self::Slow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Header(_)
            | Self::NoMessage
            | Self::NoSession
            | Self::SessionExists
            | Self::NobodyAsked
            | Self::SessionsOnly
            | Self::Channel(ChannelError::IdInUse) => StatusCode::BAD_REQUEST,
            // Clients throw away the body of any other answer, and with it what happened to their request.
            Self::Channel(ChannelError::Over(_)) => StatusCode::OK,
            Self::Busy
            | Self::NotRunning
            | Self::Undecided
            | Self::Silent(_)
            | Self::Channel(ChannelError::Busy)
            | Self::Session(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::To(refusal, _) => refusal.status(),
        }
    }

    fn code(&self) -> i64 {
        match self {
            Self::SessionsOnly | Self::NoSession | Self::UnknownSession | Self::StreamIsOpen => {
                TRANSPORT
            }
            Self::Busy
            | Self::NotRunning
            | Self::Undecided
            | Self::Silent(_)
            | Self::Session(_) => INTERNAL_ERROR,
            Self::Channel(ChannelError::Busy | ChannelError::Over(_)) => INTERNAL_ERROR,
            Self::Guard(guard::Refusal::Message(error)) => match error.problem {
                Problem::Json(_) => PARSE_ERROR,
                Problem::Parameter { .. } => INVALID_PARAMS,
                _ => INVALID_REQUEST,
            },
            Self::Guard(_) => UNAUTHENTICATED,
            Self::To(refusal, _) => refusal.code(),
            _ => INVALID_REQUEST,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let id = match &self {
            Self::To(_, id) => id.clone(),
            Self::Guard(guard::Refusal::Message(error)) => error
                .id
                .as_ref()
                .map_or_else(|| "null".to_owned(), Id::to_string),
            _ => "null".to_owned(),
        };
        let body = wire::failure(&id, self.code(), &self.to_string());
        let status = self.status();
        let mut headers: Vec<(HeaderName, &'static str)> = vec![
            (header::CONTENT_TYPE, "application/json"),
            (header::CACHE_CONTROL, "no-store"),
        ];
        match status {
            StatusCode::METHOD_NOT_ALLOWED => headers.push((header::ALLOW, "POST, GET, DELETE")),
            // RFC 6750 section 3: there is no token to be had here.
            StatusCode::UNAUTHORIZED => {
                headers.push((header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\""))
            }
            StatusCode::SERVICE_UNAVAILABLE => headers.push((header::RETRY_AFTER, "1")),
            _ => {}
        }
        let mut response = (status, body).into_response();
        for (name, value) in headers {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
