//! `writ connect` behind a real gateway: servers on standard streams as people start them, with npx and uvx, called by
//! every SDK in both eras, and by somebody who goes past the gateway.

use serde_json::{Value, json};
use writ_tests::clients::{Sdk, Story};
use writ_tests::connector::{self, Connector, GUARD};
use writ_tests::deployment::{self, Deployment};
use writ_tests::mcp::{self, Era};
use writ_tests::wait::{PATIENCE, until};
use writ_tests::{ports, tools};

const POLICY: &str = "package writ\n\ncall := {\"allow\": true}\n\nvisible := call\n";

/// A gateway, and behind it a server on standard streams.
struct Setup {
    writ: Deployment,
    connector: Connector,
    token: String,
}

impl Setup {
    async fn start(name: &str, options: connector::Options) -> Self {
        let port = ports::free().unwrap();
        let writ = Deployment::start(deployment::Options {
            policy: Some(POLICY.to_owned()),
            upstream: Some(port),
            ..deployment::Options::named(name)
        })
        .await
        .unwrap();
        let connector = Connector::start(&writ.service, &writ.scratch, port, options)
            .await
            .unwrap();
        let token = writ.batch_token().await.unwrap();
        Self {
            writ,
            connector,
            token,
        }
    }

    async fn play(&self, sdk: Sdk, steps: &Value) -> Vec<Value> {
        let answers = Story::play(sdk, &self.writ.url(), Some(&self.token), steps)
            .await
            .unwrap();
        let wanted = steps.as_array().unwrap().len();
        assert!(answers.len() >= wanted, "{sdk:?}: {answers:?}");
        answers
    }

    /// What a tool says to rmcp.
    async fn text(&self, era: Era, tool: &str, arguments: Value) -> String {
        let client = mcp::connect(&self.writ.url(), &self.token, era)
            .await
            .unwrap();
        let result = mcp::call(&client, tool, arguments).await;
        let result = result.unwrap_or_else(|error| panic!("{era:?}: {error}"));
        client.cancel().await.unwrap();
        let result = serde_json::to_value(result).unwrap();
        text(&result).to_owned()
    }
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("{result}"))
}

/// The reference server, by npx.
fn npx() -> connector::Options {
    let node = tools::node().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let beside = node
        .parent()
        .map(|dir| dir.display().to_string())
        .unwrap_or_default();
    connector::Options {
        options: Vec::new(),
        command: ["npx", "--no-install", "mcp-server-everything", "stdio"]
            .map(str::to_owned)
            .into(),
        env: vec![("PATH".to_owned(), format!("{path}:{beside}"))],
        directory: Some(tools::typescript_clients().unwrap()),
    }
}

/// A server of ours on the Python SDK, by uvx.
fn uvx() -> connector::Options {
    let mut command = tools::uvx().unwrap();
    let cache = tools::uv_cache().to_string_lossy().into_owned();
    let script = tools::python_clients().join("stdio_server.py");
    command.push(script.to_string_lossy().into_owned());
    connector::Options {
        options: ["--pass-env", "UV_CACHE_DIR"].map(str::to_owned).into(),
        command,
        env: vec![("UV_CACHE_DIR".to_owned(), cache)],
        directory: None,
    }
}

/// Whether a process of this id runs.
fn runs(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}

#[tokio::test]
async fn the_reference_server_by_npx_works_for_every_sdk_and_sees_no_secret() {
    let setup = Setup::start("connect-npx", npx()).await;
    let steps = json!([
        { "list": true },
        { "call": "echo", "arguments": { "message": "hello" } },
        { "call": "get-sum", "arguments": { "a": 2, "b": 3 } },
        { "call": "get-env", "arguments": {} },
    ]);
    for sdk in Sdk::ALL {
        let answers = setup.play(sdk, &steps).await;
        let tools = answers[0]["tools"]
            .as_array()
            .unwrap_or_else(|| panic!("{sdk:?}: {answers:?}"));
        assert!(tools.contains(&json!("echo")), "{sdk:?}: {tools:?}");
        assert_eq!(text(&answers[1]["result"]), "Echo: hello", "{sdk:?}");
        assert_eq!(
            text(&answers[2]["result"]),
            "The sum of 2 and 3 is 5.",
            "{sdk:?}"
        );
        let env: Value = serde_json::from_str(text(&answers[3]["result"])).unwrap();
        let names: Vec<&str> = env
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert!(names.contains(&"PATH"), "{names:?}");
        let ours = |name: &&&str| {
            name.starts_with("WRIT") || name.starts_with("CARGO") || name.contains("SECRET")
        };
        assert_eq!(names.iter().find(ours), None, "{names:?}");
        assert!(
            !env.to_string().contains(&setup.token),
            "the caller's token"
        );
    }
    assert_eq!(
        setup
            .text(Era::Sessions, "echo", json!({"message": "rmcp"}))
            .await,
        "Echo: rmcp"
    );
}

