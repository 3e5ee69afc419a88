//! A server that registers itself at the issuer, once, and waits until it is approved.
//!
//! What the registration brings is kept in a file that only its owner reads: at the next start the server is the same.

use std::{
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{Client, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    audit::printable,
    http::outbound::{self, Outbound},
    oauth::metadata::Endpoints,
};

/// Tools that a registration may name.
const MAX_TOOLS: usize = 256;
/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 10;
/// How often it is asked whether somebody has decided.
const INTERVAL: Duration = Duration::from_secs(1);

/// How a server registers itself.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The issuer: the public side of the token service.
    pub issuer: String,
    /// The server's public URL, which is the gateway's.
    pub resource: String,
    /// The initial access token, where there is one.
    pub token: Option<SecretString>,
    /// Where what the registration brings is kept.
    pub file: PathBuf,
}

/// Why a server is not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// There is nothing to register with.
    #[error("{} is not there yet, and there is no initial access token to register with: set WRIT_REGISTRATION_TOKEN", .0.display())]
    NoToken(PathBuf),
    /// The file.
    #[error("cannot {action} {}: {source}", file.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// With which file.
        file: PathBuf,
        /// Why it did not work.
        source: io::Error,
    },
    /// No client for the issuer.
    #[error(transparent)]
    Client(#[from] outbound::OutboundError),
    /// The issuer does not answer.
    #[error("the issuer does not answer: {0}")]
    Away(String),
    /// It says no.
    #[error("the issuer refused the registration ({status}): {told}")]
    Refused {
        /// How.
        status: StatusCode,
        /// Why.
        told: String,
    },
    /// It answers something else.
    #[error("the issuer's answer cannot be read: {0}")]
    Answer(#[from] serde_json::Error),
}

/// A registered server, as the file has it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Registered {
    /// Its id.
    pub(super) server_id: String,
    /// Its secret.
    pub(super) introspection_secret: String,
    registration_access_token: String,
    registration_client_uri: String,
}

/// Where a registration stands.
#[derive(Debug, Deserialize)]
struct Standing {
    registration_status: String,
    #[serde(default)]
    registration_reason: String,
}

impl Registration {
    /// Registers a server that is at `upstream` and has these tools, unless that was done before, and waits until it
    /// is approved.
    ///
    /// # Errors
    /// When it cannot be registered, or somebody decides against it.
    pub(super) async fn registered(
        &self,
        upstream: &str,
        tools: impl Iterator<Item = &str>,
    ) -> Result<Registered, RegistrationError> {
        let outbound = Outbound::new(b"", Vec::new())?;
        let client = outbound.trusted();
        let registered = match self.read()? {
            Some(registered) => registered,
            None => self.register(client, upstream, tools).await?,
        };
        let mut told = String::new();
        loop {
            let request = client
                .get(&registered.registration_client_uri)
                .bearer_auth(&registered.registration_access_token);
            let standing: Standing = answer(request).await?;
            if standing.registration_status == "approved" {
                return Ok(registered);
            }
            let id = &registered.server_id;
            let now = format!(
                "registered as {id}, which waits for a person: `writ server approve {id}`{}",
                reason(&standing.registration_reason)
            );
            if now != told {
                tracing::warn!("{now}");
                told = now;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    async fn register(
        &self,
        client: &Client,
        upstream: &str,
        tools: impl Iterator<Item = &str>,
    ) -> Result<Registered, RegistrationError> {
        let token = self.token.as_ref();
        let token = token.ok_or_else(|| RegistrationError::NoToken(self.file.clone()))?;
        let metadata = json!({
            "resource": self.resource,
            "upstream": upstream,
            "tools": tools.take(MAX_TOOLS).collect::<Vec<_>>(),
            "enforcement": "guard",
        });
        let url = Endpoints::of(&self.issuer).url("/oauth/register/servers");
        let request = client.post(url).bearer_auth(token.expose_secret());
        // The file comes first: a registration whose secret could not be kept would be lost.
        let mut file = self.create()?;
        let registered = answer(request.json(&metadata)).await;
        let kept = registered.and_then(|registered: Registered| {
            let text = serde_json::to_vec_pretty(&registered)?;
            let written = file.write_all(&text).and_then(|()| file.sync_all());
            written.map_err(|source| self.failed("write", source))?;
            Ok(registered)
        });
        if kept.is_err() {
            // An empty file would be in the way of the next try.
            let _ = std::fs::remove_file(&self.file);
        }
        kept
    }

    fn create(&self) -> Result<std::fs::File, RegistrationError> {
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.file)
            .map_err(|source| self.failed("create", source))
    }

    fn read(&self) -> Result<Option<Registered>, RegistrationError> {
        match std::fs::read(&self.file) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.failed("read", source)),
        }
    }

    fn failed(&self, action: &'static str, source: io::Error) -> RegistrationError {
        let file = Path::to_path_buf(&self.file);
        RegistrationError::File {
            action,
            file,
            source,
        }
    }
}

fn reason(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(" ({})", printable(text))
    }
}

async fn answer<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, RegistrationError> {
    let away = |error: &dyn std::fmt::Display| RegistrationError::Away(error.to_string());
    let response = request.send().await.map_err(|error| away(&error))?;
    let status = response.status();
    let body = outbound::read(response, MAX_ANSWER).await;
    let body = body.map_err(|error| away(&error))?;
    if !status.is_success() {
        let told: Value = serde_json::from_slice(&body).unwrap_or_default();
        let told = ["error_description", "error"]
            .iter()
            .find_map(|member| told.get(member)?.as_str());
        return Err(RegistrationError::Refused {
            status,
            told: printable(told.unwrap_or("without a reason")),
        });
    }
    Ok(serde_json::from_slice(&body)?)
}
