//! Minting alone: token exchanges straight to the service's gateway listener over HTTP/2, 32 at a time.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use url::form_urlencoded;
use writ_tests::exchange::{self, content_digest};
use writ_tests::signer::{ACCESS_TOKEN, Signer};

use crate::load;
use crate::service::{Bench, SERVER};

/// Callers at a time.
pub const CALLERS: usize = 32;
/// The core that the service is kept on.
pub const CORE: u32 = 0;

/// One signature over a minted token's claims, in microseconds of wall time: the least of several runs.
pub fn signature_us() -> Result<f64> {
    const SIGNATURES: u32 = 2_000;
    let signer = Signer::generate();
    let claims = json!({
        "iss": "http://127.0.0.1:8181", "sub": "alice", "aud": "urn:example:bench", "client_id": "assistant",
        "scope": "bench:call", "jti": "0199f0b2-7a51-7c3a-9d2e-4a1f5b6c7d8e", "txn": "0199f0b2-7a51-7c3a-9d2e-4a1f5b6c7d8f",
        "iat": 1_790_000_000, "exp": 1_790_000_030, "act": { "sub": "edge", "act": { "sub": "assistant" } },
        "authorization_details": [{ "type": "mcp_request", "server": SERVER, "method": "tools/call", "target": "tool_1",
            "content_digest": content_digest("{}") }],
    });
    let mut least = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        for _ in 0..SIGNATURES {
            std::hint::black_box(signer.sign(ACCESS_TOKEN, &claims)?);
        }
        least = least.min(start.elapsed().as_secs_f64() * 1e6 / f64::from(SIGNATURES));
    }
    Ok(least)
}

/// What is the same for every exchange.
pub struct Exchange {
    address: SocketAddr,
    authorization: String,
    resource: String,
    callers: load::Callers,
    next: AtomicU64,
}

impl Exchange {
    /// With this service.
    pub fn new(bench: &Bench) -> Self {
        let credentials =
            BASE64_STANDARD.encode(format!("{}:{}", bench.gateway, bench.gateway_secret));
        Self {
            address: (Ipv4Addr::LOCALHOST, bench.service.gateway_port()).into(),
            authorization: format!("Basic {credentials}"),
            resource: bench.resource.clone(),
            callers: bench.callers.clone(),
            // Far from the numbers of the rows, so that no message comes twice.
            next: AtomicU64::new(1 << 40),
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.address)
            .await
            .context("cannot connect to the token service")?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    /// So many mints, by so many callers as fast as they can.
    pub async fn run(self: &Arc<Self>, callers: usize, mints: u64) -> Result<()> {
        let sender = self.connect().await?;
        let end = self.next.load(Ordering::Relaxed) + mints;
        let mut tasks = JoinSet::new();
        for _ in 0..callers {
            let (exchange, mut sender) = (Arc::clone(self), sender.clone());
            tasks.spawn(async move {
                loop {
                    let n = exchange.next.fetch_add(1, Ordering::Relaxed);
                    if n >= end {
                        return Ok::<_, anyhow::Error>(());
                    }
                    exchange.answer(&mut sender, n).await?;
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        self.next.store(end, Ordering::Relaxed);
        Ok(())
    }

    /// So many mints a second, whether those before are answered or not; how long each took from when it was due.
    pub async fn run_at(
        self: &Arc<Self>,
        per_second: f64,
        lasting: Duration,
    ) -> Result<Vec<Duration>> {
        let sender = self.connect().await?;
        let start = tokio::time::Instant::now();
        let mut tasks = JoinSet::new();
        for n in 0.. {
            let due = Duration::from_secs_f64(f64::from(n) / per_second);
            if due > lasting {
                break;
            }
            tokio::time::sleep_until(start + due).await;
            let (exchange, mut sender) = (Arc::clone(self), sender.clone());
            tasks.spawn(async move {
                let n = exchange.next.fetch_add(1, Ordering::Relaxed);
                exchange.answer(&mut sender, n).await?;
                Ok::<_, anyhow::Error>(start.elapsed().saturating_sub(due))
            });
        }
        let mut took = Vec::new();
        while let Some(done) = tasks.join_next().await {
            took.push(done??);
        }
        Ok(took)
    }

    /// One mint; the token's id.
    pub async fn one(&self) -> Result<String> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let body = self.answer(&mut self.connect().await?, n).await?;
        let answer: Value = serde_json::from_slice(&body)?;
        let id = answer["jti"].as_str().context("a token without an id")?;
        Ok(id.to_owned())
    }

    async fn answer(&self, sender: &mut SendRequest<Full<Bytes>>, n: u64) -> Result<Bytes> {
        sender.ready().await?;
        let response = sender.send_request(self.request(n)?).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        ensure!(
            status.is_success(),
            "an exchange was answered {status}: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(body)
    }

    fn request(&self, n: u64) -> Result<Request<Full<Bytes>>> {
        let tool = self.callers.tool(n);
        let message = load::message(&tool, n);
        let token = self.callers.token(n)?;
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(exchange::form(token, SERVER, &self.resource, &message)?)
            .finish();
        Ok(
            Request::post(format!("http://{}/oauth/token", self.address))
                .header("authorization", &self.authorization)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(Full::new(Bytes::from(form)))?,
        )
    }
}