#[tokio::test]
async fn a_server_by_uvx_works_for_every_sdk_in_both_eras() {
    let setup = Setup::start("connect-uvx", uvx()).await;
    let steps = json!([
        { "list": true },
        { "call": "echo", "arguments": { "text": "hello" } },
        { "call": "count", "arguments": { "to": 3 }, "progress": true },
    ]);
    for sdk in Sdk::ALL {
        let answers = setup.play(sdk, &steps).await;
        assert_eq!(
            answers[0]["tools"],
            json!(["echo", "environment", "process", "count", "greet", "crash"]),
            "{sdk:?}"
        );
        assert_eq!(text(&answers[1]["result"]), "hello", "{sdk:?}");
        let progress = answers
            .iter()
            .filter(|answer| answer.get("progress").is_some());
        assert_eq!(progress.count(), 3, "{sdk:?}: {answers:?}");
        assert_eq!(
            text(&answers.last().unwrap()["result"]),
            "counted to 3",
            "{sdk:?}"
        );
    }
    for era in Era::ALL {
        assert_eq!(
            setup.text(era, "echo", json!({"text": "rmcp"})).await,
            "rmcp",
            "{era:?}"
        );
    }
    // Sessions do not share a process, requests without one do.
    let mut pids = Vec::new();
    for era in [Era::Sessions, Era::Sessions, Era::Stateless, Era::Stateless] {
        pids.push(setup.text(era, "process", json!({})).await);
    }
    assert_ne!(pids[0], pids[1]);
    assert_eq!(pids[2], pids[3]);
}

#[tokio::test]
async fn a_server_asks_the_user_through_the_gateway() {
    let setup = Setup::start("connect-asks", uvx()).await;
    let post = |session: Option<&str>, message: Value| {
        let mut request = setup
            .writ
            .http
            .post(setup.writ.url())
            .bearer_auth(&setup.token)
            .header("accept", "application/json, text/event-stream")
            .json(&message);
        if let Some(session) = session {
            request = request
                .header("mcp-session-id", session)
                .header("mcp-protocol-version", "2025-11-25");
        }
        request.send()
    };
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}}, "clientInfo": {"name": "t", "version": "1"}}});
    let begun = post(None, hello).await.unwrap();
    let session = begun.headers()["mcp-session-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(
        post(Some(&session), initialized).await.unwrap().status(),
        202
    );

    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "greet", "arguments": {}}});
    let mut stream = post(Some(&session), call).await.unwrap();
    let mut seen = String::new();
    while !seen.contains("elicitation/create") {
        let chunk = stream
            .chunk()
            .await
            .unwrap()
            .unwrap_or_else(|| panic!("no question in {seen}"));
        seen += std::str::from_utf8(&chunk).unwrap();
    }
    let question = mcp::message_in(&seen).unwrap();
    let answer = json!({"jsonrpc": "2.0", "id": question["id"],
        "result": {"action": "accept", "content": {"name": "Ada"}}});
    let taken = post(Some(&session), answer.clone()).await.unwrap();
    assert_eq!(taken.status(), 202, "{}", taken.text().await.unwrap());
    let answered = mcp::message_in(&stream.text().await.unwrap()).unwrap();
    assert_eq!(text(&answered["result"]), "hello Ada", "{answered}");
}

