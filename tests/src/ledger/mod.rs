//! The "enterprise ledger": a real MCP server, and the example of one that verifies Writ's tokens by itself.
//!
//! To see what such a server has to do, read [`verify`] (the checks, top-down) and [`issuer`] (keys and
//! introspection); they stand before rmcp as one layer and know nothing of the tools. [`tools`] is the MCP
//! server proper, over the accounts in [`book`]; it speaks both wire eras that rmcp serves. [`tap`] is for the
//! demo and the tests alone: it plays the thief who reads what reaches the server.

pub mod book;
pub mod issuer;
pub mod tap;
pub mod tools;
pub mod verify;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use axum::middleware;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use book::Book;
use issuer::{Issuer, Registration};
use tap::Tap;
use tools::LedgerTools;
use verify::Verifier;

/// A running ledger; stopped when dropped.
#[derive(Debug)]
pub struct Ledger {
    address: SocketAddr,
    tap: Tap,
    book: Arc<Book>,
    serving: JoinHandle<()>,
}

impl Ledger {
    /// Starts a ledger that accepts nothing but tokens minted for it.
    pub async fn start(listener: TcpListener, registration: Registration) -> Result<Self> {
        let verifier = Arc::new(Verifier::new(Issuer::new(registration)));
        let guard = middleware::from_fn_with_state(verifier, verify::require_minted_token);
        Self::serve(listener, move |mcp| mcp.layer(guard)).await
    }

    /// Starts a ledger that believes everybody; for tests of what stands before it.
    pub async fn start_open(listener: TcpListener) -> Result<Self> {
        Self::serve(listener, |mcp| mcp).await
    }

    /// A listener for either, bound before the ledger's address has to be known elsewhere.
    pub async fn bind() -> Result<TcpListener> {
        Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?)
    }

    async fn serve(listener: TcpListener, guard: impl FnOnce(Router) -> Router) -> Result<Self> {
        let address = listener.local_addr()?;
        let (tap, book) = (Tap::default(), Arc::new(Book::with_example_accounts()));
        let for_sessions = Arc::clone(&book);
        let mcp = StreamableHttpService::new(
            move || Ok(LedgerTools::new(Arc::clone(&for_sessions))),
            Arc::new(LocalSessionManager::default()),
            StreamableHttpServerConfig::default(),
        );
        let app = guard(Router::new().route_service("/mcp", mcp))
            .layer(middleware::from_fn_with_state(tap.clone(), tap::listen));
        let serving = tokio::spawn(async move {
            // Ends only with the task: an accept error is retried by axum itself.
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self {
            address,
            tap,
            book,
            serving,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its MCP endpoint, past any gateway.
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// What reached it.
    pub fn tap(&self) -> &Tap {
        &self.tap
    }

    /// Its accounts.
    pub fn book(&self) -> &Book {
        &self.book
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
