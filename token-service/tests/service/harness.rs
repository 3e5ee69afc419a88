//! A service in this process, on ports of its own, with two servers, two agents, a gateway for each server and a guard for the first.

use std::{
    collections::BTreeSet,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use writ_core::message::content_digest;
use writ_token_service::{
    audit::Record,
    clock::{Clock, SystemClock, unix},
    config::{Config, GatewayListen},
    registry::{
        Agent, AuthMethod, Enforcement, Gateway, GatewayKind, GatewayProof, Grant, Id, Server,
        Status,
    },
    secret::{self, SecretHash},
    serve::Running,
    snapshot::new_secret,
    store::{Place, Store, audit::Filter},
};

use crate::database;

pub const RESOURCE: &str = "http://127.0.0.1:10000/mcp";
pub const AUDIENCE: &str = "urn:writ:ledger";
pub const OTHER_RESOURCE: &str = "http://127.0.0.1:10000/other";
pub const OTHER_AUDIENCE: &str = "urn:writ:other";

/// The guard of the first server.
pub const GUARD: &str = "ledger-guard";

const POLICY: &str = r#"package writ
import rego.v1
default call := {"allow": false, "reason": "only echo is allowed"}
call := {"allow": true, "reason": "echo is for everybody"} if input.mcp.tool == "echo"
call := {"allow": true, "obligations": {"ttl_s": 5, "scopes": ["ledger:read", "never:had"]}} if input.mcp.tool == "brief"
call := {"allow": false, "reason": "personal data", "scopes": ["ledger:read", "ledger:personal"]} if input.mcp.tool == "personal"
call := {"allow": true, "reason": "looking around"} if input.mcp.method in {"initialize", "tools/list", "stream/open"}
call := {"allow": true, "reason": "closing"} if input.mcp.method == "session/close"
call := {"allow": false, "reason": "enough for today"} if {
	input.mcp.tool == "limited"
	input.task.calls_today >= 2
}
call := {"allow": true, "reason": input.task.purpose} if {
	input.mcp.tool == "limited"
	input.task.calls_today < 2
}
default task := {"allow": false, "reason": "only the month's end is worth a task"}
task := {"allow": true, "tools": {"ledger": ["echo", "limited"]}, "max_calls": 3} if input.task.purpose == "month's end"
"#;

/// The machine's clock, set otherwise at will: by so many seconds.
#[derive(Debug, Default)]
pub struct Moved(pub AtomicI64);

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        Timestamp::now() + SignedDuration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

pub struct Service {
    pub dir: TempDir,
    pub running: Running,
    pub http: Client,
    pub gateway_secret: String,
    /// Of the gateway of the other server.
    pub core_secret: String,
    /// Of the first server's guard.
    pub guard_secret: String,
    pub server_secret: String,
    pub other_secret: String,
}

impl Service {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_by(Arc::new(SystemClock), change).await
    }

    /// By this clock.
    pub async fn start_at(clock: Arc<dyn Clock>) -> Self {
        Self::start_by(clock, |_| {}).await
    }

    async fn start_by(clock: Arc<dyn Clock>, change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let policy = dir.path().join("policy");
        std::fs::create_dir(&policy).unwrap();
        std::fs::write(policy.join("test.rego"), POLICY).unwrap();
        let mut config = Config::load(None, []).unwrap();
        config.data_dir = dir.path().join("data");
        config.policy_dir = Some(policy);
        config.public = "127.0.0.1:0".parse().unwrap();
        config.gateway = GatewayListen::Loopback("127.0.0.1:0".parse().unwrap());
        change(&mut config);
        let place = || place(&config.data_dir);
        config.store = Some(config.store.take().unwrap_or_else(place));
        let secrets = register(&config).await;
        let running = Running::start(config, clock, None).await.unwrap();
        let [
            server_secret,
            other_secret,
            gateway_secret,
            core_secret,
            guard_secret,
        ] = secrets;
        Self {
            dir,
            running,
            http: Client::new(),
            gateway_secret,
            core_secret,
            guard_secret,
            server_secret,
            other_secret,
        }
    }

    pub fn store(&self) -> &Store {
        &self.running.app.store
    }

    /// A store of its own on the same database, as another process has it.
    pub async fn elsewhere(&self) -> Store {
        Store::open(&self.running.app.config.place()).await.unwrap()
    }

    /// Another service on the same database, under the same issuer's name.
    pub async fn beside(&self) -> Running {
        let mine = &self.running.app.config;
        let issuer = ("WRIT_ISSUER".to_owned(), mine.issuer.clone());
        let mut config = Config::load(None, [issuer]).unwrap();
        config.data_dir.clone_from(&mine.data_dir);
        config.store.clone_from(&mine.store);
        config.policy_dir.clone_from(&mine.policy_dir);
        config.public = "127.0.0.1:0".parse().unwrap();
        config.gateway = GatewayListen::Loopback("127.0.0.1:0".parse().unwrap());
        Running::start(config, Arc::new(SystemClock), None)
            .await
            .unwrap()
    }

    pub fn gateway_url(&self, path: &str) -> String {
        gateway_url(&self.running, path)
    }

    pub fn public_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.running.public)
    }

    /// The claims of a good caller's token.
    pub fn caller_claims(&self) -> Value {
        let now = unix(Timestamp::now());
        json!({
            "iss": self.running.app.config.issuer, "sub": "alice", "aud": RESOURCE, "client_id": "assistant",
            "scope": "ledger:read ledger:write", "iat": now, "exp": now + 600, "jti": secret::new_id(),
            "subject_type": "user", "agent_authn": "none", "groups": ["finance"],
        })
    }

    pub fn sign(&self, claims: &Value) -> String {
        self.running.app.keys.sign(claims).unwrap()
    }

    pub fn caller_token(&self) -> String {
        self.sign(&self.caller_claims())
    }

    pub async fn exchange(&self, form: &Form) -> Response {
        self.exchange_at(&self.running, form).await
    }

    /// The same at another service.
    pub async fn exchange_at(&self, running: &Running, form: &Form) -> Response {
        let request = self.http.post(gateway_url(running, "/oauth/token"));
        request
            .basic_auth("edge", Some(&self.gateway_secret))
            .form(&form.0)
            .send()
            .await
            .unwrap()
    }

    /// A minted token for `message`, and the whole answer.
    pub async fn mint(&self, message: &Value) -> (String, Value) {
        let response = self
            .exchange(&Form::new(&self.caller_token(), message))
            .await;
        assert_eq!(
            response.status(),
            StatusCode::OK,
            "{:?}",
            response.text().await
        );
        let answer: Value = response.json().await.unwrap();
        (answer["access_token"].as_str().unwrap().to_owned(), answer)
    }

    pub async fn introspect(&self, form: &[(&str, &str)]) -> Value {
        let response = self
            .introspect_as("ledger", &self.server_secret, form)
            .await;
        assert_eq!(response.status(), StatusCode::OK);
        response.json().await.unwrap()
    }

    pub async fn introspect_as(
        &self,
        server: &str,
        secret: &str,
        form: &[(&str, &str)],
    ) -> Response {
        let request = self.http.post(self.public_url("/oauth/introspect"));
        request
            .basic_auth(server, Some(secret))
            .form(form)
            .send()
            .await
            .unwrap()
    }

    pub async fn report(&self, events: &Value) -> Response {
        self.report_as(("edge", &self.gateway_secret), events).await
    }

    pub async fn report_as(&self, (id, secret): (&str, &str), events: &Value) -> Response {
        let request = self.http.post(self.gateway_url("/gateway/v1/events"));
        request
            .basic_auth(id, Some(secret))
            .json(&json!({"events": events}))
            .send()
            .await
            .unwrap()
    }

    /// The trail without the administrator's records of the set-up.
    pub async fn records(&self) -> Vec<Record> {
        let entries = self
            .store()
            .newest_records(&Filter::default(), 100_000)
            .await
            .unwrap();
        entries
            .into_iter()
            .map(|e| e.record)
            .filter(|r| r.kind.as_str() != "admin")
            .collect()
    }
}

