//! The snapshot: the one document the filter decides from.
//!
//! Served by the token service at `GET /gateway/v1/snapshot` with its `revision` as a strong ETag.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::input::{Labels, Status};
use crate::stops::Stops;

/// The snapshot format this crate writes and reads.
pub const FORMAT: u32 = 2;

/// All that a gateway's filter needs to decide, as of one revision.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// [`FORMAT`]; a filter refuses any other.
    pub format: u32,
    /// Changes whenever anything below does.
    pub revision: String,
    /// When this revision was built (RFC 3339, UTC).
    pub issued_at: String,
    /// The issuer whose tokens callers bring (`iss`, compared exactly).
    pub issuer: String,
    /// The issuer's public keys: a JWK set (RFC 7517 section 5).
    pub jwks: serde_json::Value,
    /// The policy in force.
    pub policy: PolicyBundle,
    /// The servers this gateway may mint for, by id.
    pub servers: BTreeMap<String, ServerEntry>,
    /// The registered agents, by `client_id`.
    pub agents: BTreeMap<String, AgentEntry>,
    /// Subjects that are switched off.
    pub disabled_subjects: BTreeSet<String>,
    /// Ids of tokens, grants and transactions that were taken back: tokens of these ids, of these grants and transactions,
    /// and derived from either.
    pub revoked: BTreeSet<String>,
    /// Whom the kill switch stops.
    #[serde(default)]
    pub stops: Stops,
}

/// A compiled policy and its data.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyBundle {
    /// Names the policy in audit records: a digest of program and data.
    pub revision: String,
    /// The engine the program was compiled for ([`crate::engine::ENGINE`]).
    pub engine: String,
    /// The compiled program, base64url without padding.
    pub program: String,
    /// The `data` document.
    pub data: serde_json::Value,
}

/// A server in the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerEntry {
    /// The public resource identifier: the `aud` of callers' tokens (RFC 8707).
    pub resource: String,
    /// The audience of minted tokens; never the same as `resource`.
    pub upstream_audience: String,
    /// Where the registration stands.
    pub status: Status,
    /// Labels for policies.
    #[serde(default)]
    pub labels: Labels,
    /// Scopes named in challenges and in the protected-resource metadata (RFC 9728).
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Who checks minted tokens before the server acts on them.
    pub enforcement: Enforcement,
    /// Methods beyond those of MCP that messages to and from it may name.
    #[serde(default)]
    pub methods: Vec<String>,
    /// What the names that this server gives out are sealed with on their way to clients; for gateways only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal_key: Option<SealKey>,
}

/// A key of 32 bytes: base64url without padding in JSON, never shown otherwise.
#[derive(Clone, PartialEq, Eq)]
pub struct SealKey([u8; 32]);

impl SealKey {
    /// The key of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key itself.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey(…)")
    }
}

impl Serialize for SealKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for SealKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| D::Error::custom("a key must be the base64url of 32 bytes"))
    }
}

/// Who makes a minted token's single use and binding hold at the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Enforcement {
    /// A Writ filter in guard mode before the server.
    Guard,
    /// The server itself, by introspection.
    Introspect,
    /// Nobody: the server looks at the audience only.
    AudOnly,
}

/// An agent in the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentEntry {
    /// Where the registration stands.
    pub status: Status,
    /// Labels for policies.
    #[serde(default)]
    pub labels: Labels,
    /// The tools the registration names, by server.
    #[serde(default)]
    pub tools: BTreeMap<String, Vec<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_for_the_filter_and_shown_to_nobody() {
        let key = SealKey::new([7; 32]);
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<SealKey>(&json).unwrap(), key);
        assert_eq!(format!("{key:?}"), "SealKey(…)");
        for wrong in ["\"\"", "7", "\"AA\"", &json.replace('"', "\"A")] {
            let error = serde_json::from_str::<SealKey>(wrong).unwrap_err();
            assert!(!error.to_string().contains("BwcH"), "{error}");
        }
    }
}
