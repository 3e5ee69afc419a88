//! What a credential that should not have reached a server is, as far as it can be told without keeping it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::{Value, json};
use writ_core::token::{Claims, TokenError};

use crate::{
    audit::{Kind, Record, Verdict, clip, printable},
    registry::Server,
};

/// What kind of credential it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Credential {
    /// A minted token that was spent before.
    Replay,
    /// An agent's own token, good at the gateway only.
    CallerToken,
    /// A token minted for another server.
    ForeignToken,
    /// A token of ours that has run out.
    Expired,
    /// A minted token whose subject, agent or server has been switched off since.
    Disabled,
    /// A token whose grant, or whatever else it comes from, was taken back.
    Revoked,
    /// A token that says it is ours but is not.
    Forged,
    /// Somebody else's JWT.
    Jwt,
    /// A GitHub token.
    GitHub,
    /// A GitLab token.
    GitLab,
    /// A Slack token.
    Slack,
    /// An AWS access key id.
    Aws,
    /// An npm token.
    Npm,
    /// An API key of the `sk-` kind.
    SecretKey,
    /// Nothing that is known.
    Opaque,
}

impl Credential {
    /// The word on record.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::CallerToken => "caller_token",
            Self::ForeignToken => "foreign_token",
            Self::Expired => "expired",
            Self::Disabled => "disabled",
            Self::Revoked => "revoked",
            Self::Forged => "forged",
            Self::Jwt => "jwt",
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::Slack => "slack",
            Self::Aws => "aws",
            Self::Npm => "npm",
            Self::SecretKey => "secret_key",
            Self::Opaque => "opaque",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Replay => "a minted token was used a second time",
            Self::CallerToken => "an agent's own token was sent straight to the server",
            Self::ForeignToken => "a token minted for another server",
            Self::Expired => "a token that has expired",
            Self::Revoked => "a minted token of a grant that was taken back",
            Self::Disabled => "a minted token of somebody who has been disabled",
            Self::Forged => "a token that claims to be this issuer's and is not",
            Self::Jwt => "a token of another issuer",
            Self::GitHub => "a GitHub token was sent straight to the server",
            Self::GitLab => "a GitLab token was sent straight to the server",
            Self::Slack => "a Slack token was sent straight to the server",
            Self::Aws => "an AWS access key was sent straight to the server",
            Self::Npm => "an npm token was sent straight to the server",
            Self::SecretKey => "an API key was sent straight to the server",
            Self::Opaque => "an unknown credential was sent straight to the server",
        }
    }
}

/// How well-known credentials begin.
const PREFIXES: [(&str, Credential); 19] = [
    ("ghp_", Credential::GitHub),
    ("gho_", Credential::GitHub),
    ("ghu_", Credential::GitHub),
    ("ghs_", Credential::GitHub),
    ("ghr_", Credential::GitHub),
    ("github_pat_", Credential::GitHub),
    ("glpat-", Credential::GitLab),
    ("gldt-", Credential::GitLab),
    ("xoxb-", Credential::Slack),
    ("xoxp-", Credential::Slack),
    ("xoxa-", Credential::Slack),
    ("xoxr-", Credential::Slack),
    ("xoxs-", Credential::Slack),
    ("xoxe.", Credential::Slack),
    ("xapp-", Credential::Slack),
    ("AKIA", Credential::Aws),
    ("ASIA", Credential::Aws),
    ("npm_", Credential::Npm),
    ("sk-", Credential::SecretKey),
];

/// A credential that should not have come here.
#[derive(Debug)]
pub(super) struct Rogue {
    pub(super) credential: Credential,
    /// Whose it is, when it is ours.
    owner: Option<Owner>,
    /// `iss` of a JWT, which nobody has checked.
    issuer: Option<String>,
}

#[derive(Debug)]
struct Owner {
    subject: String,
    agent: String,
    token_id: Option<String>,
}

