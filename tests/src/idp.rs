//! The corporate identity provider: npm `oidc-provider`, a certified one, as a process of its own.
//!
//! Its pages take any password. Who may sign in there, and what it says about them, is given at the start.

use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::binaries::workspace;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::wait::PATIENCE;
use crate::{ports, tools};

/// What the token service is called there.
pub const CLIENT_ID: &str = "writ";
/// What it proves itself with there.
pub const CLIENT_SECRET: &str = "the secret that the provider gave";

/// A running provider. Killed when dropped.
#[derive(Debug)]
pub struct Idp {
    id: String,
    port: u16,
    settings: Value,
    process: Option<Process>,
}

impl Idp {
    /// Starts one that the token service at `issuer` knows by `id`, with these accounts: claims by login.
    pub async fn start(scratch: &Scratch, id: &str, issuer: &str, accounts: Value) -> Result<Self> {
        let port = ports::free()?;
        let client = json!({
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "redirect_uris": [format!("{issuer}/oauth/callback/{id}")],
            "post_logout_redirect_uris": [format!("{issuer}/oauth/logout/done")],
            "backchannel_logout_uri": format!("{issuer}/oauth/backchannel-logout/{id}"),
            "backchannel_logout_session_required": true,
        });
        let mut idp = Self {
            id: id.to_owned(),
            port,
            settings: json!({ "port": port, "clients": [client], "accounts": accounts }),
            process: None,
        };
        idp.restart(scratch).await?;
        Ok(idp)
    }

    /// Starts it again, with new keys and nobody signed in.
    pub async fn restart(&mut self, scratch: &Scratch) -> Result<()> {
        self.stop();
        let directory = workspace().join("tests/idp");
        ensure!(
            directory.join("node_modules/.package-lock.json").exists(),
            "the identity provider's packages are not installed: run `make deps`"
        );
        let mut command = Command::new(tools::node()?);
        command
            .arg(directory.join("idp.mjs"))
            .arg(self.settings.to_string());
        let mut process = Process::spawn(&format!("idp-{}", self.id), command, scratch.path())?;
        let url = format!("{}/.well-known/openid-configuration", self.url());
        let http = reqwest::Client::new();
        process
            .until(
                "the identity provider's discovery document",
                PATIENCE,
                async |_| {
                    http.get(&url)
                        .send()
                        .await
                        .ok()?
                        .status()
                        .is_success()
                        .then_some(())
                },
            )
            .await?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Its issuer identifier.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its entry in the token service's configuration, with more lines.
    pub fn entry(&self, more: &str) -> String {
        format!(
            "[[federation.provider]]\nid = {:?}\nname = \"Example {}\"\nissuer = {:?}\nclient_id = {CLIENT_ID:?}\n\
             client_secret_env = \"IDP_SECRET\"\n{more}\n",
            self.id,
            self.id.to_uppercase(),
            self.url()
        )
    }
}
