//! A server that believes everybody, remembers what reached it, and answers as the called tool's name says.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::body::{Body, Bytes};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, LOCATION, UPGRADE};
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

/// Answered 503.
pub const FAILS: &str = "fails";
/// Never answered.
pub const HANGS: &str = "hangs";
/// Answered 307 to the same URL.
pub const MOVES: &str = "moves";
/// One event at once, and the result when [`Upstream::go_on`] says so.
pub const STREAMS: &str = "streams";
/// Answered where it is the first request of its connection; a second one finds the connection closing.
pub const CLOSES: &str = "closes";

const RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":false}}"#;
const EVENT: &str = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"first\"}}\n\n";

/// A request that reached the server.
#[derive(Clone, Debug)]
pub struct Reached {
    /// GET, POST, CONNECT…
    pub method: Method,
    /// As it was sent.
    pub path: String,
    /// As they were sent, trailers included.
    pub headers: HeaderMap,
    /// As it was sent.
    pub body: Bytes,
}

impl Reached {
    /// A header's value; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// What it says it may: the whole `Authorization`.
    pub fn authorization(&self) -> &str {
        self.header("authorization")
    }
}

/// See the module; stopped when dropped.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    seen: Arc<Seen>,
    serving: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    reached: Mutex<Vec<Reached>>,
    /// What came over upgraded connections.
    upgraded: Mutex<Vec<u8>>,
    go_on: Notify,
}

impl Upstream {
    /// Starts it.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, seen) = (listener.local_addr()?, Arc::new(Seen::default()));
        let serving = tokio::spawn(serve(listener, Arc::clone(&seen)));
        Ok(Self {
            address,
            seen,
            serving,
        })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What reached it since it was last asked.
    pub fn reached(&self) -> Vec<Reached> {
        std::mem::take(&mut *lock(&self.seen.reached))
    }

    /// How much has reached it since [`Self::reached`] was last asked.
    pub fn count(&self) -> usize {
        lock(&self.seen.reached).len()
    }

    /// What came over upgraded connections since it was last asked.
    pub fn upgraded(&self) -> Vec<u8> {
        std::mem::take(&mut *lock(&self.seen.upgraded))
    }

    /// Every stream that waits now goes on.
    pub fn go_on(&self) {
        self.seen.go_on.notify_waiters();
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, seen: Arc<Seen>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(connection(stream, Arc::clone(&seen)));
    }
}

async fn connection(stream: TcpStream, seen: Arc<Seen>) {
    let asked = Mutex::new(HashMap::<String, u32>::new());
    let service = service_fn(|request| {
        let seen = Arc::clone(&seen);
        let asked = &asked;
        async move {
            let answer = answer(request, &seen).await;
            if answer.tool == CLOSES {
                let mut asked = lock(asked);
                let times = asked.entry(answer.tool).or_default();
                *times += 1;
                if *times > 1 {
                    return Err("closed, as when keep-alive ends");
                }
            }
            Ok(answer.response)
        }
    });
    // An error is this connection's own.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

struct Answer {
    tool: String,
    response: Response<Body>,
}

async fn answer(mut request: Request<Incoming>, seen: &Arc<Seen>) -> Answer {
    let upgrade = (request.headers().contains_key(UPGRADE) || request.method() == Method::CONNECT)
        .then(|| hyper::upgrade::on(&mut request));
    let (head, body) = request.into_parts();
    let mut headers = head.headers;
    // The body of an upgraded connection is not read here: it does not end.
    let body = match &upgrade {
        Some(_) => Bytes::new(),
        None => {
            let body = body.collect().await.unwrap_or_default();
            headers.extend(body.trailers().cloned().unwrap_or_default());
            body.to_bytes()
        }
    };
    let tool = tool(&body);
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    lock(&seen.reached).push(Reached {
        method: head.method.clone(),
        path: head.uri.to_string(),
        headers,
        body,
    });
    let response = match (upgrade, tool.as_str()) {
        (Some(upgrade), _) => upgraded(upgrade, head.method == Method::CONNECT, seen),
        (None, FAILS) => plain(StatusCode::SERVICE_UNAVAILABLE, ""),
        (None, HANGS) => std::future::pending().await,
        (None, MOVES) => {
            let mut response = plain(StatusCode::TEMPORARY_REDIRECT, "");
            if let Ok(here) = format!("http://{host}/mcp").parse() {
                response.headers_mut().insert(LOCATION, here);
            }
            response
        }
        (None, STREAMS) => streaming(seen),
        (None, _) => plain(StatusCode::OK, RESULT),
    };
    Answer { tool, response }
}

fn tool(body: &[u8]) -> String {
    let message: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let name = message.pointer("/params/name").and_then(|n| n.as_str());
    name.unwrap_or_default().to_owned()
}

fn plain(status: StatusCode, body: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn streaming(seen: &Arc<Seen>) -> Response<Body> {
    let (events, stream) = mpsc::channel::<String>(2);
    let seen = Arc::clone(seen);
    tokio::spawn(async move {
        let go_on = seen.go_on.notified();
        // Fails where nobody listens any longer, which is what some tests are about.
        let _ = events.send(EVENT.to_owned()).await;
        go_on.await;
        let _ = events.send(format!("data: {RESULT}\n\n")).await;
    });
    let stream = ReceiverStream::new(stream).map(Ok::<_, Infallible>);
    let mut response = Response::new(Body::from_stream(stream));
    let sse = hyper::header::HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(CONTENT_TYPE, sse);
    response
}

/// Switches protocols, and listens.
fn upgraded(upgrade: OnUpgrade, connect: bool, seen: &Arc<Seen>) -> Response<Body> {
    let seen = Arc::clone(seen);
    tokio::spawn(async move {
        let Ok(connection) = upgrade.await else {
            return;
        };
        let mut connection = TokioIo::new(connection);
        let mut buffer = vec![0; 4096];
        while let Ok(size @ 1..) = connection.read(&mut buffer).await {
            lock(&seen.upgraded).extend(buffer.iter().take(size));
            let _ = connection.write_all(b"heard").await;
        }
    });
    let mut response = Response::new(Body::empty());
    if !connect {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        for (name, value) in [(CONNECTION, "Upgrade"), (UPGRADE, "websocket")] {
            let value = hyper::header::HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        }
    }
    response
}
