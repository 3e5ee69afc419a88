//! The snapshot: all that a filter decides from, in parts.
//!
//! A revision is a set of named parts, each a JSON document of its own, so that a change costs what has changed. How they
//! travel, and who vouches for them, is the filter's core's.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::engine::Module;
use crate::input::{Labels, Status};
use crate::pin::Pins;
use crate::stops::Stops;

/// The snapshot format this crate writes and reads.
pub const FORMAT: u32 = 3;

/// The part that is the compiled policy, or its sources: [`Policy`].
pub const POLICY: &str = "policy";
/// The part that names the policy in audit records: a digest of program and data.
pub const REVISION: &str = "revision";
/// What the names of parts of the policy's `data` document begin with: its members by name.
pub const DATA: &str = "data/";
/// The part that is the issuer's public keys: a JWK set (RFC 7517 section 5).
pub const KEYS: &str = "keys";
/// The part that says who is stopped: [`Halt`].
pub const STOPS: &str = "stops";
/// The part that says whether spans are wanted: a bool. There is none where they are not.
pub const SPANS: &str = "spans";
/// What the names of parts with servers begin with: [`ServerEntry`] by id.
pub const SERVERS: &str = "servers/";
/// What the names of parts with agents begin with: [`AgentEntry`] by `client_id`.
pub const AGENTS: &str = "agents/";
/// What the names of parts with ids begin with that were taken back: a list.
pub const REVOKED: &str = "revoked/";

/// In which part of its kind an entry is: its id's FNV-1a hash, folded to a byte.
#[must_use]
pub fn bucket(id: &str) -> u8 {
    let hash = id.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    hash.to_le_bytes()
        .into_iter()
        .fold(0, |folded, byte| folded ^ byte)
}

/// The name of the part of this kind and bucket.
#[must_use]
pub fn bucket_name(kind: &str, bucket: u8) -> String {
    format!("{kind}{bucket:02x}")
}

/// One part.
#[derive(Clone, Debug)]
pub enum Part {
    /// [`POLICY`]
    Policy(Policy),
    /// [`REVISION`]
    Revision(String),
    /// Of [`DATA`], as its JSON text.
    Data(String),
    /// [`KEYS`]
    Keys(serde_json::Value),
    /// [`STOPS`]
    Stops(Halt),
    /// [`SPANS`]
    Spans(bool),
    /// Of [`SERVERS`]
    Servers(BTreeMap<String, ServerEntry>),
    /// Of [`AGENTS`]
    Agents(BTreeMap<String, AgentEntry>),
    /// Of [`REVOKED`]: tokens of these ids, of these grants and transactions, and derived from either.
    Revoked(BTreeSet<String>),
}

/// Why a document is no part of a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// It is of no kind that this version knows.
    #[error("nothing is known of a part `{0}`")]
    Unknown(String),
    /// It is something else than its name says.
    #[error("the part `{name}`: {problem}")]
    Shape {
        /// Which.
        name: String,
        /// What is wrong.
        problem: String,
    },
}

impl Part {
    /// Reads the part `name`.
    ///
    /// # Errors
    /// When it is not what its name says, or an entry is in a part that it does not belong in.
    pub fn read(name: &str, json: &[u8]) -> Result<Self, PartError> {
        fn read<T: for<'de> Deserialize<'de>>(name: &str, json: &[u8]) -> Result<T, PartError> {
            serde_json::from_slice(json).map_err(|e| shape(name, e.to_string()))
        }
        match name {
            POLICY => return Ok(Self::Policy(read(name, json)?)),
            REVISION => return Ok(Self::Revision(read(name, json)?)),
            KEYS => return Ok(Self::Keys(read(name, json)?)),
            STOPS => return Ok(Self::Stops(read(name, json)?)),
            SPANS => return Ok(Self::Spans(read(name, json)?)),
            _ => {}
        }
        let unknown = || PartError::Unknown(name.to_owned());
        let (kind, number) = name
            .split_at_checked(name.len().saturating_sub(2))
            .ok_or_else(unknown)?;
        let own = |id: &String| bucket_name(kind, bucket(id)) == name;
        let (part, all_own) = match kind {
            DATA => {
                let text = String::from_utf8(json.to_vec());
                return Ok(Self::Data(text.map_err(|e| shape(name, e.to_string()))?));
            }
            SERVERS => {
                let servers: BTreeMap<String, ServerEntry> = read(name, json)?;
                let all_own = servers.keys().all(own);
                (Self::Servers(servers), all_own)
            }
            AGENTS => {
                let agents: BTreeMap<String, AgentEntry> = read(name, json)?;
                let all_own = agents.keys().all(own);
                (Self::Agents(agents), all_own)
            }
            REVOKED => {
                let ids: BTreeSet<String> = read(name, json)?;
                let all_own = ids.iter().all(own);
                (Self::Revoked(ids), all_own)
            }
            _ => return Err(unknown()),
        };
        if all_own {
            Ok(part)
        } else {
            Err(shape(name, format!("an entry does not belong in {number}")))
        }
    }
}

fn shape(name: &str, problem: String) -> PartError {
    PartError::Shape {
        name: name.to_owned(),
        problem,
    }
}

/// The policy in force.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Policy {
    /// Compiled.
    Program {
        /// The engine the program was compiled for ([`crate::engine::ENGINE`]).
        engine: String,
        /// The compiled program, base64url without padding.
        program: String,
    },
    /// As it was written: for a filter with another engine than the token service's, which compiles it itself.
    Source {
        /// The modules.
        modules: Vec<Module>,
    },
}

/// Who may not go on, whatever their tokens say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Halt {
    /// Subjects that are switched off.
    pub disabled_subjects: BTreeSet<String>,
    /// Whom the kill switch stops.
    pub stops: Stops,
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
    /// The tools whose definition was approved; for gateways only.
    #[serde(default, skip_serializing_if = "Pins::is_empty")]
    pub pins: Pins,
    /// Where the server itself is; for those only who watch what goes past gateways.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
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
