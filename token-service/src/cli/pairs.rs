//! `key=value` and `server:tool` on the command line.

use std::collections::BTreeMap;

use crate::registry::{Id, Labels};

/// A label: `key=value`.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write a label as key=value")?;
    let key_fits = (1..=64).contains(&key.len())
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    if !key_fits {
        return Err("a label's key has 1 to 64 letters, digits, '.', '_', '-' or '/'".to_owned());
    }
    if value.len() > 256 || value.chars().any(char::is_control) {
        return Err("a label's value has at most 256 bytes and no control characters".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// A tool of a server: `server:tool`.
pub(super) fn tool(text: &str) -> Result<(String, String), String> {
    let (server, tool) = text.split_once(':').ok_or("write a tool as SERVER:TOOL")?;
    let server = Id::parse(server).map_err(|e| e.to_string())?;
    if tool.is_empty() || tool.len() > 256 || tool.chars().any(char::is_control) {
        return Err("a tool's name has 1 to 256 bytes and no control characters".to_owned());
    }
    Ok((server.to_string(), tool.to_owned()))
}

/// A scope (RFC 6749 section 3.3).
pub(super) fn scope(text: &str) -> Result<String, String> {
    let fits = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    if (1..=128).contains(&text.len()) && text.bytes().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("a scope is one word of printable ASCII without quotes and backslashes (RFC 6749 section 3.3)".to_owned())
    }
}

/// A method beyond those of MCP.
pub(super) fn method(text: &str) -> Result<String, String> {
    writ_core::message::check_named(text)
        .map(|()| text.to_owned())
        .map_err(|e| e.to_string())
}

/// A name of something: short, and without anything that would disguise it.
pub(super) fn text(text: &str) -> Result<String, String> {
    if text.len() <= 256 && crate::audit::printable(text) == text {
        Ok(text.to_owned())
    } else {
        Err("at most 256 bytes, and no control or direction characters".to_owned())
    }
}

pub(super) fn labels(given: Vec<(String, String)>) -> Labels {
    given.into_iter().collect()
}

pub(super) fn tools(given: Vec<(String, String)>) -> BTreeMap<String, Vec<String>> {
    let mut tools: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (server, tool) in given {
        let of_server = tools.entry(server).or_default();
        if !of_server.contains(&tool) {
            of_server.push(tool);
        }
    }
    tools
}

/// `key=value, key=value` for a table.
pub(super) fn shown(labels: &Labels) -> String {
    labels
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_checked_where_they_are_typed() {
        assert_eq!(
            label("owner=finance=eu"),
            Ok(("owner".into(), "finance=eu".into()))
        );
        assert_eq!(tool("ledger:a:b"), Ok(("ledger".into(), "a:b".into())));
        for bad in ["owner", "=x", "a b=c"] {
            assert!(label(bad).is_err(), "{bad}");
        }
        for bad in ["ledger", "ledger:", ":tool", "a b:c"] {
            assert!(tool(bad).is_err(), "{bad}");
        }
        assert!(scope("ledger:read").is_ok());
        assert!(scope("two words").is_err());
    }
}