#[tokio::test]
async fn a_crash_is_told_and_mended_and_the_end_leaves_nothing_behind() {
    let mut setup = Setup::start("connect-crash", uvx()).await;
    let before = setup.text(Era::Stateless, "process", json!({})).await;
    let client = mcp::connect(&setup.writ.url(), &setup.token, Era::Stateless)
        .await
        .unwrap();
    let crash = mcp::call(&client, "crash", json!({})).await.unwrap_err();
    assert!(
        crash
            .to_string()
            .contains("the MCP server ended (exit status: 3)"),
        "{crash}"
    );
    let after = until("the server to run again", PATIENCE, async || {
        mcp::call(&client, "process", json!({})).await.ok()
    })
    .await
    .unwrap();
    let after = serde_json::to_value(after).unwrap();
    let after = text(&after).to_owned();
    assert_ne!(before, after);
    assert!(!runs(&before) && runs(&after));

    let ended = setup.connector.process.terminate(PATIENCE).await.unwrap();
    assert!(
        ended.success(),
        "{ended}: {}",
        setup.connector.process.log()
    );
    assert!(!runs(&after), "what it started has ended before it");
}

#[tokio::test]
async fn a_server_ends_even_if_whoever_started_it_is_killed() {
    let mut setup = Setup::start("connect-killed", uvx()).await;
    let pid = setup.text(Era::Stateless, "process", json!({})).await;
    assert!(runs(&pid));
    setup.connector.process.kill();
    until("the end of the server", PATIENCE, async || {
        (!runs(&pid)).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_call_past_the_gateway_is_refused_and_on_record() {
    let setup = Setup::start("connect-rogue", uvx()).await;
    let http = &setup.writ.http;
    for (credential, kind) in [
        (None, "none"),
        (Some("ghp_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"), "github"),
        (Some(setup.token.as_str()), "caller_token"),
    ] {
        let mut request = http
            .post(setup.connector.url())
            .header("accept", "application/json, text/event-stream")
            .json(&mcp::call_message("echo", &json!({"text": "hi"})));
        if let Some(credential) = credential {
            request = request.bearer_auth(credential);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 401, "{kind}");
        let record = setup
            .writ
            .audit_record(kind, |record| record["detail"]["credential"] == kind)
            .await
            .unwrap();
        assert_eq!(record["kind"], "rogue", "{record}");
        assert_eq!(record["server"], "ledger", "{record}");
        assert_eq!(record["gateway"], GUARD, "{record}");
        assert_eq!(record["source_ip"], "127.0.0.1", "{record}");
        assert!(
            credential.is_none_or(|c| !record.to_string().contains(c)),
            "{record}"
        );
    }
}

#[tokio::test]
async fn a_command_that_is_no_server_ends_with_a_reason() {
    let scratch = writ_tests::scratch::Scratch::new("connect-broken").unwrap();
    let service = writ_tests::token_service::TokenService::start(&scratch, Default::default())
        .await
        .unwrap();
    service
        .cli(&[
            "server",
            "add",
            "ledger",
            "--resource",
            "http://127.0.0.1:1/mcp",
            "--audience",
            "urn:l",
            "--enforcement",
            "guard",
        ])
        .unwrap();
    let secret = service
        .cli_secret(&[
            "gateway", "add", GUARD, "--kind", "guard", "--server", "ledger",
        ])
        .unwrap();
    let connect = |command: &[&str], secret: Option<&str>| {
        let mut writ = std::process::Command::new(service.binary());
        writ.args([
            "connect",
            "--server",
            "ledger",
            "--gateway",
            GUARD,
            "--listen",
            "127.0.0.1:0",
        ])
        .args([
            "--service",
            &format!("http://127.0.0.1:{}", service.gateway_port()),
        ])
        .arg("--")
        .args(command)
        .env_remove("WRIT_GATEWAY_SECRET");
        if let Some(secret) = secret {
            writ.env("WRIT_GATEWAY_SECRET", secret);
        }
        let output = writ.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let told = connect(&["no-such-program", "--flag"], Some(&secret));
    assert!(
        told.contains("cannot run `no-such-program --flag`"),
        "{told}"
    );
    let told = connect(&["sh", "-c", "echo broken >&2; exit 4"], Some(&secret));
    assert!(
        told.contains("does not start")
            && told.contains("exit status: 4")
            && told.contains("broken"),
        "{told}"
    );
    let told = connect(&["true"], None);
    assert!(told.contains("WRIT_GATEWAY_SECRET"), "{told}");
    let key = secret.rsplit_once('.').unwrap().1;
    let told = connect(&["true"], Some(&format!("wrong.{key}")));
    assert!(told.contains("does not know `laptop`"), "{told}");
}