pub fn gateway_url(running: &Running, path: &str) -> String {
    let GatewayListen::Loopback(address) = &running.gateway else {
        panic!("not on TCP")
    };
    format!("http://{address}{path}")
}

/// Where the tests' store for a data directory is.
pub fn place(data_dir: &Path) -> Place {
    match database::url_of(data_dir) {
        Some(url) => Place::Postgres(Box::new(url)),
        None => Place::Directory(data_dir.to_owned()),
    }
}

async fn register(config: &Config) -> [String; 5] {
    let store = Store::open(&config.place()).await.unwrap();
    let now = Timestamp::now();
    let mut secrets = [const { String::new() }; 5];
    for secret in &mut secrets {
        let made = new_secret(&store, &config.keys.sealing).await.unwrap();
        *secret = made.to_string();
    }
    let server = |id: &str, resource: &str, audience: &str, secret: &str| Server {
        // Each may call the other.
        may_call: vec![if id == "ledger" { "other" } else { "ledger" }.to_owned()],
        enforcement: Enforcement::Introspect,
        labels: [("owner".to_owned(), "finance".to_owned())].into(),
        scopes: vec!["ledger:read".to_owned(), "ledger:write".to_owned()],
        ..Server::new(
            Id::parse(id).unwrap(),
            resource.to_owned(),
            audience.to_owned(),
            SecretHash::of(secret),
        )
    };
    store
        .add_server(&server("ledger", RESOURCE, AUDIENCE, &secrets[0]), now)
        .await
        .unwrap();
    store
        .add_server(
            &server("other", OTHER_RESOURCE, OTHER_AUDIENCE, &secrets[1]),
            now,
        )
        .await
        .unwrap();
    for id in ["assistant", "helper"] {
        let agent = Agent {
            grants: vec![Grant::AuthorizationCode],
            tools: [
                ("ledger".to_owned(), vec!["echo".to_owned()]),
                ("other".to_owned(), vec!["x".to_owned()]),
            ]
            .into(),
            ..Agent::new(id.parse().unwrap(), id, AuthMethod::None)
        };
        store.add_agent(&agent, now).await.unwrap();
    }
    for (id, kind, secret, server) in [
        ("edge", GatewayKind::Gateway, &secrets[2], "ledger"),
        ("core", GatewayKind::Gateway, &secrets[3], "other"),
        (GUARD, GatewayKind::Guard, &secrets[4], "ledger"),
    ] {
        let gateway = Gateway {
            id: Id::parse(id).unwrap(),
            kind,
            proof: GatewayProof::Secret(SecretHash::of(secret)),
            servers: BTreeSet::from([server.to_owned()]),
            status: Status::Approved,
        };
        store.add_gateway(&gateway, now).await.unwrap();
    }
    store.close().await;
    secrets
}

