//! How many durable mints a second one core makes, and what each costs.
//!
//! `cargo run --release --example mint_load -- [SECONDS] [CALLERS]` starts the built `writ` (beside this program) on
//! one core with a fresh database, lets callers mint over HTTP/2 without pause, each with tokens and arguments of its
//! own, and prints one JSON line: mints a second, the service's CPU time for each, and the share of it that signing
//! alone would take. Linux only.

use std::{
    error::Error,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::{Value, json};
use writ_core::message::content_digest;
use writ_token_service::{
    clock::{SystemClock, unix},
    config::Config,
    keys::Keys,
    secret,
    store::Store,
};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const RESOURCE: &str = "http://127.0.0.1:10000/mcp";
const ISSUER: &str = "https://writ.test";
/// Callers' tokens in rotation, so that no single one flatters a cache.
const SUBJECTS: usize = 1000;
const POLICY: &str = "package writ\nimport rego.v1\ndefault call := {\"allow\": false}\n\
    call := {\"allow\": true} if data.tools[input.server.id][input.mcp.tool]\n";

#[tokio::main]
async fn main() -> Result<()> {
    // An error says that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut arguments = std::env::args().skip(1);
    let seconds: u64 = arguments.next().map_or(Ok(10), |s| s.parse())?;
    let callers: usize = arguments.next().map_or(Ok(32), |s| s.parse())?;
    let dir = std::env::temp_dir().join(format!("writ-mint-load-{}", std::process::id()));
    let measured = measure(&dir, Duration::from_secs(seconds), callers).await;
    let _ = std::fs::remove_dir_all(&dir);
    report(&measured?)
}

#[allow(clippy::print_stdout, reason = "the result is this program's output")]
fn report(measured: &Value) -> Result<()> {
    println!("{measured}");
    Ok(())
}

async fn measure(dir: &Path, period: Duration, callers: usize) -> Result<Value> {
    let secret = register(dir)?;
    let mut service = Service::start(dir)?;
    let keys = keys(dir).await?;
    let tokens = Arc::new(tokens(&keys)?);
    let client = reqwest::Client::builder().http2_prior_knowledge().build()?;
    let stop = Arc::new(AtomicBool::new(false));

    // A second to warm up in, which is not counted.
    let warm = Instant::now() + Duration::from_secs(1);
    let mut tasks = Vec::with_capacity(callers);
    let counted = Arc::new(std::sync::atomic::AtomicU64::new(0));
    for caller in 0..callers {
        let (client, tokens, stop, counted) = (
            client.clone(),
            Arc::clone(&tokens),
            Arc::clone(&stop),
            Arc::clone(&counted),
        );
        let (url, secret) = (format!("{}/oauth/token", service.gateway), secret.clone());
        tasks.push(tokio::spawn(async move {
            let mut latencies = Vec::new();
            let mut turn = caller;
            while !stop.load(Ordering::Relaxed) {
                let token = tokens.get(turn % tokens.len()).ok_or("no token")?;
                let form = form(token, turn);
                let started = Instant::now();
                let response = client
                    .post(&url)
                    .basic_auth("edge", Some(&secret))
                    .form(&form)
                    .send()
                    .await?;
                if !response.status().is_success() {
                    return Err(format!("{}: {}", response.status(), response.text().await?).into());
                }
                response.bytes().await?;
                if started >= warm {
                    latencies.push(started.elapsed());
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                turn += callers;
            }
            Result::Ok(latencies)
        }));
    }
    tokio::time::sleep_until(warm.into()).await;
    let (cpu_before, count_before, started) = (
        service.cpu()?,
        counted.load(Ordering::Relaxed),
        Instant::now(),
    );
    tokio::time::sleep(period).await;
    let (cpu, count, elapsed) = (
        service.cpu()? - cpu_before,
        counted.load(Ordering::Relaxed) - count_before,
        started.elapsed(),
    );
    stop.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    latencies.sort_unstable();
    let quantile = |q: usize| {
        latencies
            .get(latencies.len() * q / 100)
            .map_or(0, Duration::as_micros)
    };
    let cpu_us = cpu.as_secs_f64() * 1e6 / count.max(1) as f64;
    let sign_us = sign_us(&keys)?;
    Ok(json!({
        "callers": callers,
        "mints_per_s": (count as f64 / elapsed.as_secs_f64()).round(),
        "cpu_us_per_mint": (cpu_us * 10.0).round() / 10.0,
        "cores_used": (cpu.as_secs_f64() / elapsed.as_secs_f64() * 100.0).round() / 100.0,
        "eddsa_sign_us": (sign_us * 10.0).round() / 10.0,
        "p50_us": quantile(50),
        "p99_us": quantile(99),
    }))
}

/// The release build of `writ` that lies beside this example.
fn writ(dir: &Path) -> Result<(PathBuf, Vec<(&'static str, PathBuf)>)> {
    let this = std::env::current_exe()?;
    let binary = this
        .ancestors()
        .nth(2)
        .map(|d| d.join("writ"))
        .filter(|p| p.exists());
    let binary =
        binary.ok_or("build the service first: cargo build --release -p writ-token-service")?;
    let environment = vec![
        ("WRIT_DATA_DIR", dir.join("data")),
        ("WRIT_POLICY__DIR", dir.join("policy")),
        ("WRIT_ISSUER", ISSUER.into()),
        ("WRIT_PUBLIC__LISTEN", "127.0.0.1:0".into()),
        ("WRIT_GATEWAY__LISTEN", "127.0.0.1:0".into()),
    ];
    Ok((binary, environment))
}

fn register(dir: &Path) -> Result<String> {
    std::fs::create_dir_all(dir.join("policy"))?;
    std::fs::write(dir.join("policy/load.rego"), POLICY)?;
    let tools: serde_json::Map<String, Value> = (0..1000)
        .map(|n| (format!("tool{n}"), true.into()))
        .collect();
    std::fs::write(
        dir.join("policy/data.json"),
        json!({"tools": {"ledger": tools}}).to_string(),
    )?;
    let (binary, environment) = writ(dir)?;
    let run = |arguments: &[&str]| -> Result<Value> {
        let output = Command::new(&binary)
            .envs(environment.clone())
            .arg("--json")
            .args(arguments)
            .output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    run(&[
        "server",
        "add",
        "ledger",
        "--resource",
        RESOURCE,
        "--audience",
        "urn:writ:ledger",
        "--enforcement",
        "guard",
    ])?;
    run(&[
        "agent",
        "add",
        "assistant",
        "--name",
        "Assistant",
        "--auth",
        "none",
        "--redirect-uri",
        "http://127.0.0.1/cb",
    ])?;
    let added = run(&["gateway", "add", "edge", "--server", "ledger"])?;
    Ok(added
        .get("secret")
        .and_then(Value::as_str)
        .ok_or("no secret was printed")?
        .to_owned())
}

struct Service {
    child: Child,
    gateway: String,
}

impl Service {
    /// Starts the service on the first core only.
    fn start(dir: &Path) -> Result<Self> {
        let (binary, environment) = writ(dir)?;
        let mut child = Command::new("taskset")
            .args(["-c", "0"])
            .arg(binary)
            .arg("serve")
            .envs(environment)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot run taskset (util-linux): {e}"))?;
        let stdout = child.stdout.take().ok_or("no output")?;
        let mut gateway = None;
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            if let Some(url) = line.strip_prefix("listening gateway ") {
                gateway = Some(url.to_owned());
            }
            if line == "ready" {
                break;
            }
        }
        Ok(Self {
            child,
            gateway: gateway.ok_or("the service did not start")?,
        })
    }

    /// User and system time so far, from `/proc`.
    fn cpu(&mut self) -> Result<Duration> {
        /// `USER_HZ`, which is 100 on every Linux that Rust runs on.
        const TICK: Duration = Duration::from_millis(10);
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, fields) = stat.rsplit_once(") ").ok_or("unexpected /proc/PID/stat")?;
        let ticks: u32 = fields
            .split(' ')
            .skip(11)
            .take(2)
            .map(|t| t.parse::<u32>().unwrap_or(0))
            .sum();
        Ok(TICK * ticks)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The running service's keys.
async fn keys(dir: &Path) -> Result<Keys> {
    let data_dir = dir.join("data").display().to_string();
    let config = Config::load(None, [("WRIT_DATA_DIR".to_owned(), data_dir)])?;
    let store = Store::open(&config.place()).await?;
    let keys = Keys::open(&store, &config, Arc::new(SystemClock)).await?;
    store.close().await;
    Ok(keys)
}

fn tokens(keys: &Keys) -> Result<Vec<String>> {
    let now = unix(Timestamp::now());
    let token = |n: usize| {
        keys.sign(&json!({
            "iss": ISSUER, "sub": format!("user{n}"), "aud": RESOURCE, "client_id": "assistant",
            "scope": "ledger:read ledger:write", "iat": now, "exp": now + 3600, "jti": secret::new_id(),
            "subject_type": "user", "agent_authn": "none", "groups": ["finance", "staff"],
        }))
    };
    Ok((0..SUBJECTS)
        .map(token)
        .collect::<std::result::Result<_, _>>()?)
}

fn form(token: &str, turn: usize) -> [(&'static str, String); 7] {
    let tool = format!("tool{}", turn % 1000);
    let body = json!({"jsonrpc": "2.0", "id": turn, "method": "tools/call",
                      "params": {"name": tool, "arguments": {"account": format!("acc-{turn}"), "amount": turn}}})
    .to_string();
    let digest = content_digest(body.as_bytes());
    let details = json!([{"type": "mcp_request", "server": "ledger", "method": "tools/call", "target": tool,
                          "content_digest": digest}]);
    let context = json!({"request_id": secret::new_id(), "time": "2026-11-23T18:00:00Z", "source_ip": "192.0.2.7",
                         "protocol_version": "2025-11-25", "headers": {}, "policy_revision": "0123456789abcdef"});
    [
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange".to_owned(),
        ),
        ("subject_token", token.to_owned()),
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:access_token".to_owned(),
        ),
        ("resource", RESOURCE.to_owned()),
        ("authorization_details", details.to_string()),
        ("mcp_message", URL_SAFE_NO_PAD.encode(body)),
        ("mcp_context", context.to_string()),
    ]
}

/// What signing alone takes on this machine.
fn sign_us(keys: &Keys) -> Result<f64> {
    let claims = json!({"iss": ISSUER, "sub": "alice", "aud": RESOURCE, "exp": 1, "iat": 1, "jti": secret::new_id()});
    let rounds = 2000;
    let started = Instant::now();
    for _ in 0..rounds {
        keys.sign(&claims)?;
    }
    Ok(started.elapsed().as_secs_f64() * 1e6 / f64::from(rounds))
}
