//! What a server does that verifies Writ's tokens by itself, as one layer before its MCP endpoint.
//!
//! The order matters: read the raw body, check the token and its binding to exactly these bytes, spend it, and
//! only then let anything parse the message again and act on it. Everything that is refused is reported.

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::{Engine, prelude::BASE64_STANDARD};
use jwt_simple::prelude::{Duration, VerificationOptions};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::issuer::Issuer;

/// The largest message this server takes.
const BODY_LIMIT: usize = 1 << 20;
/// How far its clock may be from the issuer's, in seconds.
const CLOCK_SKEW_S: u64 = 5;

/// Why a request was not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No bearer token, or more than one.
    NoToken,
    /// Not a signed JWT: a personal access token, an opaque token, nonsense.
    NotAToken,
    /// Not an unexpired access token of our issuer for this server.
    NotOurs,
    /// Minted for this server, but not for this message.
    OtherMessage,
    /// Minted for this message, and already used for it.
    Spent,
    /// The message could not be read.
    BadMessage,
    /// The token service could not be asked.
    IssuerAway,
}

/// The claim that binds a minted token to one message (RFC 9396).
#[derive(Debug, Serialize, Deserialize)]
struct Minted {
    authorization_details: Vec<Detail>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Detail {
    /// Good for this one message, once.
    McpRequest {
        server: String,
        method: String,
        #[serde(default)]
        target: Option<String>,
        content_digest: String,
    },
    /// Good for looking around until it expires.
    McpDiscovery { server: String },
}

/// Checks what reaches this server.
#[derive(Debug)]
pub struct Verifier {
    issuer: Issuer,
}

impl Verifier {
    /// Verifies by this issuer.
    pub fn new(issuer: Issuer) -> Self {
        Self { issuer }
    }

    /// Whether this token carries this message, which it may then do no more.
    async fn admit(&self, token: &str, method: &Method, body: &[u8]) -> Result<(), Refusal> {
        let registration = self.issuer.registration();
        let options = VerificationOptions {
            required_signature_type: Some("at+jwt".to_owned()),
            allowed_issuers: Some([registration.issuer.clone()].into()),
            allowed_audiences: Some([registration.audience.clone()].into()),
            time_tolerance: Some(Duration::from_secs(CLOCK_SKEW_S)),
            ..VerificationOptions::default()
        };
        let claims = self.issuer.verify::<Minted>(token, options).await?;
        let message = Asked::read(method, body)?;

        match claims.custom.authorization_details.as_slice() {
            [Detail::McpDiscovery { server }] if *server == registration.server_id => {
                if message.is_discovery() {
                    Ok(())
                } else {
                    Err(Refusal::OtherMessage)
                }
            }
            [
                Detail::McpRequest {
                    server,
                    method,
                    target,
                    content_digest,
                },
            ] if *server == registration.server_id
                && *method == message.method
                && *target == message.target
                && *content_digest == digest(body) =>
            {
                if self.issuer.consume(token).await? {
                    Ok(())
                } else {
                    Err(Refusal::Spent)
                }
            }
            _ => Err(Refusal::OtherMessage),
        }
    }
}

/// RFC 9530 `sha-256` of the bytes that arrived.
fn digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", BASE64_STANDARD.encode(Sha256::digest(body)))
}

/// What a request asks for: the part of a JSON-RPC message that a token is bound to by name.
#[derive(Debug)]
struct Asked {
    method: String,
    target: Option<String>,
}

impl Asked {
    fn read(method: &Method, body: &[u8]) -> Result<Self, Refusal> {
        // serde refuses a field that is there twice, so this cannot disagree with who parses it next.
        #[derive(Deserialize)]
        struct Message {
            method: String,
            #[serde(default)]
            params: Params,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Params {
            name: Option<String>,
            uri: Option<String>,
            task_id: Option<String>,
        }
        match *method {
            Method::GET => {
                return Ok(Self {
                    method: "stream/open".to_owned(),
                    target: None,
                });
            }
            Method::DELETE => {
                return Ok(Self {
                    method: "session/close".to_owned(),
                    target: None,
                });
            }
            _ => {}
        }
        let message: Message = serde_json::from_slice(body).map_err(|_| Refusal::BadMessage)?;
        let target = match message.method.as_str() {
            "tools/call" | "prompts/get" => message.params.name,
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
                message.params.uri
            }
            task if task.starts_with("tasks/") => message.params.task_id,
            _ => None,
        };
        Ok(Self {
            method: message.method,
            target,
        })
    }

    fn is_discovery(&self) -> bool {
        const DISCOVERY: [&str; 8] = [
            "initialize",
            "server/discover",
            "tools/list",
            "prompts/list",
            "resources/list",
            "resources/templates/list",
            "ping",
            "stream/open",
        ];
        self.method.starts_with("notifications/") || DISCOVERY.contains(&self.method.as_str())
    }
}

/// The layer.
pub async fn require_minted_token(
    State(verifier): State<Arc<Verifier>>,
    request: Request,
    next: Next,
) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_LIMIT).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    match check(&verifier, &head.headers, &head.method, &body).await {
        Ok(()) => next.run(Request::from_parts(head, Body::from(body))).await,
        Err(refusal) => refusal.into_response(),
    }
}

async fn check(
    verifier: &Verifier,
    headers: &HeaderMap,
    method: &Method,
    body: &Bytes,
) -> Result<(), Refusal> {
    let token = bearer(headers)?;
    let admitted = verifier.admit(token, method, body).await;
    if let Err(Refusal::NotAToken | Refusal::NotOurs | Refusal::OtherMessage) = admitted {
        // Reporting is introspection: it also spends a minted token that was sent with the wrong message.
        verifier.issuer.consume(token).await?;
    }
    admitted
}

fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(only), None) = (all.next(), all.next()) else {
        return Err(Refusal::NoToken);
    };
    let (scheme, token) = only
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .ok_or(Refusal::NoToken)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token.trim())
    } else {
        Err(Refusal::NoToken)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, challenge, text) = match self {
            Self::NoToken => (
                StatusCode::UNAUTHORIZED,
                "Bearer",
                "a minted token is needed: come through the gateway",
            ),
            Self::NotAToken | Self::NotOurs => (
                StatusCode::UNAUTHORIZED,
                "Bearer error=\"invalid_token\", error_description=\"not a token minted for this server\"",
                "not a token minted for this server: come through the gateway",
            ),
            Self::OtherMessage => (
                StatusCode::UNAUTHORIZED,
                "Bearer error=\"invalid_token\", error_description=\"minted for another message\"",
                "this token was minted for another message",
            ),
            Self::Spent => (
                StatusCode::UNAUTHORIZED,
                "Bearer error=\"invalid_token\", error_description=\"already used\"",
                "this token has been used already",
            ),
            Self::BadMessage => (
                StatusCode::BAD_REQUEST,
                "",
                "not a JSON-RPC request or notification",
            ),
            Self::IssuerAway => (
                StatusCode::SERVICE_UNAVAILABLE,
                "",
                "tokens cannot be checked right now: try again",
            ),
        };
        let mut response = (status, text).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
