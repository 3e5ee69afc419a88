//! The token an agent brings to the gateway: an RFC 9068 access token for one server's public resource.

use jiff::Timestamp;
use serde::Serialize;
use writ_policy::input::{AgentAuthn, SubjectKind};

use super::dpop::Confirmation;
use crate::{app::App, clock::unix, store::users::User};

/// The claims of a caller's token (RFC 9068 section 2.2).
#[derive(Clone, Debug, Serialize)]
pub struct CallerClaims {
    /// Issuer.
    pub iss: String,
    /// The user, or the agent itself.
    pub sub: String,
    /// The server's public resource identifier, or the issuer's own userinfo.
    pub aud: String,
    /// The agent.
    pub client_id: String,
    /// What was granted, separated by spaces.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// Issued at, in seconds since the epoch.
    pub iat: u64,
    /// Expires, in seconds since the epoch.
    pub exp: u64,
    /// UUIDv7.
    pub jti: String,
    /// The grant that it belongs to: ends with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant_id: Option<String>,
    /// The key that whoever presents it must prove (RFC 9449 section 6.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cnf: Option<Confirmation>,
    /// A person or a workload.
    pub subject_type: SubjectKind,
    /// How well the agent proved who it is.
    pub agent_authn: AgentAuthn,
    /// The user's groups and roles; absent for workloads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
}

/// On whose authority the token will speak.
#[derive(Debug)]
pub enum Subject {
    /// A user, who granted it.
    User(User),
    /// The agent itself.
    Agent,
}

impl CallerClaims {
    /// The claims of a new token.
    #[must_use]
    pub fn new(
        app: &App,
        subject: Subject,
        (client_id, agent_authn): (&str, AgentAuthn),
        audience: impl Into<String>,
        scope: impl ToString,
        now: Timestamp,
    ) -> Self {
        let iat = unix(now);
        let (sub, subject_type, groups) = match subject {
            Subject::User(user) => (user.name, SubjectKind::User, Some(user.groups)),
            Subject::Agent => (client_id.to_owned(), SubjectKind::Workload, None),
        };
        Self {
            iss: app.config.issuer.clone(),
            sub,
            aud: audience.into(),
            client_id: client_id.to_owned(),
            scope: scope.to_string(),
            iat,
            exp: iat.saturating_add(app.config.tokens.caller_ttl.as_secs()),
            jti: crate::secret::new_id(),
            grant_id: None,
            cnf: None,
            subject_type,
            agent_authn,
            groups,
        }
    }
}
