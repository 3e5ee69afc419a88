//! Listening in before the ledger: the demo steals a minted token here, the tests look at what a server gets.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header::AUTHORIZATION};
use axum::middleware::Next;
use axum::response::Response;

/// The most of a body that is looked at; above what any test sends.
const LIMIT: usize = 16 << 20;

/// One request that reached the server, whether or not it was then believed.
#[derive(Clone, Debug)]
pub struct Heard {
    /// GET, POST or DELETE.
    pub method: Method,
    /// Path and query.
    pub uri: String,
    /// As they arrived.
    pub headers: HeaderMap,
    /// As it arrived.
    pub body: Bytes,
    /// What the server answered; absent while it has not.
    pub status: Option<StatusCode>,
}

impl Heard {
    /// Its bearer token.
    pub fn bearer(&self) -> Option<&str> {
        self.headers
            .get(AUTHORIZATION)?
            .to_str()
            .ok()?
            .strip_prefix("Bearer ")
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Whether it is a call of this tool.
    pub fn calls(&self, tool: &str) -> bool {
        let message = self.json();
        message
            .get("method")
            .is_some_and(|method| method == "tools/call")
            && message
                .pointer("/params/name")
                .is_some_and(|name| name == tool)
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Tap(Arc<Mutex<Vec<Heard>>>);

impl Tap {
    /// Everything so far, oldest first.
    pub fn heard(&self) -> Vec<Heard> {
        self.lock().clone()
    }

    /// The last call of this tool that arrived.
    pub fn last_call(&self, tool: &str) -> Option<Heard> {
        self.lock()
            .iter()
            .rev()
            .find(|heard| heard.calls(tool))
            .cloned()
    }

    /// How many requests arrived.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Heard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The layer: notes the request, passes it on unchanged, notes the status.
pub async fn listen(State(tap): State<Tap>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, LIMIT).await.unwrap_or_default();
    let index = {
        let mut all = tap.lock();
        all.push(Heard {
            method: head.method.clone(),
            uri: head.uri.to_string(),
            headers: head.headers.clone(),
            body: body.clone(),
            status: None,
        });
        all.len() - 1
    };
    let response = next.run(Request::from_parts(head, Body::from(body))).await;
    if let Some(heard) = tap.lock().get_mut(index) {
        heard.status = Some(response.status());
    }
    response
}
