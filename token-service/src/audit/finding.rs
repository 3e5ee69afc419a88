//! What is found that should not be, or that somebody may want to know: the kinds of [`Kind::Rogue`].

use jiff::Timestamp;
use serde_json::json;
use writ_policy::credential::Credential;

use super::{Kind, Record};

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A server was sent a credential that is none of its gateway's.
    ForeignCredential,
    /// A server was sent a minted token that is not for it, not for the message, or not good any more.
    MisusedToken,
    /// A server was sent a minted token again.
    ReplayedToken,
    /// An agent spoke MCP to a server that is in no registry.
    ShadowServer,
    /// An agent spoke MCP to a registered server past its gateway.
    GatewayBypass,
    /// An agent got its first token.
    NewAgent,
    /// A tool was called for the first time that nobody has registered or pinned.
    NewTool,
    /// An agent got a token for a user who never gave it leave here.
    UnapprovedAgent,
}

impl Finding {
    /// All of them, for the CLI's filter.
    pub const ALL: [Self; 8] = [
        Self::ForeignCredential,
        Self::MisusedToken,
        Self::ReplayedToken,
        Self::ShadowServer,
        Self::GatewayBypass,
        Self::NewAgent,
        Self::NewTool,
        Self::UnapprovedAgent,
    ];

    /// What it is that a server was sent this credential.
    #[must_use]
    pub fn of(credential: Credential) -> Self {
        match credential {
            Credential::Replay => Self::ReplayedToken,
            Credential::WrongBinding
            | Credential::ForeignToken
            | Credential::Expired
            | Credential::Disabled
            | Credential::Revoked => Self::MisusedToken,
            _ => Self::ForeignCredential,
        }
    }

    /// The word on record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ForeignCredential => "foreign_credential",
            Self::MisusedToken => "misused_token",
            Self::ReplayedToken => "replayed_token",
            Self::ShadowServer => "shadow_server",
            Self::GatewayBypass => "gateway_bypass",
            Self::NewAgent => "new_agent",
            Self::NewTool => "new_tool",
            Self::UnapprovedAgent => "unapproved_agent",
        }
    }

    /// What was found by a record, where it says.
    #[must_use]
    pub fn on(record: &Record) -> Option<Self> {
        let word = record.detail.as_ref()?.get("finding")?.as_str()?;
        Self::ALL.into_iter().find(|found| found.as_str() == word)
    }

    /// Whether it is news, and nothing that should not be.
    #[must_use]
    pub fn is_news(self) -> bool {
        matches!(self, Self::NewAgent | Self::NewTool)
    }

    /// What has happened, for people.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::ForeignCredential => {
                "a credential that no gateway minted was sent straight to a server"
            }
            Self::MisusedToken => "a minted token was used for what it is not good for",
            Self::ReplayedToken => "a minted token was used a second time",
            Self::ShadowServer => "an agent uses an MCP server that is not registered",
            Self::GatewayBypass => "an agent reaches a registered MCP server past the gateway",
            Self::NewAgent => "this agent got its first token",
            Self::NewTool => "this tool was called for the first time; nobody has registered it",
            Self::UnapprovedAgent => {
                "this agent got a token for a user who never gave it leave here"
            }
        }
    }

    /// A record of it, with nothing else in it.
    #[must_use]
    pub fn record(self, now: Timestamp) -> Record {
        let mut record = Record::new(Kind::Rogue, now);
        record.reason = Some(self.sentence().to_owned());
        record.detail = Some(json!({"finding": self.as_str()}));
        record
    }

    /// Counts it in the metrics.
    pub fn count(self, credential: Option<Credential>, count: u64) {
        let credential = credential.map_or("", Credential::word);
        metrics::counter!("writ_rogue_total", "finding" => self.as_str(), "credential" => credential)
            .increment(count.min(1_000_000_000));
    }
}
