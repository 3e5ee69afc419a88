//! A server on each of the three SDKs that writes down the calls it understood, behind a filter of its own.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::Router;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ServerCapabilities,
    ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use writ_tests::scratch::Scratch;
use writ_tests::servers::Server;

/// What one understood so far: `{"tool", "arguments"}` for each call.
type Heard = Arc<Mutex<Vec<Value>>>;

/// See the module.
pub enum Witness {
    Process(Server),
    Rmcp { port: u16, heard: Heard },
}

impl Witness {
    /// One on each SDK.
    pub async fn all(scratch: &Scratch) -> [(&'static str, Self); 3] {
        let (typescript, python) = tokio::join!(
            Server::typescript_witness(scratch),
            Server::python_witness(scratch)
        );
        [
            ("TypeScript", Self::Process(typescript.unwrap())),
            ("Python", Self::Process(python.unwrap())),
            ("rmcp", Self::rmcp().await),
        ]
    }

    async fn rmcp() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (port, heard) = (listener.local_addr().unwrap().port(), Heard::default());
        let tools = Tools(Arc::clone(&heard));
        let mcp = StreamableHttpService::new(
            move || Ok(tools.clone()),
            Arc::new(LocalSessionManager::default()),
            StreamableHttpServerConfig::default(),
        );
        tokio::spawn(async move {
            let _ = axum::serve(listener, Router::new().route_service("/mcp", mcp)).await;
        });
        Self::Rmcp { port, heard }
    }

    pub fn port(&self) -> u16 {
        match self {
            Self::Process(server) => server.port(),
            Self::Rmcp { port, .. } => *port,
        }
    }

    /// What it understood so far.
    pub fn heard(&self) -> Vec<Value> {
        match self {
            Self::Process(server) => {
                let log = server.process().log();
                log.lines()
                    .filter_map(|line| serde_json::from_str(line).ok())
                    .collect()
            }
            Self::Rmcp { heard, .. } => heard.lock().unwrap().clone(),
        }
    }
}

#[derive(Clone, Debug)]
struct Tools(Heard);

impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let call = json!({ "tool": request.name, "arguments": request.arguments });
        self.0.lock().unwrap().push(call);
        Ok(CallToolResult::success(vec![ContentBlock::text("heard")]).into())
    }
}
