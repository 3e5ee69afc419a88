//! What the log has of a record: a leaf that says all but what is about a person, and a salted commitment to that.
//!
//! So a person's data can be erased, and what is left still proves that the record was there, when, and what it decided. Without
//! the salt nobody can tell what was erased by trying out values.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use tlog_tiles::{Hash, record_hash};

/// A record, as the log commits to it: an `export` has one a line.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Logged {
    /// Its place in the log, from 0.
    pub index: u64,
    /// Its leaf's hash, as the log keeps it; none where the log ends before it.
    pub hash: Option<LeafHash>,
    /// What is hashed as it is.
    pub leaf: Leaf,
    /// What the leaf's commitment is to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personal: Option<Opening>,
    /// The id of the record of its erasure, where that was erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased_by: Option<String>,
}

/// A hash as text: base64, as in checkpoints.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LeafHash(pub Hash);

impl Serialize for LeafHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for LeafHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Hash::deserialize(deserializer).map(Self)
    }
}

/// All of a record that is about nobody; see [`crate::audit::Record`] for what the fields mean.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Leaf {
    // In the order of their names, as RFC 8785 section 3.2.3 has them.
    /// `client_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// RFC 9530 digest of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_digest: Option<String>,
    /// `allow` or `deny`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// Which gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Revision of the policy the gateway decided with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_policy: Option<String>,
    /// UUIDv7.
    pub id: String,
    /// What the record is about.
    pub kind: String,
    /// JSON-RPC method, or an administrator's command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The commitment to what is about a person: SHA-256, base64url.
    pub personal: String,
    /// The gateway's id of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// RFC 9530 digest of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_digest: Option<String>,
    /// Which server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Revision of the policy the service decided with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_policy: Option<String>,
    /// `jti` of the caller's token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject_token_id: Option<String>,
    /// The tool of `tools/call`, or the prompt of `prompts/get`: no person's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The task that the call belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// RFC 3339, UTC.
    pub time: String,
    /// `jti` of the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_id: Option<String>,
    /// `txn` of the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub txn: Option<String>,
}

/// What a commitment is to, and the salt that opens it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// Random: 256 bits, as text.
    pub salt: String,
    /// What is about a person.
    pub said: Personal,
}

/// What a record says about a person.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Personal {
    // In the order of their names, too.
    /// What only its kind has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Box<RawValue>>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The caller's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<String>,
    /// Whose call it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What was called or changed, where that is not the name of a tool or prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

impl Opening {
    /// SHA-256 of the salt, a line feed, and what is said, as JSON.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn commitment(&self) -> Result<String, serde_json::Error> {
        let said = serde_json::to_vec(&self.said)?;
        let hash = Sha256::new()
            .chain_update(&self.salt)
            .chain_update(b"\n")
            .chain_update(said);
        Ok(URL_SAFE_NO_PAD.encode(hash.finalize()))
    }
}

impl Leaf {
    /// RFC 6962 section 2.1: of the leaf's canonical JSON (RFC 8785).
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn hash(&self) -> Result<Hash, serde_json::Error> {
        Ok(record_hash(&serde_json::to_vec(self)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf() -> Leaf {
        let all: serde_json::Map<_, _> = [
            "agent",
            "content_digest",
            "decision",
            "gateway",
            "gateway_policy",
            "id",
            "kind",
            "method",
            "personal",
            "request_id",
            "result_digest",
            "server",
            "service_policy",
            "subject_token_id",
            "target",
            "task",
            "time",
            "token_id",
            "txn",
        ]
        .into_iter()
        .map(|name| {
            (
                name.to_owned(),
                format!("{name} \u{0}\u{7f}\"\\/\n€😀").into(),
            )
        })
        .collect();
        serde_json::from_value(all.into()).unwrap()
    }

    /// RFC 8785: members in the order of their names, and no escapes but those that JSON needs.
    #[test]
    fn a_leaf_is_written_in_its_canonical_form() {
        let text = serde_json::to_string(&leaf()).unwrap();
        let members: Vec<_> = text.split("\",\"").collect();
        assert_eq!(members.len(), 19);
        assert!(members.iter().skip(1).is_sorted(), "{text}");
        assert!(
            text.contains("\"id\":\"id \\u0000\u{7f}\\\"\\\\/\\n€😀\","),
            "{text}"
        );
    }

    /// The same by hand: sha256(0x00 ‖ JSON), sha256(salt ‖ LF ‖ JSON).
    #[test]
    fn leaf_and_commitment_are_what_others_compute() {
        let leaf = Leaf {
            id: "a".to_owned(),
            kind: "mint".to_owned(),
            personal: "c".to_owned(),
            time: "2026-01-01T00:00:00Z".to_owned(),
            ..Leaf::default()
        };
        let json = br#"{"id":"a","kind":"mint","personal":"c","time":"2026-01-01T00:00:00Z"}"#;
        let hash = Sha256::digest([&[0], &json[..]].concat());
        assert_eq!(leaf.hash().unwrap().0[..], hash[..]);
        let opening: Opening = serde_json::from_str(
            r#"{"salt":"00ff","said":{"subject":"alice","detail":{"n": 1.0}}}"#,
        )
        .unwrap();
        let hash = Sha256::digest("00ff\n{\"detail\":{\"n\": 1.0},\"subject\":\"alice\"}");
        assert_eq!(opening.commitment().unwrap(), URL_SAFE_NO_PAD.encode(hash));
    }
}
