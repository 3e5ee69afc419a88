//! MCP that leaves past the gateway, on a real Envoy: seen, listed, registered, refused; and all else as it was.

use axum::Router;
use axum::routing::post;
use rmcp::model::ClientConfig;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientLifecycleMode, ClientServiceExt};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use writ_tests::egress;
use writ_tests::envoy::Envoy;
use writ_tests::mcp::{self, McpClient};
use writ_tests::scratch::Scratch;
use writ_tests::talking::TalkingServer;
use writ_tests::token_service::{Options, TokenService};
use writ_tests::wait::{PATIENCE, until};

struct World {
    egress: Envoy,
    service: TokenService,
    http: reqwest::Client,
    _scratch: Scratch,
}

impl World {
    async fn start(name: &str, replaced: Option<(&str, &str)>) -> Self {
        let scratch = Scratch::new(name).unwrap();
        let service = TokenService::start(&scratch, Options::default())
            .await
            .unwrap();
        let egress = egress::start(&scratch, &service, replaced).await.unwrap();
        let http = egress::client(&egress).unwrap();
        Self {
            egress,
            service,
            http,
            _scratch: scratch,
        }
    }

    async fn connect(&self, url: &str) -> anyhow::Result<McpClient> {
        let transport = StreamableHttpClientTransport::with_client(
            self.http.clone(),
            StreamableHttpClientTransportConfig::with_uri(url),
        );
        let client = ClientConfig::default();
        Ok(client
            .serve_with_lifecycle(transport, ClientLifecycleMode::Initialize)
            .await?)
    }

    /// What is found like this, once there is something.
    async fn found(&self, finding: &str) -> Vec<Value> {
        until(finding, PATIENCE, async || {
            let list = ["rogue", "list", "--finding", finding];
            let found = self.service.cli(&list).unwrap();
            (!found.is_empty()).then_some(found)
        })
        .await
        .unwrap()
    }
}

/// A server that is none of MCP, and answers with what it is sent.
async fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/upload", listener.local_addr().unwrap());
    let limit = axum::extract::DefaultBodyLimit::disable();
    let echo = post(async |body: axum::body::Bytes| body);
    let app = Router::new().route("/upload", echo).layer(limit);
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

/// Uploads come to an end as they are, small or large, JSON or not.
async fn pass_untouched(http: &reqwest::Client) {
    let url = echo().await;
    let large = json!({"data": "x".repeat(3_000_000)}).to_string();
    for (kind, body) in [
        ("application/json", r#"{"query":"{ tools }"}"#),
        ("application/json", large.as_str()),
        ("application/octet-stream", large.as_str()),
        ("application/json", "no JSON"),
    ] {
        let request = http.post(&url).header("content-type", kind);
        let answer = request.body(body.to_owned()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.text().await.unwrap() == body, "{kind}");
    }
}

#[tokio::test]
async fn a_server_that_nobody_registered_is_seen_listed_and_registered() {
    let world = World::start("egress", None).await;
    let server = TalkingServer::start().await.unwrap();
    let host = format!("127.0.0.1:{}", server.port());
    let url = format!("http://{host}/mcp");
    let client = world.connect(&url).await.unwrap();
    let told = mcp::call(&client, "tell", json!({})).await.unwrap();
    assert_eq!(told.is_error, Some(false));
    pass_untouched(&world.http).await;

    let listed = until("the tool in the inventory", PATIENCE, async || {
        let listed = world.service.cli(&["rogue", "servers"]).unwrap();
        let has_tool = listed.iter().any(|one| one["tools"] == json!(["tell"]));
        has_tool.then_some(listed)
    })
    .await
    .unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0]["host"], host);
    assert_eq!(listed[0]["path"], "/mcp");
    let name = listed[0]["clients"][0].as_str().unwrap();
    assert!(name.starts_with("rmcp/"), "{listed:?}");
    let found = world.found("shadow_server").await;
    assert_eq!(found[0]["detail"]["host"], host);
    assert_eq!(found[0]["decision"], Value::Null);

    let gateway = ["--gateway", "http://127.0.0.1:10000", "--owner", "team-a"];
    let adopt = [&["rogue", "adopt", &host][..], &gateway].concat();
    let adopted = world.service.cli(&adopt).unwrap().remove(0);
    assert_eq!(adopted["upstream"], url);
    let registered = world.service.cli(&["server", "list"]).unwrap().remove(0);
    assert_eq!(registered["id"], adopted["id"]);
    assert_eq!(registered["upstream"], url);
    assert_eq!(registered["tools"], json!(["tell"]));
    assert_eq!(registered["owner"], "team-a");
    assert!(world.service.cli(&["rogue", "servers"]).unwrap().is_empty());

    // It is known now, and should be reached through the gateway.
    mcp::call(&client, "tell", json!({})).await.unwrap();
    let found = world.found("gateway_bypass").await;
    assert_eq!(found[0]["server"], adopted["id"]);
}

#[tokio::test]
async fn a_server_that_nobody_registered_is_refused_where_that_is_configured() {
    let refuse = ("\"unknown\": \"record\"", "\"unknown\": \"refuse\"");
    let world = World::start("egress-refuses", Some(refuse)).await;
    let server = TalkingServer::start().await.unwrap();
    let url = format!("http://127.0.0.1:{}/mcp", server.port());
    let error = world.connect(&url).await.unwrap_err();
    assert!(
        format!("{error:#}").contains("is not registered"),
        "{error:#}"
    );
    let message = json!({"jsonrpc": "2.0", "id": "a", "method": "tools/list"});
    let answer = world.http.post(&url).json(&message).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["id"], "a");
    assert_eq!(answer["error"]["data"]["type"], "server_not_registered");
    pass_untouched(&world.http).await;
    let found = world.found("shadow_server").await;
    assert_eq!(found[0]["decision"], "deny");
    until("both in the metrics", PATIENCE, async || {
        let seen = world.egress.stat("wasmcustom.writ.shadow_servers").await;
        seen.is_ok_and(|seen| seen >= 2).then_some(())
    })
    .await
    .unwrap();
}
