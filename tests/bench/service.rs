//! The token service as it is released, with a thousand users who hold tokens for one server.

use std::sync::Arc;

use anyhow::Result;
use serde_json::json;
use writ_tests::binaries;
use writ_tests::guard::GUARD;
use writ_tests::scratch::Scratch;
use writ_tests::signer::{ACCESS_TOKEN, Signer, unix_now};
use writ_tests::token_service::{Options, TokenService};

use crate::load::Callers;
use crate::policy::{self, GROUP};

/// The MCP server's id.
pub const SERVER: &str = "bench";
/// The audience of tokens minted for it.
pub const AUDIENCE: &str = "urn:example:bench";
/// The gateway's id.
pub const GATEWAY: &str = "edge";
/// Users who call.
pub const SUBJECTS: u64 = 1_000;
/// Tools they call.
pub const TOOLS: u64 = 1_000;
/// The agent they call through.
pub const AGENT: &str = "assistant";
/// Longer than any run.
const TOKEN_LIFE_S: u64 = 4 * 60 * 60;

/// A running service, and what its callers and its gateway need.
#[derive(Debug)]
pub struct Bench {
    pub service: TokenService,
    pub gateway: &'static str,
    pub gateway_secret: String,
    /// Of the guard before the same server.
    pub guard_secret: String,
    /// Of the server itself.
    pub server_secret: String,
    pub resource: String,
    pub callers: Callers,
    /// Signs as the service does.
    pub signer: Signer,
}

impl Bench {
    /// Registers everything and starts the service, on SQLite.
    pub async fn start(scratch: &Scratch) -> Result<Self> {
        Self::start_on(scratch, None).await
    }

    /// The same on the PostgreSQL at this URL, if any.
    pub async fn start_on(scratch: &Scratch, postgres: Option<&str>) -> Result<Self> {
        let resource = "http://127.0.0.1/mcp".to_owned();
        for module in writ_policy::library::modules() {
            scratch.write(&format!("policy/{}", module.path), module.text)?;
        }
        scratch.write("policy/data.json", policy::data(TOOLS).to_string())?;
        let signer = Signer::generate();
        let options = Options {
            signer: Some(signer.clone()),
            policy: Some(scratch.path().join("policy")),
            binary: Some(binaries::writ_release()?),
            env: postgres
                .map(|url| ("WRIT_STORE_URL".to_owned(), url.to_owned()))
                .into_iter()
                .collect(),
            ..Options::default()
        };
        let mut service = TokenService::prepare(scratch, options)?;
        let server_secret = service.cli_secret(&[
            "server",
            "add",
            SERVER,
            "--resource",
            &resource,
            "--audience",
            AUDIENCE,
            "--enforcement",
            "introspect",
            "--scope",
            "bench:call",
        ])?;
        let gateway_secret =
            service.cli_secret(&["gateway", "add", GATEWAY, "--server", SERVER])?;
        let guard = ["gateway", "add", GUARD, "--kind", "guard"];
        let guard_secret = service.cli_secret(&[&guard[..], &["--server", SERVER]].concat())?;
        service.cli(&[
            "agent",
            "add",
            AGENT,
            "--name",
            "Assistant",
            "--auth",
            "none",
            "--grant",
            "authorization_code",
            "--redirect-uri",
            "http://127.0.0.1:33418/callback",
        ])?;
        service.serve().await?;
        let callers = callers(&signer, &service.issuer(), &resource)?;
        Ok(Self {
            service,
            gateway: GATEWAY,
            gateway_secret,
            guard_secret,
            server_secret,
            resource,
            callers,
            signer,
        })
    }
}

/// A token for each of [`SUBJECTS`] users.
pub fn callers(signer: &Signer, issuer: &str, resource: &str) -> Result<Callers> {
    let now = unix_now();
    let token = |n: u64| {
        let claims = json!({
            "iss": issuer,
            "sub": format!("user-{n}"),
            "aud": resource,
            "client_id": AGENT,
            "scope": "bench:call",
            "iat": now,
            "exp": now + TOKEN_LIFE_S,
            "jti": uuid::Uuid::now_v7().to_string(),
            "subject_type": "user",
            "agent_authn": "key",
            "groups": [format!("team-{}", n % 17), GROUP],
        });
        signer.sign(ACCESS_TOKEN, &claims)
    };
    Ok(Callers {
        tokens: Arc::new((0..SUBJECTS).map(token).collect::<Result<_>>()?),
        tools: TOOLS,
    })
}
