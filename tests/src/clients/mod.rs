//! Clients in other languages: small scripts in `tests/clients`. A [`Story`] is an MCP SDK that plays the steps it is
//! given; a [`Script`] is any of them, told and telling one JSON object a line, so that a test can act between two.

mod script;

use anyhow::Result;
use serde_json::{Value, json};
use url::Url;

use crate::mcp::{Application, Era};

pub use script::Script;

/// An SDK, and the era it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sdk {
    /// npm `@modelcontextprotocol/sdk`, which knows sessions only.
    TypeScriptV1,
    /// npm `@modelcontextprotocol/client`.
    TypeScriptV2(Era),
    /// PyPI `mcp`.
    Python(Era),
}

impl Sdk {
    /// Every SDK in every era it speaks.
    pub const ALL: [Self; 5] = [
        Self::TypeScriptV1,
        Self::TypeScriptV2(Era::Sessions),
        Self::TypeScriptV2(Era::Stateless),
        Self::Python(Era::Sessions),
        Self::Python(Era::Stateless),
    ];

    /// How its script is told which era to speak.
    fn mode(self) -> &'static str {
        match self {
            Self::TypeScriptV1
            | Self::TypeScriptV2(Era::Sessions)
            | Self::Python(Era::Sessions) => "legacy",
            Self::TypeScriptV2(Era::Stateless) | Self::Python(Era::Stateless) => "auto",
        }
    }

    async fn start(self, told: &Value) -> Result<Script> {
        match self {
            Self::TypeScriptV1 => Script::node("sdk-v1.mjs", told).await,
            Self::TypeScriptV2(_) => Script::node("sdk-v2.mjs", told).await,
            Self::Python(_) => Script::python("story.py", told).await,
        }
    }
}

/// An SDK on its way through its steps.
#[derive(Debug)]
pub struct Story(Script);

impl Story {
    /// Starts the script. What a step can be is said in `tests/clients/ts/story.mjs`.
    pub async fn start(sdk: Sdk, url: &str, token: Option<&str>, steps: &Value) -> Result<Self> {
        let told = json!({ "url": url, "token": token, "mode": sdk.mode(), "steps": steps });
        sdk.start(&told).await.map(Self)
    }

    /// Starts the script without a token: it knows the server's URL, and is this application. Beside the steps above
    /// there are `{"pause": true}`, which ends with [`Self::go_on`], and `{"signed_in": true}`.
    pub async fn signing_in(
        sdk: Sdk,
        url: &str,
        application: &Application,
        steps: &Value,
    ) -> Result<Self> {
        let told = json!({ "url": url, "oauth": application, "mode": sdk.mode(), "steps": steps });
        sdk.start(&told).await.map(Self)
    }

    /// Tells an SDK that has printed `{"open": url}` where the browser ended up.
    pub async fn landed(&mut self, at: &Url) -> Result<()> {
        self.0.tell(&json!({ "landed": at })).await
    }

    /// Ends a pause.
    pub async fn go_on(&mut self) -> Result<()> {
        self.0.tell(&json!({})).await
    }

    /// The next line; none after the last.
    pub async fn next(&mut self) -> Result<Option<Value>> {
        self.0.next().await
    }

    /// All remaining lines.
    pub async fn rest(mut self) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        while let Some(line) = self.next().await? {
            all.push(line);
        }
        Ok(all)
    }

    /// Plays the whole story; answers what each step answered, or the one error of a connection that failed.
    pub async fn play(
        sdk: Sdk,
        url: &str,
        token: Option<&str>,
        steps: &Value,
    ) -> Result<Vec<Value>> {
        let mut lines = Self::start(sdk, url, token, steps).await?.rest().await?;
        if lines
            .first()
            .is_some_and(|line| line.get("connected").is_some())
        {
            lines.remove(0);
        }
        Ok(lines)
    }
}
