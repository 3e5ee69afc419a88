//! Minting alone: token exchanges straight to the service's gateway listener over HTTP/2, 32 at a time.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use url::form_urlencoded;
use writ_tests::signer::{ACCESS_TOKEN, Signer};

use crate::noise::Spread;
use crate::service::{Bench, SERVER};
use crate::{cpu, load, report};

/// Callers at a time.
const CALLERS: usize = 32;
/// The core that the service is kept on.
const CORE: u32 = 0;

/// Measures mints per second and their cost, with the service on one core.
pub async fn measure(bench: &Bench, rounds: usize, mints: u64) -> Result<report::Mints> {
    let pid = bench.service.process()?.id();
    cpu::pin(pid, CORE)?;
    let exchange = Arc::new(Exchange::new(bench));
    exchange.run(CALLERS, mints / 4).await?;
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (before, start) = (cpu::of(pid)?, Instant::now());
        exchange.run(CALLERS, mints).await?;
        rates.push(mints as f64 / start.elapsed().as_secs_f64());
        costs.push((cpu::of(pid)?.saturating_sub(before)).as_secs_f64() * 1e6 / mints as f64);
    }
    Ok(report::Mints {
        per_second: Spread::of(rates),
        cpu_us: Spread::of(costs),
        eddsa_sign_us: signature_us()?,
        callers: CALLERS,
    })
}

/// One signature over a minted token's claims, in microseconds of wall time: the least of several runs.
fn signature_us() -> Result<f64> {
    const SIGNATURES: u32 = 2_000;
    let signer = Signer::generate();
    let claims = json!({
        "iss": "http://127.0.0.1:8181", "sub": "alice", "aud": "urn:example:bench", "client_id": "assistant",
        "scope": "bench:call", "jti": "0199f0b2-7a51-7c3a-9d2e-4a1f5b6c7d8e", "txn": "0199f0b2-7a51-7c3a-9d2e-4a1f5b6c7d8f",
        "iat": 1_790_000_000, "exp": 1_790_000_030, "act": { "sub": "edge", "act": { "sub": "assistant" } },
        "authorization_details": [details("tool_1", b"{}")],
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

/// `authorization_details` of a tool call: what the token will be good for.
fn details(tool: &str, body: &[u8]) -> Value {
    let digest = format!("sha-256=:{}:", BASE64_STANDARD.encode(Sha256::digest(body)));
    json!({ "type": "mcp_request", "server": SERVER, "method": "tools/call", "target": tool, "content_digest": digest })
}

/// What is the same for every exchange.
struct Exchange {
    address: SocketAddr,
    authorization: String,
    resource: String,
    callers: load::Callers,
    next: AtomicU64,
}

impl Exchange {
    fn new(bench: &Bench) -> Self {
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

    async fn run(self: &Arc<Self>, callers: usize, mints: u64) -> Result<()> {
        let stream = TcpStream::connect(self.address)
            .await
            .context("cannot connect to the token service")?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let end = self.next.load(Ordering::Relaxed) + mints;
        let mut tasks = JoinSet::new();
        for _ in 0..callers {
            let (exchange, sender) = (Arc::clone(self), sender.clone());
            tasks.spawn(async move { exchange.one_caller(sender, end).await });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        self.next.store(end, Ordering::Relaxed);
        Ok(())
    }

    async fn one_caller(&self, mut sender: SendRequest<Full<Bytes>>, end: u64) -> Result<()> {
        loop {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            if n >= end {
                return Ok(());
            }
            sender.ready().await?;
            let response = sender.send_request(self.request(n)?).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            ensure!(
                status.is_success(),
                "an exchange was answered {status}: {}",
                String::from_utf8_lossy(&body)
            );
        }
    }

    fn request(&self, n: u64) -> Result<Request<Full<Bytes>>> {
        let tool = self.callers.tool(n);
        let message = load::message(&tool, n);
        let context = json!({
            "request_id": uuid::Uuid::now_v7().to_string(),
            "time": "2026-11-23T12:00:00Z",
            "source_ip": "127.0.0.1",
            "protocol_version": "2026-07-28",
            "headers": {},
            "policy_revision": "bench",
        });
        let token = self.callers.token(n)?;
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair(
                "grant_type",
                "urn:ietf:params:oauth:grant-type:token-exchange",
            )
            .append_pair("subject_token", token)
            .append_pair(
                "subject_token_type",
                "urn:ietf:params:oauth:token-type:access_token",
            )
            .append_pair(
                "requested_token_type",
                "urn:ietf:params:oauth:token-type:access_token",
            )
            .append_pair("resource", &self.resource)
            .append_pair(
                "authorization_details",
                &json!([details(&tool, message.as_bytes())]).to_string(),
            )
            .append_pair("mcp_message", &BASE64_URL_SAFE_NO_PAD.encode(&message))
            .append_pair("mcp_context", &context.to_string())
            .finish();
        Ok(
            Request::post(format!("http://{}/oauth/token", self.address))
                .header("authorization", &self.authorization)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(Full::new(Bytes::from(form)))?,
        )
    }
}
