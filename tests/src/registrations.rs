//! What the end-to-end tests and the demo register at the token service: one server, one gateway, three agents,
//! one user.

use anyhow::Result;

use crate::oauth::AgentKey;
use crate::scratch::Scratch;
use crate::token_service::TokenService;

/// The gateway's id in the shipped YAML.
pub const GATEWAY: &str = "edge";
/// The server's id in the shipped YAML.
pub const SERVER: &str = "ledger";
/// The audience of tokens minted for the ledger.
pub const AUDIENCE: &str = "urn:example:ledger";
/// The scopes callers ask for.
pub const SCOPES: &str = "ledger:read ledger:write";
/// The agent that users sign in with.
pub const ASSISTANT: &str = "assistant";
/// Where the assistant is sent after a sign-in; nothing listens there, the script reads the redirect.
pub const REDIRECT_URI: &str = "http://localhost:33418/callback";
/// The autonomous agent with a key, registered for `reconcile` and `getAccount`.
pub const RECONCILER: &str = "nightly-reconciler";
/// An autonomous agent with a secret, registered for the same; handy where a test needs any caller's token.
pub const BATCH: &str = "batch";
/// The user.
pub const USER: &str = "alice";
/// The user's groups.
pub const GROUPS: [&str; 2] = ["finance", "treasury"];
/// The user's password.
pub const PASSWORD: &str = "correct horse battery staple";

/// The credentials that registering brought.
#[derive(Clone, Debug)]
pub struct Registrations {
    /// The public resource identifier of the ledger: the audience of callers' tokens.
    pub resource: String,
    /// The gateway's secret.
    pub gateway_secret: String,
    /// The ledger's secret for introspection.
    pub server_secret: String,
    /// The reconciler's key.
    pub key: AgentKey,
    /// The batch agent's secret.
    pub batch_secret: String,
}

impl Registrations {
    /// Registers everything through the command line, the user included.
    pub fn make(service: &TokenService, scratch: &Scratch, resource: &str) -> Result<Self> {
        let registered = Self::make_without_user(service, scratch, resource)?;
        let mut arguments = vec!["user", "add", USER, "--password-stdin"];
        arguments.extend(GROUPS.iter().flat_map(|group| ["--group", group]));
        service.cli_with_input(&arguments, PASSWORD)?;
        Ok(registered)
    }

    /// The same where users are an identity provider's.
    pub fn make_without_user(
        service: &TokenService,
        scratch: &Scratch,
        resource: &str,
    ) -> Result<Self> {
        let server_secret = server(service, resource)?;
        let gateway_secret =
            service.cli_secret(&["gateway", "add", GATEWAY, "--server", SERVER])?;
        let key = AgentKey::generate();
        let batch_secret = agents(service, scratch, &key)?;
        Ok(Self {
            resource: resource.to_owned(),
            gateway_secret,
            server_secret,
            key,
            batch_secret,
        })
    }
}

fn server(service: &TokenService, resource: &str) -> Result<String> {
    service.cli_secret(&[
        "server",
        "add",
        SERVER,
        "--resource",
        resource,
        "--audience",
        AUDIENCE,
        "--enforcement",
        "introspect",
        "--scope",
        "ledger:read",
        "--scope",
        "ledger:write",
        "--label",
        "owner=finance",
    ])
}

/// Registers the three agents; returns the batch agent's secret.
fn agents(service: &TokenService, scratch: &Scratch, key: &AgentKey) -> Result<String> {
    service.cli(&[
        "agent",
        "add",
        ASSISTANT,
        "--name",
        "Assistant",
        "--redirect-uri",
        REDIRECT_URI,
        "--auth",
        "none",
        "--grant",
        "authorization_code",
        "--grant",
        "refresh_token",
    ])?;
    let jwks = scratch.write("reconciler.jwks.json", key.jwks()?.to_string())?;
    service.cli(&[
        "agent",
        "add",
        RECONCILER,
        "--name",
        "Nightly reconciler",
        "--auth",
        "key",
        "--jwks",
        &jwks.display().to_string(),
        "--grant",
        "client_credentials",
        "--tool",
        "ledger:reconcile",
        "--tool",
        "ledger:getAccount",
    ])?;
    service.cli_secret(&[
        "agent",
        "add",
        BATCH,
        "--name",
        "Batch",
        "--auth",
        "secret",
        "--grant",
        "client_credentials",
        "--tool",
        "ledger:reconcile",
        "--tool",
        "ledger:getAccount",
    ])
}
