//! The load: keep-alive connections in a closed loop, every request made fresh, every answer checked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::http::request::Builder;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Who calls what: requests rotate over both.
#[derive(Clone, Debug)]
pub struct Callers {
    /// One token for each caller.
    pub tokens: Arc<Vec<String>>,
    /// How many tools there are to call, from `tool_0`.
    pub tools: u64,
}

impl Callers {
    /// The same callers with this many tools.
    #[must_use]
    pub fn with_tools(&self, tools: u64) -> Self {
        Self {
            tokens: Arc::clone(&self.tokens),
            tools,
        }
    }

    /// The n-th caller's token.
    pub fn token(&self, n: u64) -> Result<&str> {
        let caller = usize::try_from(n)? % self.tokens.len().max(1);
        self.tokens
            .get(caller)
            .map(String::as_str)
            .context("no caller has a token")
    }

    /// The n-th call's tool.
    pub fn tool(&self, n: u64) -> String {
        format!("tool_{}", n.wrapping_mul(7919) % self.tools.max(1))
    }
}

/// What one run saw.
#[derive(Debug)]
pub struct Run {
    /// Requests answered as they should be (all, or there is no `Run`).
    pub requests: u64,
    /// Wall time.
    pub elapsed: Duration,
    /// Time per request, sorted, in microseconds.
    pub latencies_us: Vec<u32>,
}

impl Run {
    /// A percentile of the latencies, in microseconds.
    pub fn percentile(&self, percent: usize) -> u32 {
        let last = self.latencies_us.len().saturating_sub(1);
        self.latencies_us
            .get(last * percent / 100)
            .copied()
            .unwrap_or(0)
    }

    /// Requests per second.
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }
}

/// Sends `total` calls over `connections` connections. `first` numbers them, so that no two runs are alike.
pub async fn run(
    address: SocketAddr,
    callers: &Callers,
    connections: usize,
    first: u64,
    total: u64,
) -> Result<Run> {
    let next = Arc::new(AtomicU64::new(first));
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let (next, callers) = (Arc::clone(&next), callers.clone());
        tasks.spawn(async move { one_connection(address, &callers, &next, first + total).await });
    }
    let mut latencies_us = Vec::with_capacity(usize::try_from(total)?);
    while let Some(done) = tasks.join_next().await {
        latencies_us.extend(done??);
    }
    let elapsed = start.elapsed();
    latencies_us.sort_unstable();
    Ok(Run {
        requests: total,
        elapsed,
        latencies_us,
    })
}

async fn one_connection(
    address: SocketAddr,
    callers: &Callers,
    next: &AtomicU64,
    end: u64,
) -> Result<Vec<u32>> {
    let mut connection = connect(address).await?;
    let mut latencies = Vec::new();
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= end {
            return Ok(latencies);
        }
        let request = call(address, callers.token(n)?, &callers.tool(n), n)?;
        let start = Instant::now();
        connection.ready().await?;
        let response = connection
            .send_request(request)
            .await
            .context("the connection to Envoy broke")?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        latencies.push(u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX));
        ensure!(
            status.is_success() && has_result(&body),
            "request {n} was answered {status}: {}",
            String::from_utf8_lossy(&body)
        );
    }
}

/// A connection to Envoy.
pub async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("cannot connect to Envoy on {address}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// A request of this method, but for its body.
pub fn request(address: SocketAddr, token: &str, method: &str) -> Builder {
    Request::post("/mcp")
        .header(HOST, address.to_string())
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .header(ACCEPT, "application/json, text/event-stream")
        .header(CONTENT_TYPE, "application/json")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", method)
}

/// The n-th call: its arguments have never been seen before.
fn call(address: SocketAddr, token: &str, tool: &str, n: u64) -> Result<Request<Full<Bytes>>> {
    Ok(request(address, token, "tools/call")
        .header("mcp-name", tool)
        .body(Full::new(Bytes::from(message(tool, n))))?)
}

/// Whether a call of this tool reaches the server.
pub async fn is_allowed(address: SocketAddr, callers: &Callers, tool: &str) -> Result<bool> {
    let mut connection = connect(address).await?;
    let response = connection
        .send_request(call(address, callers.token(0)?, tool, 0)?)
        .await?;
    let body = response.into_body().collect().await?.to_bytes();
    Ok(has_result(&body))
}

fn has_result(body: &[u8]) -> bool {
    body.windows(8).any(|part| part == b"\"result\"")
}

/// The body of the n-th call.
pub fn message(tool: &str, n: u64) -> String {
    format!(
        concat!(
            r#"{{"jsonrpc":"2.0","id":{n},"method":"tools/call","params":{{"name":"{tool}","#,
            r#""arguments":{{"from":"operations-{n}","to":"payroll","amount":{amount},"memo":"run {n}"}},"#,
            r#""_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
            r#""io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
        ),
        n = n,
        tool = tool,
        amount = n % 900 + 1,
    )
}
