//! The token exchange (RFC 8693) as a gateway asks for it, by hand.

use anyhow::Result;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The form that asks for a token for exactly this message of the caller's to a server, or to look around there where it
/// calls no tool.
pub fn form(
    caller: &str,
    server: &str,
    resource: &str,
    message: &str,
) -> Result<[(&'static str, String); 8]> {
    let parsed: Value = serde_json::from_str(message)?;
    let order = if parsed["method"] == "tools/call" {
        json!({"type": "mcp_request", "server": server, "method": "tools/call",
            "target": parsed["params"]["name"], "content_digest": content_digest(message)})
    } else {
        json!({"type": "mcp_discovery", "server": server})
    };
    let context = json!({"request_id": uuid::Uuid::now_v7().to_string(), "time": "2026-11-23T10:00:00Z",
        "source_ip": "127.0.0.1", "protocol_version": "2026-07-28", "headers": {}, "policy_revision": "test"});
    Ok([
        ("grant_type", GRANT.to_owned()),
        ("subject_token", caller.to_owned()),
        ("subject_token_type", ACCESS_TOKEN.to_owned()),
        ("requested_token_type", ACCESS_TOKEN.to_owned()),
        ("resource", resource.to_owned()),
        ("authorization_details", json!([order]).to_string()),
        ("mcp_message", BASE64_URL_SAFE_NO_PAD.encode(message)),
        ("mcp_context", context.to_string()),
    ])
}

/// What a token is bound to (RFC 9530).
pub fn content_digest(body: impl AsRef<[u8]>) -> String {
    format!("sha-256=:{}:", BASE64_STANDARD.encode(Sha256::digest(body)))
}