impl Rogue {
    /// A token that verified as ours, with its claims.
    pub(super) fn of(credential: Credential, claims: Option<&Claims>) -> Self {
        let owner = claims.map(|c| Owner {
            subject: clip(&c.subject, 512),
            agent: clip(&c.client_id, 512),
            token_id: c.id.as_deref().map(|id| clip(id, 128)),
        });
        Self {
            credential,
            owner,
            issuer: None,
        }
    }

    /// Something that did not verify.
    pub(super) fn unverified(text: &str, error: &TokenError, own_issuer: &str) -> Self {
        let Some(issuer) = issuer(text) else {
            let known = PREFIXES.iter().find(|(prefix, _)| text.starts_with(prefix));
            return Self::of(
                known.map_or(Credential::Opaque, |(_, credential)| *credential),
                None,
            );
        };
        let credential = match error {
            _ if issuer != own_issuer => Credential::Jwt,
            TokenError::Expired => Credential::Expired,
            _ => Credential::Forged,
        };
        Self {
            credential,
            owner: None,
            issuer: Some(printable(&clip(&issuer, 256))),
        }
    }

    /// The record of its use at `server`.
    pub(super) fn record(self, server: &Server, source_ip: Option<&str>, now: Timestamp) -> Record {
        let mut record = Record::new(Kind::Rogue, now);
        record.server = Some(server.id.to_string());
        record.decision = Some(Verdict::Deny);
        record.reason = Some(self.credential.sentence().to_owned());
        record.source_ip = source_ip.map(|ip| clip(ip, 64));
        record.detail = Some(match self.issuer {
            Some(issuer) => json!({"credential": self.credential.word(), "issuer": issuer}),
            None => json!({"credential": self.credential.word()}),
        });
        if let Some(owner) = self.owner {
            record.subject = Some(owner.subject);
            record.agent = Some(owner.agent);
            record.token_id = owner.token_id;
        }
        record
    }
}

/// `iss` of what looks like a JWT; an empty one where it has none.
fn issuer(text: &str) -> Option<String> {
    let mut parts = text.split('.');
    let (header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    let object = |part: &str| -> Option<Value> {
        let value: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()?;
        value.is_object().then_some(value)
    };
    object(header)?;
    let iss = object(payload)?
        .get("iss")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    Some(iss)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Credential {
        Rogue::unverified(text, &TokenError::Signature, "https://writ.test").credential
    }

    fn jwt(payload: &Value) -> String {
        let part = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
        format!("{}.{}.c2ln", part(&json!({"alg": "RS256"})), part(payload))
    }

    #[test]
    fn well_known_credentials_are_told_by_how_they_begin() {
        let cases = [
            ("ghp_abc", Credential::GitHub),
            ("github_pat_abc", Credential::GitHub),
            ("gho_abc", Credential::GitHub),
            ("glpat-abc", Credential::GitLab),
            ("xoxb-1-2", Credential::Slack),
            ("sk-proj-abc", Credential::SecretKey),
            ("AKIAIOSFODNN7EXAMPLE", Credential::Aws),
            ("npm_abc", Credential::Npm),
            ("hunter2", Credential::Opaque),
            ("a.b.c", Credential::Opaque),
            ("", Credential::Opaque),
        ];
        for (text, expected) in cases {
            assert_eq!(kind(text), expected, "{text}");
        }
    }

    #[test]
    fn a_jwt_is_told_by_its_issuer() {
        assert_eq!(
            kind(&jwt(&json!({"iss": "https://idp.test"}))),
            Credential::Jwt
        );
        assert_eq!(
            kind(&jwt(&json!({"iss": "https://writ.test"}))),
            Credential::Forged
        );
        assert_eq!(kind(&jwt(&json!({}))), Credential::Jwt);
        let expired = Rogue::unverified(
            &jwt(&json!({"iss": "https://writ.test"})),
            &TokenError::Expired,
            "https://writ.test",
        );
        assert_eq!(expired.credential, Credential::Expired);
    }
}
