//! What a credential that should not have reached a server is, told without keeping any of it.
//!
//! Minted tokens are the only thing a server is called with. Whatever else arrives there came past the gateway, and what
//! kind of thing it is says whose habit it is: an agent's own token, a developer's GitHub token, a script's API key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What kind of credential it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credential {
    /// A minted token that was spent before.
    Replay,
    /// A minted token, with another message than the one it was minted for.
    WrongBinding,
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
    #[serde(rename = "github")]
    GitHub,
    /// A GitLab token.
    #[serde(rename = "gitlab")]
    GitLab,
    /// A Slack token.
    Slack,
    /// An AWS access key id.
    Aws,
    /// An npm token.
    Npm,
    /// An Anthropic API key.
    Anthropic,
    /// An API key of the `sk-` kind, as OpenAI's are.
    SecretKey,
    /// A name and a password (RFC 7617).
    Basic,
    /// A cookie and nothing else.
    Cookie,
    /// Nothing that is known.
    Opaque,
    /// No credential at all.
    None,
}

/// How well-known credentials begin; where one is the beginning of another, the longer is first.
const PREFIXES: [(&str, Credential); 20] = [
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
    ("sk-ant-", Credential::Anthropic),
    ("sk-", Credential::SecretKey),
];

impl Credential {
    /// What a secret that is no JWT looks like by how it begins.
    #[must_use]
    pub fn by_prefix(text: &str) -> Self {
        PREFIXES
            .iter()
            .find(|(prefix, _)| text.starts_with(prefix))
            .map_or(Self::Opaque, |(_, credential)| *credential)
    }

    /// The word on record.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::WrongBinding => "wrong_binding",
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
            Self::Anthropic => "anthropic",
            Self::SecretKey => "secret_key",
            Self::Basic => "basic",
            Self::Cookie => "cookie",
            Self::Opaque => "opaque",
            Self::None => "none",
        }
    }

    /// What has happened, for people.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Replay => "a minted token was used a second time",
            Self::WrongBinding => {
                "a minted token was used for another message than the one it is for"
            }
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
            Self::Anthropic => "an Anthropic API key was sent straight to the server",
            Self::SecretKey => "an API key was sent straight to the server",
            Self::Basic => "a name and password were sent straight to the server",
            Self::Cookie => "a cookie was sent straight to the server",
            Self::Opaque => "an unknown credential was sent straight to the server",
            Self::None => "a request without credential was sent straight to the server",
        }
    }
}

/// `iss` of what looks like a JWT, which nobody has checked; an empty one where it has none.
#[must_use]
pub fn jwt_issuer(text: &str) -> Option<String> {
    let mut parts = text.split('.');
    let (header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    let object = |part: &str| -> Option<Value> {
        let value: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()?;
        value.is_object().then_some(value)
    };
    object(header)?;
    let issuer = object(payload)?
        .get("iss")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    Some(issuer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_credentials_are_told_by_how_they_begin() {
        let cases = [
            ("ghp_abc", Credential::GitHub),
            ("github_pat_abc", Credential::GitHub),
            ("gho_abc", Credential::GitHub),
            ("glpat-abc", Credential::GitLab),
            ("xoxb-1-2", Credential::Slack),
            ("sk-proj-abc", Credential::SecretKey),
            ("sk-ant-api03-abc", Credential::Anthropic),
            ("AKIAIOSFODNN7EXAMPLE", Credential::Aws),
            ("npm_abc", Credential::Npm),
            ("hunter2", Credential::Opaque),
            ("a.b.c", Credential::Opaque),
            ("", Credential::Opaque),
        ];
        for (text, expected) in cases {
            assert_eq!(Credential::by_prefix(text), expected, "{text}");
        }
    }

    #[test]
    fn the_word_on_record_is_the_word_in_an_event() {
        for (_, credential) in PREFIXES.into_iter().chain([
            ("", Credential::Replay),
            ("", Credential::WrongBinding),
            ("", Credential::CallerToken),
            ("", Credential::ForeignToken),
            ("", Credential::Expired),
            ("", Credential::Disabled),
            ("", Credential::Revoked),
            ("", Credential::Forged),
            ("", Credential::Jwt),
            ("", Credential::Basic),
            ("", Credential::Cookie),
            ("", Credential::Opaque),
            ("", Credential::None),
        ]) {
            let written = serde_json::to_value(credential).unwrap();
            assert_eq!(written, credential.word());
        }
    }

    #[test]
    fn the_issuer_of_a_jwt_is_read_where_there_is_one() {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let jwt = |payload: &str| format!("{}.{}.c2ln", part("{}"), part(payload));
        let issuer = |text: &str| jwt_issuer(text);
        assert_eq!(
            issuer(&jwt(r#"{"iss":"https://idp.test"}"#)).as_deref(),
            Some("https://idp.test")
        );
        assert_eq!(issuer(&jwt("{}")).as_deref(), Some(""));
        for no_jwt in ["", "a.b.c", "ghp_a", &jwt("[]"), "e30.e30"] {
            assert_eq!(issuer(no_jwt), None, "{no_jwt}");
        }
    }
}