/// A script of the Python clients, run by the Python that has what they need.
pub fn python(script: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let python = root.join(".venv/bin/python");
    assert!(
        python.exists(),
        "there is no {}: run `make deps`",
        python.display()
    );
    let mut command = Command::new(python);
    command.arg(root.join("tests/clients/python").join(script));
    command
}

pub fn call(tool: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {"text": "hi"}}})
}

/// The form of a token exchange, right until a test changes it.
#[derive(Clone)]
pub struct Form(pub Vec<(&'static str, String)>);

impl Form {
    pub fn new(subject_token: &str, message: &Value) -> Self {
        let body = message.to_string();
        let method = message["method"].as_str().unwrap();
        let details = if ["initialize", "tools/list"].contains(&method) {
            json!([{"type": "mcp_discovery", "server": "ledger"}])
        } else {
            let digest = content_digest(body.as_bytes());
            let mut one = json!({"type": "mcp_request", "server": "ledger", "method": method, "content_digest": digest});
            if let Some(name) = message["params"]["name"].as_str() {
                one["target"] = name.into();
            }
            json!([one])
        };
        let context = json!({
            "request_id": "req-1", "time": "2026-11-23T18:00:00Z", "source_ip": "192.0.2.7",
            "protocol_version": "2025-11-25", "headers": {"user-agent": "test"}, "policy_revision": "gateway-revision",
        });
        Self(vec![
            (
                "grant_type",
                "urn:ietf:params:oauth:grant-type:token-exchange".to_owned(),
            ),
            ("subject_token", subject_token.to_owned()),
            (
                "subject_token_type",
                "urn:ietf:params:oauth:token-type:access_token".to_owned(),
            ),
            (
                "requested_token_type",
                "urn:ietf:params:oauth:token-type:access_token".to_owned(),
            ),
            ("resource", RESOURCE.to_owned()),
            ("authorization_details", details.to_string()),
            ("mcp_message", URL_SAFE_NO_PAD.encode(body)),
            ("mcp_context", context.to_string()),
        ])
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.retain(|(n, _)| *n != name);
        self.0.push((name, value.into()));
        self
    }

    pub fn without(mut self, name: &'static str) -> Self {
        self.0.retain(|(n, _)| *n != name);
        self
    }
}

/// The status and the `error` of a refused request.
pub async fn refusal(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    (
        status,
        body["error"].as_str().unwrap_or_default().to_owned(),
    )
}
