//! An MCP server whose one tool says something, waits to be told, and only then says the rest: whether its
//! first words pass through a proxy before its last is then no question of timing.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use rmcp::model::{ProgressNotificationParam, ServerCapabilities, ServerConfig};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler, tool, tool_handler, tool_router};
use tokio::sync::Notify;

use crate::serving::Serving;

/// A running server; stopped when dropped.
#[derive(Debug)]
pub struct WaitingServer {
    go_on: Arc<Notify>,
    serving: Serving,
}

impl WaitingServer {
    /// Starts it.
    pub async fn start() -> Result<Self> {
        let go_on = Arc::new(Notify::new());
        let tools = Tools {
            go_on: Arc::clone(&go_on),
        };
        let serving = Serving::start(tools).await?;
        Ok(Self { go_on, serving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.serving.address()
    }

    /// Lets one waiting call say the rest.
    pub fn go_on(&self) {
        self.go_on.notify_one();
    }
}

#[derive(Clone, Debug)]
struct Tools {
    go_on: Arc<Notify>,
}

#[tool_router]
impl Tools {
    #[tool(
        name = "wait",
        description = "Reports progress, waits to be told, then answers"
    )]
    async fn wait(&self, context: RequestContext<RoleServer>) -> Result<String, ErrorData> {
        let token = context
            .meta
            .get_progress_token()
            .ok_or_else(|| ErrorData::invalid_params("a progress token is needed", None))?;
        let first = ProgressNotificationParam::new(token, 1.0).with_message("waiting");
        context
            .peer
            .notify_progress(first)
            .await
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        self.go_on.notified().await;
        Ok("the rest".to_owned())
    }
}

#[tool_handler]
impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }
}
