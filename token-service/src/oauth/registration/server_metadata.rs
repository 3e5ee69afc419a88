//! What an MCP server says about itself, in the words of RFC 9728 where it has them.

use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;
use writ_core::message::check_named;

use super::client_metadata::{MetadataError, text, wrong};
use crate::{
    oauth::scope::is_scope_token,
    registry::{Enforcement, Labels, Server, check_identifier},
};

const MAX_TEXT: usize = 128;
const MAX_URI: usize = 2048;
const MAX_TOOLS: usize = 256;
const MAX_METHODS: usize = 64;
const MAX_SCOPES: usize = 64;
const MAX_LABELS: usize = 16;

/// The members as they are sent. What is not known is ignored, as in RFC 7591 section 2.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Raw {
    resource: Option<String>,
    resource_name: Option<String>,
    owner: Option<String>,
    upstream: Option<String>,
    tools: Vec<String>,
    methods: Vec<String>,
    scopes_supported: Vec<String>,
    enforcement: Option<Enforcement>,
    labels: Labels,
}

/// Metadata that is in order, as a whole.
#[derive(Clone, Debug)]
pub(super) struct CheckedServer {
    resource: String,
    name: String,
    owner: Option<String>,
    upstream: Option<String>,
    tools: Vec<String>,
    methods: Vec<String>,
    scopes: Vec<String>,
    enforcement: Enforcement,
    labels: Labels,
}

impl CheckedServer {
    /// Checks metadata.
    ///
    /// # Errors
    /// Each names the member.
    pub(super) fn check(members: Map<String, Value>) -> Result<Self, MetadataError> {
        let raw: Raw = serde_json::from_value(Value::Object(members))
            .map_err(|e| wrong("metadata", e.to_string()))?;
        let resource = raw
            .resource
            .ok_or_else(|| wrong("resource", "it is missing: the server's public URL"))?;
        Ok(Self {
            resource: check_identifier("resource", &resource)
                .map_err(|e| wrong("resource", e.to_string()))?,
            name: text("resource_name", raw.resource_name, MAX_TEXT)?.unwrap_or_default(),
            owner: text("owner", raw.owner, MAX_TEXT)?,
            upstream: raw.upstream.map(upstream).transpose()?,
            tools: tools(raw.tools)?,
            methods: methods(raw.methods)?,
            scopes: scopes(raw.scopes_supported)?,
            enforcement: raw.enforcement.unwrap_or(Enforcement::Guard),
            labels: labels(raw.labels)?,
        })
    }

    /// The public URL.
    pub(super) fn resource(&self) -> &str {
        &self.resource
    }

    /// Makes `server` what the metadata says: every member is replaced, those that are absent included. Whoever named no owner
    /// is owned by `owner`.
    pub(super) fn apply(self, server: &mut Server, owner: &str) {
        server.resource = self.resource;
        server.name = self.name;
        server.owner = self.owner.unwrap_or_else(|| owner.to_owned());
        server.upstream = self.upstream;
        server.tools = self.tools;
        server.methods = self.methods;
        server.scopes = self.scopes;
        server.enforcement = self.enforcement;
        server.labels = self.labels;
    }
}

fn upstream(given: String) -> Result<String, MetadataError> {
    let fits = Url::parse(&given).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
    });
    if fits && given.len() <= MAX_URI && given.chars().all(|c| c.is_ascii_graphic()) {
        Ok(given)
    } else {
        Err(wrong(
            "upstream",
            "it must be an http or https URL without user info",
        ))
    }
}

fn tools(given: Vec<String>) -> Result<Vec<String>, MetadataError> {
    let fits =
        |tool: &String| (1..=256).contains(&tool.len()) && !tool.chars().any(char::is_control);
    if given.len() <= MAX_TOOLS && given.iter().all(fits) {
        Ok(given)
    } else {
        Err(wrong(
            "tools",
            format!("at most {MAX_TOOLS} names of 1 to 256 bytes without control characters"),
        ))
    }
}

fn methods(given: Vec<String>) -> Result<Vec<String>, MetadataError> {
    if given.len() > MAX_METHODS {
        return Err(wrong("methods", format!("at most {MAX_METHODS}")));
    }
    for method in &given {
        check_named(method).map_err(|e| wrong("methods", e.to_string()))?;
    }
    Ok(given)
}

fn scopes(given: Vec<String>) -> Result<Vec<String>, MetadataError> {
    if given.len() <= MAX_SCOPES && given.iter().all(|scope| is_scope_token(scope)) {
        Ok(given)
    } else {
        Err(wrong(
            "scopes_supported",
            format!("at most {MAX_SCOPES} words of printable ASCII without quotes and backslashes"),
        ))
    }
}

fn labels(given: Labels) -> Result<Labels, MetadataError> {
    let fits = |(key, value): (&String, &String)| {
        (1..=64).contains(&key.len())
            && key
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c))
            && value.len() <= 256
            && !value.chars().any(char::is_control)
    };
    if given.len() <= MAX_LABELS && given.iter().all(fits) {
        Ok(given)
    } else {
        Err(wrong(
            "labels",
            format!(
                "at most {MAX_LABELS}, with keys of 1 to 64 letters, digits, '.', '_', '-' or '/' and values of at most 256 bytes"
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(members: Value) -> Result<CheckedServer, MetadataError> {
        let Value::Object(members) = members else {
            panic!("an object")
        };
        CheckedServer::check(members)
    }

    #[test]
    fn a_server_says_at_least_what_it_is_called_under() {
        assert!(check(json!({"resource": "https://wiki.test/mcp"})).is_ok());
        for (bad, field) in [
            (json!({}), "resource"),
            (json!({"resource": "wiki"}), "resource"),
            (
                json!({"resource": "https://a/b", "upstream": "ftp://a"}),
                "upstream",
            ),
            (json!({"resource": "https://a/b", "tools": [""]}), "tools"),
            (
                json!({"resource": "https://a/b", "methods": ["stream/open"]}),
                "methods",
            ),
            (
                json!({"resource": "https://a/b", "scopes_supported": ["a b"]}),
                "scopes_supported",
            ),
            (
                json!({"resource": "https://a/b", "labels": {"a b": "c"}}),
                "labels",
            ),
            (
                json!({"resource": "https://a/b", "enforcement": "hope"}),
                "metadata",
            ),
            (
                json!({"resource": "https://a/b", "resource_name": "a\u{202e}b"}),
                "resource_name",
            ),
        ] {
            let error = check(bad.clone()).unwrap_err().to_string();
            assert!(error.starts_with(field), "{bad}: {error}");
        }
    }
}
