//! Speaking MCP: with rmcp, as an application does, and by hand, where a test needs to see the bytes.

use std::collections::HashMap;

use anyhow::{Context, Result};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use rmcp::model::{CallToolRequestParams, CallToolResult, ClientConfig, ProtocolVersion};
use rmcp::service::{RoleClient, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::auth::{AuthClient, AuthorizationManager, AuthorizationRequest, OAuthState};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt, ServiceError};
use serde::Serialize;
use serde_json::{Value, json};
use url::Url;

/// The two ways in which MCP has been spoken over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// Up to 2025-11-25: `initialize`, sessions, GET streams.
    Sessions,
    /// From 2026-07-28: every request stands alone.
    Stateless,
}

impl Era {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Sessions, Self::Stateless];

    fn lifecycle(self) -> ClientLifecycleMode {
        match self {
            Self::Sessions => ClientLifecycleMode::Initialize,
            Self::Stateless => ClientLifecycleMode::Discover {
                preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            },
        }
    }
}

/// A connected rmcp client.
pub type McpClient = RunningService<RoleClient, ClientConfig>;

/// Connects rmcp to `url` with this bearer token.
pub async fn connect(url: &str, token: &str, era: Era) -> Result<McpClient> {
    connect_as(ClientConfig::default(), url, token, era).await
}

/// The same for a client that has answers of its own to what a server asks.
pub async fn connect_as<H: ClientHandler>(
    handler: H,
    url: &str,
    token: &str,
    era: Era,
) -> Result<RunningService<RoleClient, H>> {
    crate::provide_tls();
    let config = StreamableHttpClientTransportConfig::with_uri(url)
        .auth_header(token)
        .custom_headers(HashMap::new());
    let transport = StreamableHttpClientTransport::from_config(config);
    handler
        .serve_with_lifecycle(transport, era.lifecycle())
        .await
        .with_context(|| format!("cannot connect to {url}"))
}

/// A stock application with rmcp in it, as it names itself.
#[derive(Clone, Debug, Serialize)]
pub struct Application {
    /// Where a sign-in's answer goes.
    pub redirect_uri: String,
    /// The URL of its metadata document, where it has one.
    pub metadata_url: Option<String>,
}

/// Signs a user in at whatever issuer the server at `url` names and connects; answers the `client_id` too, as
/// registered on the way. `visit` sends the user's browser to a page and answers where it ended up.
pub async fn sign_in(
    url: &str,
    application: &Application,
    era: Era,
    visit: impl AsyncFnOnce(&str) -> Result<Url>,
) -> Result<(McpClient, String)> {
    let mut state = OAuthState::new(url, None).await?;
    let mut request = AuthorizationRequest::new(&application.redirect_uri)
        .with_client_name("A stock rmcp client");
    if let Some(document) = &application.metadata_url {
        request = request.with_client_metadata_url(document);
    }
    state.start_authorization(request).await?;
    let landed = visit(&state.get_authorization_url().await?).await?;
    state.handle_callback_url(landed.as_str()).await?;
    let (client_id, _) = state.get_credentials().await?;
    let manager = state
        .into_authorization_manager()
        .context("rmcp has no tokens to go on with")?;
    let client = connect_authorized(url, manager, era).await?;
    Ok((client, client_id))
}

/// Connects rmcp to `url` with tokens that it looks after itself.
pub async fn connect_authorized(
    url: &str,
    manager: AuthorizationManager,
    era: Era,
) -> Result<McpClient> {
    let transport = StreamableHttpClientTransport::with_client(
        AuthClient::new(reqwest::Client::new(), manager),
        StreamableHttpClientTransportConfig::with_uri(url),
    );
    ClientConfig::default()
        .serve_with_lifecycle(transport, era.lifecycle())
        .await
        .with_context(|| format!("cannot connect to {url}"))
}

/// Calls a tool.
pub async fn call<H: ClientHandler>(
    client: &RunningService<RoleClient, H>,
    tool: &str,
    arguments: Value,
) -> Result<CallToolResult, ServiceError> {
    let arguments = arguments.as_object().cloned().unwrap_or_default();
    client
        .call_tool(CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments))
        .await
}

/// A `tools/call` message of the stateless era, ready to be posted.
pub fn call_message(tool: &str, arguments: &Value) -> Value {
    json!({
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": tool,
            "arguments": arguments,
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": { "name": "writ-tests", "version": "0" },
            },
        },
    })
}

/// A POST of a tool call with the headers of the stateless era; the body may still be replaced.
pub fn post_call(
    http: &reqwest::Client,
    url: &str,
    token: &str,
    tool: &str,
    arguments: &Value,
) -> reqwest::RequestBuilder {
    http.post(url)
        .bearer_auth(token)
        .header(ACCEPT, "application/json, text/event-stream")
        .header(CONTENT_TYPE, "application/json")
        .header("MCP-Protocol-Version", "2026-07-28")
        .header("Mcp-Method", "tools/call")
        .header("Mcp-Name", tool)
        .body(call_message(tool, arguments).to_string())
}

/// The JSON-RPC message in a response body, whether it came as JSON or as the last event of a stream.
pub fn message_in(body: &str) -> Result<Value> {
    let text = body
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("data:"))
        .filter(|_| !body.trim_start().starts_with('{'))
        .unwrap_or(body);
    serde_json::from_str(text.trim()).with_context(|| format!("no JSON-RPC message in {body:?}"))
}
