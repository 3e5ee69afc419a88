//! An agent in the registry: an OAuth client.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use writ_policy::input::{self, AgentAuthn, AgentKind, Document, SubjectKind};

use super::{ClientId, ClientMetadata, Labels, Origin, Server, Status, Workload};
use crate::secret::SecretHash;

/// How an agent authenticates at the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// Not at all: a public client (OAuth 2.1 section 2.1), held by PKCE alone.
    None,
    /// `client_secret_basic`.
    Secret,
    /// `private_key_jwt` (RFC 7523 section 2.2).
    Key,
    /// An attested identity: a JWT-SVID or a Kubernetes service-account token (RFC 7523 section 2.2).
    Workload,
}

/// A grant an agent may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// OAuth 2.1 section 4.1: acts for a user.
    AuthorizationCode,
    /// OAuth 2.1 section 4.2: acts for itself.
    ClientCredentials,
    /// OAuth 2.1 section 4.3: goes on acting for a user while they are away.
    RefreshToken,
    /// RFC 7523 section 2.1: acts for a user whose identity provider says so.
    JwtBearer,
    /// RFC 8693: acts for others, as policy lets it.
    TokenExchange,
}

impl AuthMethod {
    /// The word of the CLI and the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Secret => "secret",
            Self::Key => "key",
            Self::Workload => "workload",
        }
    }

    /// How well whoever authenticates so proves who they are.
    #[must_use]
    pub fn authn(self) -> AgentAuthn {
        match self {
            Self::None => AgentAuthn::None,
            Self::Secret => AgentAuthn::Secret,
            Self::Key => AgentAuthn::Key,
            Self::Workload => AgentAuthn::Workload,
        }
    }
}

impl Grant {
    /// The value of `grant_type` (RFC 6749).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::ClientCredentials => "client_credentials",
            Self::RefreshToken => "refresh_token",
            Self::JwtBearer => "urn:ietf:params:oauth:grant-type:jwt-bearer",
            Self::TokenExchange => crate::oauth::grants::token_exchange::GRANT_TYPE,
        }
    }
}

/// A redirect URI, compared exactly (OAuth 2.1 section 2.3.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RedirectUri(String);

/// Why a text is not a redirect URI.
#[derive(Debug, thiserror::Error)]
#[error(
    "redirect URI {given:?} must be https, http on a loopback host, or a private-use scheme, without a fragment"
)]
pub struct RedirectUriError {
    given: String,
}

impl RedirectUri {
    /// Checks a redirect URI (OAuth 2.1 section 2.3, RFC 8252 section 7).
    ///
    /// # Errors
    /// When it has a fragment or user info, is http elsewhere than on a loopback host, or is not a URI.
    pub fn parse(given: &str) -> Result<Self, RedirectUriError> {
        let wrong = || RedirectUriError {
            given: given.chars().take(200).collect(),
        };
        let url = url::Url::parse(given).map_err(|_| wrong())?;
        let safe_scheme = match url.scheme() {
            "https" => true,
            "http" => crate::config::is_loopback_host(&url),
            // RFC 8252 section 7.1: a private-use scheme is a reversed domain name.
            scheme => scheme.contains('.'),
        };
        let plain =
            url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
        let printable = given.len() <= 2048 && given.chars().all(|c| c.is_ascii_graphic());
        if safe_scheme && plain && printable {
            Ok(Self(given.to_owned()))
        } else {
            Err(wrong())
        }
    }

    /// The text, exactly as registered.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RedirectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An agent: the OAuth client that calls tools.
#[derive(Clone, Debug)]
pub struct Agent {
    /// The OAuth `client_id`.
    pub id: ClientId,
    /// Shown to people.
    pub name: String,
    /// How it authenticates.
    pub auth: AuthMethod,
    /// Its secret, for [`AuthMethod::Secret`].
    pub secret: Option<SecretHash>,
    /// Its public keys (a JWK set), for [`AuthMethod::Key`].
    pub jwks: Option<serde_json::Value>,
    /// Where its public keys are, for [`AuthMethod::Key`] without [`Self::jwks`].
    pub jwks_uri: Option<String>,
    /// What it proves, for [`AuthMethod::Workload`].
    pub workload: Option<Workload>,
    /// Where authorization responses may go.
    pub redirect_uris: Vec<RedirectUri>,
    /// What it may ask the token endpoint for.
    pub grants: Vec<Grant>,
    /// The tools it may call when it acts for itself, by server id.
    pub tools: BTreeMap<String, Vec<String>>,
    /// Labels for policies.
    pub labels: Labels,
    /// What it says about itself.
    pub metadata: ClientMetadata,
    /// Where the registration came from.
    pub origin: Origin,
    /// The registration access token it may change itself with (RFC 7592).
    pub registration: Option<SecretHash>,
    /// Where the registration stands.
    pub status: Status,
}

impl Agent {
    /// What policies are told of it at a server, when it acts on somebody's authority and has proved so well who it is.
    #[must_use]
    pub fn document(
        &self,
        on_authority_of: SubjectKind,
        authn: AgentAuthn,
        server: &Server,
    ) -> Document<input::Agent> {
        let tools = self.tools.get(server.id.as_str());
        Document::from(&input::Agent {
            id: self.id.to_string(),
            kind: match on_authority_of {
                SubjectKind::User => AgentKind::Delegated,
                SubjectKind::Workload => AgentKind::Autonomous,
            },
            authn,
            status: self.status,
            labels: self.labels.clone(),
            tools: tools.cloned().unwrap_or_default(),
        })
    }

    /// An agent that an administrator registers, and that may do nothing yet.
    #[must_use]
    pub fn new(id: ClientId, name: impl Into<String>, auth: AuthMethod) -> Self {
        Self {
            id,
            name: name.into(),
            auth,
            secret: None,
            jwks: None,
            jwks_uri: None,
            workload: None,
            redirect_uris: Vec::new(),
            grants: Vec::new(),
            tools: BTreeMap::new(),
            labels: Labels::new(),
            metadata: ClientMetadata::default(),
            origin: Origin::Admin,
            registration: None,
            status: Status::Approved,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirect_uris_keep_codes_from_travelling_in_the_clear() {
        for good in [
            "https://app.example/cb",
            "http://127.0.0.1:3000/cb",
            "http://localhost/cb",
            "http://[::1]/cb",
            "com.example.app:/cb",
        ] {
            assert!(RedirectUri::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "http://app.example/cb",
            "https://a/cb#x",
            "javascript:alert(1)",
            "data:text/html,x",
            "/cb",
            "https://u@a/",
        ] {
            assert!(RedirectUri::parse(bad).is_err(), "{bad}");
        }
    }
}
