//! An MCP server in the registry.

use writ_policy::{
    input::{self, Document},
    pin::{Hints, Pins},
};

use super::{Enforcement, Id, Labels, Origin, Status};
use crate::secret::SecretHash;

/// An MCP server that calls can be governed for.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its id, as in Envoy's route metadata.
    pub id: Id,
    /// The public resource identifier: the `aud` of callers' tokens (RFC 8707).
    pub resource: String,
    /// The `aud` of minted tokens; never any server's `resource`.
    pub upstream_audience: String,
    /// Who makes single use and binding hold.
    pub enforcement: Enforcement,
    /// Where the registration stands.
    pub status: Status,
    /// Labels for policies.
    pub labels: Labels,
    /// Scopes named in challenges.
    pub scopes: Vec<String>,
    /// What the server authenticates with at introspection.
    pub secret: SecretHash,
    /// Shown to people; empty where only the id is known.
    pub name: String,
    /// Who answers for it: a person or team.
    pub owner: String,
    /// Where the server itself is.
    pub upstream: Option<String>,
    /// The tools it says it has.
    pub tools: Vec<String>,
    /// Methods beyond those of MCP that messages to and from it may name.
    pub methods: Vec<String>,
    /// The ids of the servers that it may call on behalf of its own callers (RFC 8693 section 4.4).
    pub may_call: Vec<String>,
    /// The tools whose definition was approved.
    pub pins: Pins,
    /// Where the registration came from.
    pub origin: Origin,
    /// The registration access token it may change itself with (RFC 7592).
    pub registration: Option<SecretHash>,
}

impl Server {
    /// A server that an administrator registers.
    #[must_use]
    pub fn new(id: Id, resource: String, upstream_audience: String, secret: SecretHash) -> Self {
        Self {
            id,
            resource,
            upstream_audience,
            enforcement: Enforcement::Guard,
            status: Status::Approved,
            labels: Labels::new(),
            scopes: Vec::new(),
            secret,
            name: String::new(),
            owner: String::new(),
            upstream: None,
            tools: Vec::new(),
            methods: Vec::new(),
            may_call: Vec::new(),
            pins: Pins::new(),
            origin: Origin::Admin,
            registration: None,
        }
    }

    /// What the approved annotations of a tool say; none where it has no pin.
    #[must_use]
    pub fn hints(&self, tool: &str) -> Option<Hints> {
        self.pins.get(tool).map(|pin| pin.hints)
    }

    /// The server as decisions see it.
    #[must_use]
    pub fn document(&self) -> Document<input::Server> {
        Document::from(&input::Server {
            id: self.id.to_string(),
            resource: self.resource.clone(),
            labels: self.labels.clone(),
        })
    }
}

/// Why a server cannot be registered like this.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// RFC 8707 section 2: an absolute URI without a fragment.
    #[error(
        "{field} {given:?} must be an absolute URI without a fragment or user info (RFC 8707 section 2)"
    )]
    NotAResource {
        /// Which option.
        field: &'static str,
        /// What was given.
        given: String,
    },
    /// A token for the server must never pass for one of its callers'.
    #[error(
        "--audience must differ from --resource: a minted token must never pass for a caller's"
    )]
    AudienceIsResource,
}

/// Checks a resource identifier or audience (RFC 8707 section 2) and returns it as given: it is compared exactly.
///
/// # Errors
/// When it is not an absolute URI without fragment and user info, or longer than 2,048 bytes.
pub fn check_identifier(field: &'static str, given: &str) -> Result<String, ServerError> {
    let wrong = || ServerError::NotAResource {
        field,
        given: given.chars().take(200).collect(),
    };
    let url = url::Url::parse(given).map_err(|_| wrong())?;
    let plain = url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    let printable = given.len() <= 2048 && given.chars().all(|c| c.is_ascii_graphic());
    if plain && printable {
        Ok(given.to_owned())
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_an_absolute_uri_without_a_fragment() {
        for good in [
            "https://ledger.example/mcp",
            "urn:writ:ledger",
            "http://127.0.0.1:1/mcp",
        ] {
            assert!(check_identifier("--resource", good).is_ok(), "{good}");
        }
        for bad in [
            "ledger",
            "/mcp",
            "https://a/b#c",
            "https://u:p@a/b",
            "https://a/ b",
            "",
        ] {
            assert!(check_identifier("--resource", bad).is_err(), "{bad}");
        }
    }
}
