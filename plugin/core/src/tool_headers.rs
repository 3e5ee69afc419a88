//! The arguments that tools want repeated in `Mcp-Param-…` headers (MCP 2026-07-28, `x-mcp-header`): learnt from the lists of
//! tools that pass, so that a call's headers can be held against its arguments.
//!
//! What is learnt counts for a minute: another worker may have seen a newer list. Where nothing is known the server checks
//! alone, as it has to anyway.

use std::rc::Rc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value as Json;

use crate::token::cache::Cache;

/// Tools that are remembered, per worker.
const TOOLS: usize = 2048;

/// How long what a list said is taken for true.
const GOOD_FOR: Duration = Duration::from_secs(60);

/// The most arguments of one tool that are looked at; the deepest that they may be.
const MAX_DECLARED: usize = 32;
const MAX_DEPTH: usize = 8;

/// The longest header name, in bytes.
const MAX_HEADER: usize = 64;

/// The keyword that names the header.
const KEYWORD: &str = "x-mcp-header";

/// An argument and the header that repeats it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Declared {
    /// Its name after `mcp-param-`, in lower case.
    pub(crate) header: String,
    /// Where it is in the arguments.
    pub(crate) path: Vec<String>,
}

/// What is known of tools, by server and name.
#[derive(Debug)]
pub(crate) struct ToolHeaders(Cache<(String, String), Known>);

#[derive(Clone, Debug)]
struct Known {
    at: Duration,
    declared: Rc<[Declared]>,
}

impl Default for ToolHeaders {
    fn default() -> Self {
        Self(Cache::new(TOOLS))
    }
}

impl ToolHeaders {
    /// A tool's entry in a list passes, as the server wrote it.
    pub(crate) fn learn(&mut self, server: &str, tool: &str, entry: &str, now: Duration) {
        if !entry.contains(KEYWORD) && self.0.is_empty() {
            return;
        }
        let key = (server.to_owned(), tool.to_owned());
        let declared = declared(entry);
        if !declared.is_empty() || self.0.get(&key).is_some() {
            let declared = declared.into();
            self.0.insert(key, Known { at: now, declared });
        }
    }

    /// The arguments that a tool wants repeated, as far as that is known.
    pub(crate) fn of(&mut self, server: &str, tool: &str, now: Duration) -> Rc<[Declared]> {
        if self.0.is_empty() {
            return Rc::default();
        }
        let known = self.0.get(&(server.to_owned(), tool.to_owned()));
        known
            .filter(|known| now < known.at + GOOD_FOR)
            .map_or_else(Rc::default, |known| known.declared)
    }
}

/// What an entry declares; nothing where it is not as the specification has it.
fn declared(entry: &str) -> Vec<Declared> {
    #[derive(Deserialize)]
    struct Tool {
        #[serde(rename = "inputSchema")]
        schema: Json,
    }
    let mut found = Vec::new();
    if entry.contains(KEYWORD)
        && let Ok(tool) = serde_json::from_str::<Tool>(entry)
        && collect(&tool.schema, &mut Vec::new(), &mut found).is_some()
    {
        return found;
    }
    Vec::new()
}

/// Walks the properties; none when the definition is not valid.
fn collect(schema: &Json, path: &mut Vec<String>, found: &mut Vec<Declared>) -> Option<()> {
    if let Some(name) = schema.get(KEYWORD) {
        let header = name
            .as_str()
            .filter(|name| is_token(name))?
            .to_ascii_lowercase();
        let taken = found.iter().any(|declared| declared.header == header);
        if taken || path.is_empty() || found.len() == MAX_DECLARED {
            return None;
        }
        let path = path.clone();
        found.push(Declared { header, path });
    }
    let Some(Json::Object(properties)) = schema.get("properties") else {
        return Some(());
    };
    if path.len() == MAX_DEPTH {
        return None;
    }
    for (name, property) in properties {
        path.push(name.clone());
        collect(property, path, found)?;
        path.pop();
    }
    Some(())
}

/// RFC 9110 section 5.6.2.
fn is_token(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    (1..=MAX_HEADER).contains(&name.len()) && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);
    const TOOL: &str = r#"{"name":"t","inputSchema":{"type":"object","properties":{
        "region":{"type":"string","x-mcp-header":"Region"},
        "deep":{"type":"object","properties":{"n":{"type":"integer","x-mcp-header":"N"}}},
        "other":{"type":"string"}}}}"#;

    #[test]
    fn what_a_list_declares_is_known_for_a_while() {
        let mut known = ToolHeaders::default();
        known.learn("ledger", "t", TOOL, NOW);
        let names: Vec<_> = known
            .of("ledger", "t", NOW)
            .iter()
            .map(|d| (d.header.clone(), d.path.join(".")))
            .collect();
        assert_eq!(
            names,
            [("n", "deep.n"), ("region", "region")].map(|(a, b)| (a.to_owned(), b.to_owned()))
        );
        assert!(known.of("crm", "t", NOW).is_empty());
        assert!(known.of("ledger", "u", NOW).is_empty());
        assert!(known.of("ledger", "t", NOW + GOOD_FOR).is_empty());
    }

    #[test]
    fn a_newer_list_counts() {
        let mut known = ToolHeaders::default();
        known.learn("ledger", "t", TOOL, NOW);
        known.learn("ledger", "t", r#"{"name":"t","inputSchema":{}}"#, NOW);
        assert!(known.of("ledger", "t", NOW).is_empty());
    }

    #[test]
    fn of_a_definition_that_is_not_valid_nothing_is_taken() {
        let property = |name: &str| format!(r#"{{"type":"string","x-mcp-header":{name}}}"#);
        let many: Vec<_> = (0..=MAX_DECLARED)
            .map(|n| format!(r#""p{n}":{}"#, property(&format!("\"h{n}\""))))
            .collect();
        let deep = (0..=MAX_DEPTH).fold(property("\"h\""), |inner, _| {
            format!(r#"{{"properties":{{"p":{inner}}}}}"#)
        });
        for schema in [
            format!(
                r#"{{"properties":{{"a":{},"b":{}}}}}"#,
                property("\"h\""),
                property("\"H\"")
            ),
            format!(r#"{{"properties":{{"a":{}}}}}"#, property("\"a b\"")),
            format!(r#"{{"properties":{{"a":{}}}}}"#, property("\"\"")),
            format!(r#"{{"properties":{{"a":{}}}}}"#, property("7")),
            property("\"h\""),
            format!(r#"{{"properties":{{{}}}}}"#, many.join(",")),
            deep,
        ] {
            let entry = format!(r#"{{"name":"t","inputSchema":{schema}}}"#);
            assert!(declared(&entry).is_empty(), "{schema}");
        }
    }
}
