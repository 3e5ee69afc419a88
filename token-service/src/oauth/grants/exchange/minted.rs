//! The minted token: seconds of life, one server, one message (or looking around).

use serde::Serialize;

use super::request::Details;

/// The claims of a minted token (RFC 9068 section 2.2, RFC 8693 section 4.1, RFC 9396 section 9.1).
#[derive(Debug, Serialize)]
pub(super) struct MintedClaims<'a> {
    pub(super) iss: &'a str,
    /// The user, or the agent where it acts for itself.
    pub(super) sub: &'a str,
    /// The server's upstream audience.
    pub(super) aud: &'a str,
    /// The agent.
    pub(super) client_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) scope: &'a str,
    pub(super) jti: &'a str,
    pub(super) txn: &'a str,
    pub(super) iat: u64,
    pub(super) exp: u64,
    pub(super) act: Actor<'a>,
    pub(super) authorization_details: [&'a Details; 1],
}

/// Who acts: the gateway, for the agent (RFC 8693 section 4.1: the outermost is the current actor).
#[derive(Debug, Serialize)]
pub(super) struct Actor<'a> {
    pub(super) sub: &'a str,
    pub(super) act: InnerActor<'a>,
}

/// The prior actor.
#[derive(Debug, Serialize)]
pub(super) struct InnerActor<'a> {
    pub(super) sub: &'a str,
}

/// The answer (RFC 8693 section 2.2.1) with the ids that the gateway reports by.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    pub(super) access_token: String,
    pub(super) issued_token_type: &'static str,
    pub(super) token_type: &'static str,
    pub(super) expires_in: u64,
    pub(super) scope: String,
    pub(super) txn: String,
    pub(super) jti: String,
}
