//! The MCP server behind every row: answers any POST with the same JSON-RPC result under the request's id, as fast as
//! it can; or, where a header asks for it, with a list or with a stream of events.
//!
//! On a thread and a runtime of its own, so that it takes the same from every row.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use axum::body::Body;
use http_body_util::{BodyExt, Collected};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use crate::messages::Entries;

/// The header that asks for a list, and says how long.
pub const ENTRIES: &str = "bench-entries";
/// The header that says what the entries are.
pub const KIND: &str = "bench-kind";
/// The header that asks for a stream, and says of how many events.
pub const EVENTS: &str = "bench-events";

/// A permit for each event that has arrived, the last of a stream included. One stream at a time.
pub static NEXT_EVENT: Semaphore = Semaphore::const_new(0);

/// Starts it on a free port of loopback; it ends with the process.
pub fn start() -> Result<SocketAddr> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .context("no free port on loopback")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("backend".to_owned())
        .spawn(move || runtime.block_on(serve(listener)))
        .context("cannot start the backend's thread")?;
    Ok(address)
}

async fn serve(listener: std::net::TcpListener) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    while let Ok((stream, _)) = listener.accept().await {
        // Fails only on a connection that is gone already.
        let _ = stream.set_nodelay(true);
        let connection = hyper::server::conn::http1::Builder::new();
        tokio::spawn(async move {
            connection
                .serve_connection(TokioIo::new(stream), service_fn(answer))
                .await
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    // Read to its end, so that the connection can be used again.
    let body = body.collect().await.map(Collected::to_bytes);
    let id = body.map_or(0, |body| id(&body));
    let asked = |name| head.headers.get(name)?.to_str().ok();
    let number = |name| asked(name)?.parse::<u64>().ok();
    let (content_type, body) = match (number(ENTRIES), number(EVENTS)) {
        (Some(entries), _) => {
            let kind = asked(KIND).and_then(Entries::named);
            let list = list(id, entries, kind.unwrap_or(Entries::Shown));
            ("application/json", Body::from(list))
        }
        (_, Some(events)) => ("text/event-stream", stream(id, events)),
        (None, None) => ("application/json", Body::from(result(id))),
    };
    let mut response = Response::new(body);
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    Ok(response)
}

/// The id of a request as this benchmark writes them: a whole number, ahead of anything else that is called so.
fn id(request: &[u8]) -> u64 {
    const NAME: &[u8] = br#""id":"#;
    let at = request.windows(NAME.len()).position(|part| part == NAME);
    let digits = at.and_then(|at| request.get(at + NAME.len()..));
    let digits = digits
        .into_iter()
        .flatten()
        .map(|byte| char::from(*byte).to_digit(10));
    digits
        .map_while(|digit| digit)
        .fold(0, |id, digit| id * 10 + u64::from(digit))
}

fn result(id: u64) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","content":[{{"type":"text","text":"done"}}],"isError":false}}}}"#
    )
}

/// A list of tools of some 400 bytes each.
fn list(id: u64, entries: u64, kind: Entries) -> String {
    let tools: Vec<String> = (0..entries)
        .map(|n| {
            let name = kind.name(n).map_or_else(String::new, |name| format!(r#""name":"{name}","#));
            format!(
                concat!(
                    r#"{{{name}"title":"Tool number {n}","description":"Moves money from one account to another, once, "#,
                    r#"within the limits that the company has set for whoever asks, and answers with the number of "#,
                    r#"the booking.","inputSchema":{{"type":"object","properties":{{"from":{{"type":"string"}},"#,
                    r#""to":{{"type":"string"}},"amount":{{"type":"number","minimum":0}},"memo":{{"type":"string"}}}},"#,
                    r#""required":["from","to","amount"]}}}}"#
                ),
                name = name,
                n = n,
            )
        })
        .collect();
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","tools":[{tools}],"ttlMs":1000,"cacheScope":"private"}}}}"#,
        tools = tools.join(",")
    )
}

/// Progress, each event when the last has arrived, and then the result.
fn stream(id: u64, events: u64) -> Body {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        for n in 0..=events {
            let event = if n < events {
                format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":"p","progress":{n}}}}}"#
                )
            } else {
                result(id)
            };
            if sender.send(format!("data: {event}\n\n")).await.is_err() {
                return;
            }
            match NEXT_EVENT.acquire().await {
                Ok(arrived) => arrived.forget(),
                Err(_) => return,
            }
        }
    });
    Body::from_stream(ReceiverStream::new(receiver).map(Ok::<_, Infallible>))
}
