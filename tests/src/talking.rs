//! An MCP server for tests of what comes back: its tools tell secrets, fail, never end, or ask the client something.

use anyhow::Result;
use rmcp::model::{
    CallToolResult, ContentBlock, ProgressNotificationParam, ServerCapabilities, ServerConfig,
    ServerRequest,
};
use rmcp::service::{RequestContext, ServiceError};
use rmcp::{ErrorData, RoleServer, ServerHandler, tool, tool_handler, tool_router};
use serde_json::json;

use crate::serving::Serving;

/// The card number that [`TalkingServer`] tells.
pub const CARD: &str = "4111 1111 1111 1111";
/// The secret that it tells.
pub const SECRET: &str = "ghp_0123456789abcdefghijklmnopqrstuvwxyz";

/// A running server; stopped when dropped.
#[derive(Debug)]
pub struct TalkingServer {
    serving: Serving,
}

impl TalkingServer {
    /// Starts it.
    pub async fn start() -> Result<Self> {
        let serving = Serving::start(Tools).await?;
        Ok(Self { serving })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.serving.address().port()
    }
}

#[derive(Clone, Debug)]
struct Tools;

#[tool_router]
impl Tools {
    #[tool(
        name = "tell",
        description = "Tells a card number and a secret, as text and in a structure"
    )]
    async fn tell(&self) -> Result<CallToolResult, ErrorData> {
        Ok(CallToolResult::structured(
            json!({ "card": CARD, "notes": [format!("token: {SECRET}")], "left": 1 }),
        ))
    }

    #[tool(name = "fail", description = "Fails")]
    async fn fail(&self) -> Result<CallToolResult, ErrorData> {
        Ok(CallToolResult::error(vec![ContentBlock::text("no")]))
    }

    #[tool(name = "hang", description = "Says that it has begun, and never ends")]
    async fn hang(&self, context: RequestContext<RoleServer>) -> Result<String, ErrorData> {
        if let Some(token) = context.meta.get_progress_token() {
            let begun = ProgressNotificationParam::new(token, 1.0).with_message("begun");
            let _ = context.peer.notify_progress(begun).await;
        }
        std::future::pending().await
    }

    #[tool(
        name = "ask",
        description = "Asks the client for its roots and tells what it heard"
    )]
    async fn ask(&self, context: RequestContext<RoleServer>) -> Result<String, ErrorData> {
        #[expect(deprecated, reason = "what the session era has is what is tested")]
        let question = ServerRequest::ListRootsRequest(rmcp::model::ListRootsRequest {
            method: Default::default(),
            extensions: Default::default(),
        });
        let heard = context.peer.send_request(question).await;
        Ok(match heard {
            Ok(answer) => format!("answered {}", json!(answer)),
            Err(ServiceError::McpError(error)) => format!("declined {}", error.code.0),
            Err(other) => format!("failed {other}"),
        })
    }
}

#[tool_handler]
impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }
}
