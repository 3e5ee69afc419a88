//! `writ connect`: a server on standard streams behind an endpoint with the guard's checks, as a client of both eras and
//! as somebody without a token find it.

use std::{future::pending, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use writ_core::message::content_digest;
use writ_token_service::{
    audit::{Record, Verdict},
    connect::{
        ConnectError, Connected, Identity, Passed, Place, Registration, RegistrationError,
        ServiceError, Settings, StartError,
    },
    registry::Status,
    secret::{self, SecretHash},
    store::{
        initial_tokens::{self, InitialToken},
        registrations::Registered,
    },
};

use crate::{
    follower::{Follower, key_of},
    harness::{Form, GUARD, RESOURCE, Service},
    process::writ,
    waiting::{PATIENCE, until},
};

const POLICY: &str = r#"package writ
call := {"allow": true, "reason": "whatever it is"}
registration := {"decision": "hold", "reason": "a person decides"}
"#;
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";

/// A connected server, and the service that mints for it.
struct Setup {
    service: Service,
    connected: Connected,
}

async fn service() -> Service {
    Service::start_with(|config| {
        let dir = config.policy_dir.clone().unwrap();
        std::fs::write(dir.join("test.rego"), POLICY).unwrap();
    })
    .await
}

fn guarded_by(gateway: &str, secret: &str) -> Identity {
    Identity::Guarded {
        server: "ledger".to_owned(),
        gateway: gateway.to_owned(),
        secret: Some(secret.to_owned().into()),
        snapshot_key: None,
    }
}

fn settings(service: &Service, speaks: &str) -> Settings {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/service/connect/server.py");
    Settings {
        place: Place::Loopback(service.gateway_url("/").parse().unwrap()),
        identity: guarded_by(GUARD, &service.guard_secret),
        listen: "127.0.0.1:0".parse().unwrap(),
        hosts: Vec::new(),
        origins: Vec::new(),
        local_single_use: false,
        command: ["python3".into(), script.into(), speaks.into()].into(),
        passed: Vec::new(),
        max_sessions: 4,
        idle: Duration::from_secs(600),
        start_time: PATIENCE,
        grace: Duration::from_secs(5),
        max_message: 64 * 1024,
    }
}

/// Asks for a token for a message, or for a request without one.
fn form(service: &Service, message: &Value) -> Form {
    // An answer to the one question that the server has.
    let Some(method) = message["method"].as_str() else {
        let context =
            json!({"request_id": "r", "source_ip": "::1", "answers": "elicitation/create"});
        let digest = content_digest(message.to_string().as_bytes());
        let details = json!([{"type": "mcp_request", "server": "ledger",
            "method": "response/elicitation/create", "content_digest": digest}]);
        let mut named = message.clone();
        named["method"] = "response/elicitation/create".into();
        return Form::new(&service.caller_token(), &named)
            .with("authorization_details", details.to_string())
            .with("mcp_message", URL_SAFE_NO_PAD.encode(message.to_string()))
            .with("mcp_context", context.to_string());
    };
    let discovery = method.starts_with("notifications/")
        || [
            "initialize",
            "tools/list",
            "prompts/list",
            "server/discover",
            "stream/open",
        ]
        .contains(&method);
    let is_bodiless = ["stream/open", "session/close"].contains(&method);
    let form = if is_bodiless {
        let context = json!({"request_id": "r", "source_ip": "::1", "method": method});
        Form::new(&service.caller_token(), message)
            .with("mcp_message", "")
            .with("mcp_context", context.to_string())
    } else {
        Form::new(&service.caller_token(), message)
    };
    let details = if discovery {
        json!([{"type": "mcp_discovery", "server": "ledger"}])
    } else if is_bodiless {
        json!([{"type": "mcp_request", "server": "ledger", "method": method, "content_digest": content_digest(b"")}])
    } else {
        return form;
    };
    form.with("authorization_details", details.to_string())
}

fn call(tool: &str, arguments: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
}

/// The same, of the stateless era.
fn stateless(mut message: Value) -> Value {
    message["params"]["_meta"][VERSION] = "2026-07-28".into();
    message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    message
}

impl Setup {
    async fn start(speaks: &str) -> Self {
        Self::start_with(speaks, |_| {}).await
    }

    async fn start_with(speaks: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let service = service().await;
        let mut settings = settings(&service, speaks);
        change(&mut settings);
        let connected = Connected::start(settings, pending()).await.unwrap();
        Self { service, connected }
    }

    fn url(&self) -> String {
        format!("http://{}/mcp", self.connected.address)
    }

    async fn token(&self, message: &Value) -> String {
        let response = self.service.exchange(&form(&self.service, message)).await;
        let status = response.status();
        let answer: Value = response.json().await.unwrap();
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// Sends a message with this token.
    async fn post_with(&self, token: &str, session: Option<&str>, message: &Value) -> Response {
        let mut request = self
            .service
            .http
            .post(self.url())
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json")
            .bearer_auth(token)
            .body(message.to_string());
        if let Some(session) = session {
            request = request.header("mcp-session-id", session);
        }
        request.send().await.unwrap()
    }

    /// Sends a message with a token of its own.
    async fn post(&self, session: Option<&str>, message: &Value) -> Response {
        let token = self.token(message).await;
        self.post_with(&token, session, message).await
    }

    async fn bodiless(&self, method: &str, session: &str) -> Response {
        let (token, http) = (
            self.token(&json!({"method": method})).await,
            &self.service.http,
        );
        let request = match method {
            "stream/open" => http.get(self.url()).header("accept", "text/event-stream"),
            _ => http.delete(self.url()),
        };
        let request = request.bearer_auth(token).header("mcp-session-id", session);
        request.send().await.unwrap()
    }

    /// Begins a session.
    async fn initialize(&self) -> String {
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
        let response = self.post(None, &hello).await;
        assert_eq!(response.status(), StatusCode::OK);
        let session = response.headers()["mcp-session-id"]
            .to_str()
            .unwrap()
            .to_owned();
        let answer: Value = response.json().await.unwrap();
        assert_eq!(
            answer["result"]["protocolVersion"], "2025-11-25",
            "{answer}"
        );
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let response = self.post(Some(&session), &initialized).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        session
    }

    /// What a tool answers.
    async fn text(&self, session: Option<&str>, message: &Value) -> String {
        let answer: Value = self.post(session, message).await.json().await.unwrap();
        let text = answer["result"]["content"][0]["text"].as_str();
        text.unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    async fn rogues(&self) -> Vec<Record> {
        let records = self.service.records().await;
        records
            .into_iter()
            .filter(|r| r.kind.as_str() == "rogue")
            .collect()
    }
}

/// The messages of a stream, as they come.
struct Events(Response, String);

impl Events {
    fn of(response: Response) -> Self {
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self(response, String::new())
    }

    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((event, rest)) = self.1.split_once("\n\n") {
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                let message = data.map(|data| serde_json::from_str(data).unwrap());
                self.1 = rest.to_owned();
                if message.is_some() {
                    return message;
                }
                continue;
            }
            let chunk = tokio::time::timeout(PATIENCE, self.0.chunk()).await;
            let chunk = chunk.expect("an event in time").unwrap()?;
            self.1.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_a_process_of_its_own_from_initialize_to_delete() {
    let setup = Setup::start("sessions").await;
    let (one, two) = (setup.initialize().await, setup.initialize().await);
    let pid = call("pid", &json!({}));
    let first = setup.text(Some(&one), &pid).await;
    assert_eq!(first, setup.text(Some(&one), &pid).await);
    assert_ne!(first, setup.text(Some(&two), &pid).await);

    let list = json!({"jsonrpc": "2.0", "id": "l", "method": "tools/list"});
    let tools: Value = setup.post(Some(&one), &list).await.json().await.unwrap();
    assert_eq!(
        (&tools["id"], &tools["result"]["tools"][0]["name"]),
        (&"l".into(), &"echo".into())
    );

    let closed = setup.bodiless("session/close", &one).await;
    assert_eq!(closed.status(), StatusCode::NO_CONTENT);
    assert!(
        !Path::new(&format!("/proc/{first}")).exists(),
        "its process has ended"
    );
    let after = setup.post(Some(&one), &pid).await;
    assert_eq!(after.status(), StatusCode::NOT_FOUND);
    setup.connected.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_bounded_and_end_when_nobody_uses_them() {
    let setup = Setup::start_with("sessions", |settings| {
        settings.max_sessions = 1;
        settings.idle = Duration::from_secs(5);
    })
    .await;
    setup.initialize().await;
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}});
    let second = setup.post(None, &hello).await;
    assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
    let told: Value = second.json().await.unwrap();
    assert!(
        told["error"]["message"]
            .as_str()
            .unwrap()
            .contains("all 1 sessions"),
        "{told}"
    );
    let takes = async || {
        let status = setup.post(None, &hello).await.status();
        (status == StatusCode::OK).then_some(())
    };
    until("room once the idle session has ended", takes).await;
    setup.connected.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_good_for_whoever_began_it_only() {
    let setup = Setup::start("sessions").await;
    let session = setup.initialize().await;
    let message = call("pid", &json!({}));
    let mut claims = setup.service.caller_claims();
    claims["sub"] = "mallory".into();
    let theirs = Form::new(&setup.service.sign(&claims), &message);
    let answer: Value = setup.service.exchange(&theirs).await.json().await.unwrap();
    let token = answer["access_token"].as_str().unwrap();
    let stolen = setup.post_with(token, Some(&session), &message).await;
    assert_eq!(stolen.status(), StatusCode::NOT_FOUND);
    setup.text(Some(&session), &message).await;
    setup.connected.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_without_a_session_share_a_process_and_keep_their_ids() {
    let setup = Setup::start("sessions,stateless").await;
    let pid = stateless(call("pid", &json!({})));
    let first = setup.text(None, &pid).await;
    assert_eq!(first, setup.text(None, &pid).await);

    let mut progress = stateless(call("progress", &json!({})));
    progress["params"]["_meta"]["progressToken"] = "mine".into();
    let mut events = Events::of(setup.post(None, &progress).await);
    assert_eq!(
        events.next().await.unwrap()["params"]["progressToken"],
        "mine"
    );
    let answer = events.next().await.unwrap();
    assert_eq!(
        (&answer["id"], &answer["result"]["content"][0]["text"]),
        (&1.into(), &"done".into())
    );
    assert_eq!(events.next().await, None);

    let listen = stateless(
        json!({"jsonrpc": "2.0", "id": "sub", "method": "subscriptions/listen", "params": {}}),
    );
    let mut events = Events::of(setup.post(None, &listen).await);
    let event = events.next().await.unwrap();
    assert_eq!(
        event["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
        "sub"
    );

    let unknown =
        stateless(json!({"jsonrpc": "2.0", "id": 5, "method": "prompts/list", "params": {}}));
    let refused = setup.post(None, &unknown).await;
    assert_eq!(refused.status(), StatusCode::NOT_FOUND);
    assert_eq!(
        refused.json::<Value>().await.unwrap()["error"]["code"],
        -32601
    );

    // The same server also has sessions.
    let session = setup.initialize().await;
    assert_ne!(
        first,
        setup.text(Some(&session), &call("pid", &json!({}))).await
    );
    setup.connected.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_speaks_one_era_answers_the_other_as_it_would_itself() {
    let setup = Setup::start("sessions").await;
    let discover =
        stateless(json!({"jsonrpc": "2.0", "id": 7, "method": "server/discover", "params": {}}));
    let refused = setup.post(None, &discover).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    let told: Value = refused.json().await.unwrap();
    assert_eq!(
        (&told["id"], &told["error"]["code"]),
        (&7.into(), &(-32000).into()),
        "{told}"
    );
    let unnamed = setup.post(None, &call("echo", &json!({"text": "x"}))).await;
    assert_eq!(unnamed.status(), StatusCode::BAD_REQUEST);
    setup.connected.stop().await;

    let setup = Setup::start("stateless").await;
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}});
    let refused = setup.post(None, &hello).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert!(!refused.headers().contains_key("mcp-session-id"));
    assert_eq!(
        refused.json::<Value>().await.unwrap()["error"]["code"],
        -32022
    );
    setup.connected.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_crashes_is_started_again_and_whoever_waits_is_told() {
    let setup = Setup::start("sessions,stateless").await;
    let pid = stateless(call("pid", &json!({})));
    let before = setup.text(None, &pid).await;
    let crash = setup
        .post(None, &stateless(call("crash", &json!({}))))
        .await;
    assert_eq!(crash.status(), StatusCode::OK);
    let told: Value = crash.json().await.unwrap();
    assert_eq!(
        told["error"]["message"], "the MCP server ended (exit status: 3)",
        "{told}"
    );
    assert_eq!(told["id"], 1);
    assert_ne!(before, setup.text(None, &pid).await);

    // A session ends with its process: what it remembered is gone.
    let session = setup.initialize().await;
    let crash = setup.post(Some(&session), &call("crash", &json!({}))).await;
    let told: Value = crash.json().await.unwrap();
    assert_eq!(
        told["error"]["message"], "the MCP server ended (exit status: 3)",
        "{told}"
    );
    let after = setup.post(Some(&session), &call("pid", &json!({}))).await;
    assert_eq!(after.status(), StatusCode::NOT_FOUND);
    setup.initialize().await;
    setup.connected.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_too_large_is_an_error_and_a_new_process() {
    let setup = Setup::start("stateless").await;
    let large = stateless(call("large", &json!({"size": 100_000})));
    let told: Value = setup.post(None, &large).await.json().await.unwrap();
    let message = told["error"]["message"].as_str().unwrap();
    assert!(message.contains("more than 65536 bytes"), "{told}");
    let echo = stateless(call("echo", &json!({"text": "again"})));
    assert_eq!(setup.text(None, &echo).await, "again");
    let body = stateless(call("echo", &json!({"text": "x".repeat(100_000)})));
    let refused = setup.post(None, &body).await;
    assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
    setup.connected.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_client_goes_away_is_cancelled() {
    let setup = Setup::start("sessions").await;
    let session = setup.initialize().await;
    let mut events = Events::of(setup.post(Some(&session), &call("wait", &json!({}))).await);
    assert_eq!(events.next().await.unwrap()["params"]["data"], "waiting");
    // With the only request gone, what the server says next is for the session's own stream.
    drop(events);
    let mut own = Events::of(setup.bodiless("stream/open", &session).await);
    let again = setup.post(Some(&session), &call("wait", &json!({}))).await;
    let mut events = Events::of(again);
    assert_eq!(events.next().await.unwrap()["params"]["data"], "waiting");
    // Its id was free again: the first one is not in flight any more.
    let cancel =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    let response = setup.post(Some(&session), &cancel).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    assert_eq!(
        events.next().await,
        None,
        "a request that its client cancelled has no answer"
    );
    setup.connected.stop().await;
    assert_eq!(own.next().await, None, "the session's stream ends with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_servers_process_has_a_clean_environment() {
    let setup = Setup::start_with("sessions", |settings| {
        settings.passed = vec![Passed::parse("CARGO_MANIFEST_DIR").unwrap()];
    })
    .await;
    let session = setup.initialize().await;
    let names = setup.text(Some(&session), &call("env", &json!({}))).await;
    let names: Vec<&str> = names.split(' ').collect();
    assert!(names.contains(&"PATH"), "{names:?}");
    // What runs python3 may set more; of what cargo gave this process only what was named comes through.
    let of_cargo: Vec<_> = names
        .iter()
        .filter(|name| name.starts_with("CARGO"))
        .collect();
    assert_eq!(of_cargo, [&"CARGO_MANIFEST_DIR"]);
    let more = std::env::vars().any(|(name, _)| name.starts_with("CARGO_PKG_"));
    assert!(more, "there was more to come through");
    setup.connected.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_once_and_for_its_own_message() {
    for local in [false, true] {
        let setup =
            Setup::start_with("stateless", |settings| settings.local_single_use = local).await;
        let echo = |text: &str| stateless(call("echo", &json!({"text": text})));
        let token = loop {
            let token = setup.token(&echo("hi")).await;
            let answer = setup.post_with(&token, None, &echo("hi")).await;
            // A process that is new cannot know what was used before it.
            if answer.status() == StatusCode::SERVICE_UNAVAILABLE && local {
                continue;
            }
            assert_eq!(answer.status(), StatusCode::OK, "{:?}", answer.text().await);
            break token;
        };
        let again = setup.post_with(&token, None, &echo("hi")).await;
        assert_eq!(again.status(), StatusCode::UNAUTHORIZED, "local: {local}");
        let token = setup.token(&echo("hi")).await;
        let other = setup.post_with(&token, None, &echo("other")).await;
        assert_eq!(other.status(), StatusCode::UNAUTHORIZED);
        let told: Value = other.json().await.unwrap();
        assert!(
            told["error"]["message"]
                .as_str()
                .unwrap()
                .contains("the body is not the one"),
            "{told}"
        );
        let words: Vec<Value> = setup
            .rogues()
            .await
            .into_iter()
            .map(|r| r.detail.unwrap()["credential"].clone())
            .collect();
        assert_eq!(words, ["replay", "wrong_binding"], "local: {local}");
        setup.connected.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_past_the_gateway_is_refused_and_on_record() {
    let setup = Setup::start("sessions").await;
    let message = call("echo", &json!({"text": "hi"}));
    for (credential, word) in [
        (None, "none"),
        (Some("Bearer ghp_0123456789".to_owned()), "github"),
        (
            Some(format!("Bearer {}", setup.service.caller_token())),
            "caller_token",
        ),
    ] {
        let mut request = setup.service.http.post(setup.url());
        if let Some(credential) = &credential {
            request = request.header("authorization", credential);
        }
        let request = request
            .header("accept", "application/json, text/event-stream")
            .json(&message);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{word}");
        assert_eq!(
            response.headers()["www-authenticate"],
            "Bearer error=\"invalid_token\""
        );
        let rogues = setup.rogues().await;
        let record = rogues
            .iter()
            .find(|r| r.detail.as_ref().unwrap()["credential"] == word);
        let record = record.unwrap_or_else(|| panic!("{word} is not on record: {rogues:?}"));
        assert_eq!(record.server.as_deref(), Some("ledger"));
        assert_eq!(record.source_ip.as_deref(), Some("127.0.0.1"));
        assert!(!format!("{record:?}").contains("0123456789"));
    }
    let hello = setup
        .service
        .http
        .get(setup.url())
        .header("accept", "text/event-stream")
        .send()
        .await
        .unwrap();
    assert_eq!(hello.status(), StatusCode::UNAUTHORIZED);
    setup.connected.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_page_and_another_host_are_refused_before_anything_is_looked_at() {
    let setup = Setup::start("sessions").await;
    let message = call("echo", &json!({"text": "hi"}));
    let post = |name: &'static str, value: &'static str| {
        let request = setup.service.http.post(setup.url()).header(name, value);
        request.json(&message).send()
    };
    let rebound = post("host", "evil.example").await.unwrap();
    assert_eq!(rebound.status(), StatusCode::MISDIRECTED_REQUEST);
    let page = post("origin", "https://evil.example").await.unwrap();
    assert_eq!(page.status(), StatusCode::FORBIDDEN);
    assert!(setup.rogues().await.is_empty());
    // The gateway asks for what it was asked for itself.
    let host = RESOURCE
        .trim_start_matches("http://")
        .trim_end_matches("/mcp");
    let gateways = post("host", host).await.unwrap();
    assert_eq!(gateways.status(), StatusCode::UNAUTHORIZED);
    setup.connected.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_passes_while_the_service_is_away() {
    let setup = Setup::start("stateless").await;
    let message = stateless(call("echo", &json!({"text": "hi"})));
    let token = setup.token(&message).await;
    let Setup { service, connected } = setup;
    let url = format!("http://{}/mcp", connected.address);
    let http = service.http.clone();
    service.running.stop().await;
    let request = http
        .post(url)
        .header("accept", "application/json, text/event-stream");
    let response = request
        .bearer_auth(token)
        .json(&message)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    connected.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_of_the_servers_is_answered_in_its_session_once() {
    let setup = Setup::start("sessions").await;
    let (session, other) = (setup.initialize().await, setup.initialize().await);
    let mut events = Events::of(setup.post(Some(&session), &call("ask", &json!({}))).await);
    let question = events.next().await.unwrap();
    assert_eq!(question["method"], "elicitation/create");

    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept"}});
    let unasked = setup.post(Some(&other), &answer).await;
    assert_eq!(unasked.status(), StatusCode::BAD_REQUEST);
    let taken = setup.post(Some(&session), &answer).await;
    assert_eq!(taken.status(), StatusCode::ACCEPTED);
    let result = events.next().await.unwrap();
    assert_eq!(
        (&result["id"], &result["result"]["content"][0]["text"]),
        (&1.into(), &"{\"action\": \"accept\"}".into())
    );
    let again = setup.post(Some(&session), &answer).await;
    assert_eq!(again.status(), StatusCode::BAD_REQUEST);
    setup.connected.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_when_it_ends_is_told() {
    let setup = Setup::start_with("sessions", |settings| settings.grace = Duration::ZERO).await;
    let session = setup.initialize().await;
    let mut events = Events::of(setup.post(Some(&session), &call("ask", &json!({}))).await);
    events.next().await.unwrap();
    setup.connected.stop().await;
    let told = events.next().await.unwrap();
    let message = told["error"]["message"].as_str().unwrap();
    assert!(message.contains("stopped"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_start_says_why() {
    let service = service().await;
    let start = async |command: &[&str]| {
        let command = command.iter().map(Into::into).collect();
        let settings = Settings {
            command,
            start_time: Duration::from_secs(1),
            ..settings(&service, "")
        };
        Connected::start(settings, pending()).await.unwrap_err()
    };
    let error = start(&["/no/such/program", "x"]).await;
    assert!(
        matches!(error, ConnectError::Start(StartError::Program { .. })),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("cannot run `/no/such/program x`"),
        "{error}"
    );
    let error = start(&["sh", "-c", "echo 'no such module' >&2; exit 4"]).await;
    assert!(error.to_string().contains("(exit status: 4)"), "{error}");
    assert!(error.to_string().contains("no such module"), "{error}");
    let error = start(&["cat"]).await;
    assert!(
        matches!(
            error,
            ConnectError::Start(
                StartError::Ended { .. } | StartError::Silent { .. } | StartError::Refused { .. }
            )
        ),
        "{error}"
    );
    let error = start(&["sleep", "600"]).await;
    assert!(
        matches!(error, ConnectError::Start(StartError::Silent { .. })),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_guards_its_own_servers_only() {
    let service = service().await;
    let settings = || settings(&service, "sessions");
    let mut other = settings();
    other.identity = guarded_by("core", &service.core_secret);
    let error = Connected::start(other, pending()).await.unwrap_err();
    assert!(
        matches!(
            error,
            ConnectError::Service(ServiceError::NotItsGuard { .. })
        ),
        "{error}"
    );
    let mut gateway = settings();
    gateway.identity = guarded_by("edge", &service.gateway_secret);
    let error = Connected::start(gateway, pending()).await.unwrap_err();
    assert!(
        matches!(error, ConnectError::Service(ServiceError::NoGuard(_))),
        "{error}"
    );
    let mut wrong = settings();
    let key = key_of(&service.guard_secret);
    wrong.identity = guarded_by(GUARD, &format!("wrong.{key}"));
    let error = Connected::start(wrong, pending()).await.unwrap_err();
    assert!(
        matches!(error, ConnectError::Service(ServiceError::Unauthorized(_))),
        "{error}"
    );
    let mut keyless = settings();
    keyless.identity = guarded_by(GUARD, "no-key");
    let error = Connected::start(keyless, pending()).await.unwrap_err();
    assert!(
        matches!(error, ConnectError::Service(ServiceError::NoKey(_))),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_registers_itself_once_waits_for_approval_and_is_its_own_guard() {
    let service = service().await;
    let file = service.dir.path().join("registration.json");
    let registering = |token: Option<&str>| {
        let registration = Registration {
            issuer: service.public_url(""),
            resource: "http://127.0.0.1:10000/files".to_owned(),
            token: token.map(|token| token.to_owned().into()),
            file: file.clone(),
        };
        Settings {
            identity: Identity::Registering(registration),
            ..settings(&service, "sessions")
        }
    };
    let error = Connected::start(registering(None), pending())
        .await
        .unwrap_err();
    let none = matches!(
        error,
        ConnectError::Registration(RegistrationError::NoToken(_))
    );
    assert!(none, "{error}");
    let error = Connected::start(registering(Some("wrong")), pending())
        .await
        .unwrap_err();
    let refused = matches!(
        error,
        ConnectError::Registration(RegistrationError::Refused { .. })
    );
    assert!(refused, "{error}");
    assert!(!file.exists(), "nothing is left in the way of the next try");

    let token = secret::generate();
    let initial = InitialToken {
        id: "t".to_owned(),
        owner: "files".to_owned(),
        labels: std::collections::BTreeMap::new(),
        count: 1,
        used: 0,
        expires_at: "2100-01-01T00:00:00Z".to_owned(),
    };
    let mut tx = service.store().write().await.unwrap();
    initial_tokens::add(
        tx.conn(),
        &initial,
        &SecretHash::of(&token),
        Timestamp::now(),
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let waiting = tokio::spawn(Connected::start(registering(Some(&token)), pending()));
    let registers = async || {
        assert!(!waiting.is_finished(), "it ended before it was registered");
        let servers = service.store().servers().await.unwrap();
        servers.into_iter().find(|s| s.owner == "files")
    };
    let server = until("server that registers itself", registers).await;
    assert_eq!(server.status, Status::Pending);
    assert!(
        server.tools.contains(&"echo".to_owned()),
        "{:?}",
        server.tools
    );
    assert!(!waiting.is_finished());
    let id = server.id.to_string();
    service
        .store()
        .decide(Registered::Server, &id, Verdict::Allow, Timestamp::now())
        .await
        .unwrap();
    let connected = waiting.await.unwrap().unwrap();
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let url = format!("http://{}/mcp", connected.address);
    let message = call("echo", &json!({"text": "hi"}));
    let refused = service.http.post(url).json(&message).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    let records = service.records().await;
    let rogue = records.iter().find(|r| r.kind.as_str() == "rogue").unwrap();
    assert_eq!(rogue.server.as_deref(), Some(id.as_str()));
    connected.stop().await;

    // It is the same server the next time, and its secret is good for nothing but guarding itself.
    let again = Connected::start(registering(None), pending())
        .await
        .unwrap();
    again.stop().await;
    let kept: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let secret = kept["introspection_secret"].as_str();
    let itself = Follower::up_to_date(&service, &id, secret.unwrap()).await;
    assert_eq!(itself.servers().keys().collect::<Vec<_>>(), [&id]);
    assert_eq!(itself.revision(), "none");
    let minting = service
        .http
        .post(service.gateway_url("/oauth/token"))
        .basic_auth(&id, secret)
        .form(&Form::new(&service.caller_token(), &message).0)
        .send()
        .await
        .unwrap();
    assert_eq!(minting.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_told_to_end_while_it_starts_leaves_nothing_behind() {
    let service = service().await;
    let file = service.dir.path().join("pid");
    let mut settings = settings(&service, "sessions");
    // As npx does: the server proper is started by what is started.
    let script = format!("sleep 600 & echo $! > {}; wait", file.display());
    settings.command = ["sh".into(), "-c".into(), script.into()].into();
    let look = async || {
        let pid = std::fs::read_to_string(&file).ok()?;
        pid.ends_with('\n').then_some(())
    };
    let is_there = until("process id", look);
    let error = Connected::start(settings, is_there).await.unwrap_err();
    assert!(matches!(error, ConnectError::ToldToEnd), "{error}");
    let pid = std::fs::read_to_string(&file).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    let status = status.unwrap_or_default();
    assert!(status.is_empty() || status.contains(") Z "), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_listened_for_is_said_before_anything_is_registered() {
    let service = service().await;
    let file = service.dir.path().join("registration.json");
    let mut settings = settings(&service, "sessions");
    settings.identity = Identity::Registering(Registration {
        issuer: service.public_url(""),
        resource: "http://127.0.0.1:10000/late".to_owned(),
        token: Some("whatever".to_owned().into()),
        file: file.clone(),
    });
    settings.origins = vec!["no origin".to_owned()];
    let error = Connected::start(settings, pending()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Hosts(_)), "{error}");
    assert!(!file.exists());
}

#[test]
fn secrets_are_neither_sent_in_clear_nor_read_from_files_that_others_read() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "s").unwrap();
    let told = |arguments: &[&str]| {
        let mut command = writ(dir.path());
        command
            .env("WRIT_REGISTRATION_TOKEN", "t")
            .args(["connect", "--listen", "127.0.0.1:0"]);
        let output = command.args(arguments).args(["--", "true"]).output();
        let output = output.unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let file = dir.path().join("registration.json").display().to_string();
    let register = ["--register", &file, "--resource", "http://127.0.0.1:1/mcp"];
    let elsewhere = [&register[..], &["--issuer", "http://writ.example.com"]].concat();
    assert!(
        told(&elsewhere).contains("in clear"),
        "{}",
        told(&elsewhere)
    );

    let path = secret.display().to_string();
    let guarded = [
        "--server",
        "ledger",
        "--gateway",
        "g",
        "--secret-file",
        &path,
    ];
    let identity = [
        "--server",
        "ledger",
        "--gateway",
        "g",
        "--service",
        "https://writ.example.com",
        "--identity-file",
        &path,
    ];
    for (mode, private) in [(0o644, false), (0o640, false), (0o600, true)] {
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(mode)).unwrap();
        for arguments in [&guarded[..], &identity] {
            let told = told(arguments);
            assert_eq!(told.contains("chmod 600"), !private, "{mode:o} {told}");
        }
    }
}
