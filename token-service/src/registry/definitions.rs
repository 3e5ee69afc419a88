//! Lists of tools as MCP servers give them, to be approved, and how one definition differs from another.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use writ_policy::pin::{Definition, DefinitionError};

/// Why a list of tools cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// In none of the forms that lists come in.
    #[error(
        "it is not a list of tools: save what `tools/list` answers, its `result`, or the `tools` in it, as JSON ({0})"
    )]
    Form(#[from] serde_json::Error),
    /// One of them cannot be approved.
    #[error("the tool at place {place}: {problem}")]
    Tool {
        /// Which one, from 1.
        place: usize,
        /// What is wrong with it.
        problem: DefinitionError,
    },
    /// Nobody knows which of them is called.
    #[error("the tool {0:?} is there twice")]
    Twice(String),
}

/// Reads a list, by the tools' names: an answer to `tools/list`, as JSON or as the only message of an event stream, its result, or
/// an array of tools.
///
/// # Errors
/// When it is none, or has a tool that cannot be approved.
pub fn read(list: &[u8]) -> Result<BTreeMap<String, Definition>, ListError> {
    #[derive(Deserialize)]
    struct Tools<'a> {
        #[serde(borrow)]
        tools: Vec<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        result: Option<&'a RawValue>,
    }
    let first = list.iter().find(|byte| !byte.is_ascii_whitespace());
    let list = match first {
        Some(b'[' | b'{') => list,
        _ => data(list),
    };
    let tools: Vec<&RawValue> = match first {
        Some(b'[') => serde_json::from_slice(list)?,
        _ => match serde_json::from_slice(list)? {
            Answer { result: Some(of) } => serde_json::from_str::<Tools<'_>>(of.get())?.tools,
            Answer { result: None } => serde_json::from_slice::<Tools<'_>>(list)?.tools,
        },
    };
    let mut definitions = BTreeMap::new();
    for (index, tool) in tools.iter().enumerate() {
        let read = Definition::read(tool.get().as_bytes());
        let definition = read.map_err(|problem| ListError::Tool {
            place: index + 1,
            problem,
        })?;
        if let Some(first) = definitions.insert(definition.name.clone(), definition) {
            return Err(ListError::Twice(first.name));
        }
    }
    Ok(definitions)
}

/// The last data of an event stream.
fn data(stream: &[u8]) -> &[u8] {
    let mut lines = stream.split(|byte| *byte == b'\n');
    let mut data = lines
        .by_ref()
        .filter_map(|line| line.strip_prefix(b"data:"));
    data.rfind(|data| !data.trim_ascii().is_empty())
        .unwrap_or(stream)
}

/// One place in which two definitions differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Where: a JSON Pointer (RFC 6901).
    pub path: String,
    /// What was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// What differs between two definitions in canonical form, member by member; arrays are compared as a whole.
#[must_use]
pub fn differences(before: &str, after: &str) -> Vec<Difference> {
    let value = |text| serde_json::from_str(text).ok();
    let mut found = Vec::new();
    compare("", value(before), value(after), &mut found);
    found
}

/// As deep as definitions may be, so that the recursion ends.
fn compare(path: &str, before: Option<Value>, after: Option<Value>, found: &mut Vec<Difference>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Some(Value::Object(mut before)), Some(Value::Object(mut after))) => {
            let names: BTreeSet<String> = before.keys().chain(after.keys()).cloned().collect();
            for name in names {
                let path = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
                compare(&path, before.remove(&name), after.remove(&name), found);
            }
        }
        (before, after) => found.push(Difference {
            path: path.to_owned(),
            before,
            after,
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_is_read_in_each_form_that_it_comes_in() {
        for list in [
            r#" [{"name":"a"},{"name":"b"}]"#,
            r#"{"tools":[{"name":"a"},{"name":"b"}],"nextCursor":"x"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"b"},{"name":"a"}]}}"#,
            "id: 0\ndata:\n\ndata: {\"result\":{\"tools\":[{\"name\":\"b\"},{\"name\":\"a\"}]}}\r\n\r\n",
        ] {
            let names: Vec<_> = read(list.as_bytes()).unwrap().into_keys().collect();
            assert_eq!(names, ["a", "b"], "{list}");
        }
        for (list, told) in [
            ("", "not a list of tools"),
            ("{}", "not a list of tools"),
            (r#"{"jsonrpc":"2.0","id":1,"error":{}}"#, "missing field"),
            (r#"{"tools":{"name":"a"}}"#, "not a list of tools"),
            (
                r#"[{"name":"a"},{"title":"b"}]"#,
                "at place 2: it has no `name`",
            ),
            (
                r#"[{"name":"a","x":{"y":1,"y":1}}]"#,
                "at place 1: it is not JSON",
            ),
            (
                r#"[{"name":"a"},{"name":"\u0061"}]"#,
                "\"a\" is there twice",
            ),
        ] {
            let error = read(list.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(told), "{list}: {error}");
        }
    }

    #[test]
    fn what_differs_is_named_by_its_place() {
        let before = r#"{"description":"Shows","inputSchema":{"properties":{"a/b":{"type":"string"}}},"name":"t"}"#;
        let after = r#"{"description":"Sends","inputSchema":{"properties":{"a/b":{"type":"string"},"c":{}}},"name":"t"}"#;
        let place = |path: &str, before, after| Difference {
            path: path.to_owned(),
            before,
            after,
        };
        assert_eq!(
            differences(before, after),
            [
                place("/description", Some(json!("Shows")), Some(json!("Sends"))),
                place("/inputSchema/properties/c", None, Some(json!({}))),
            ]
        );
        let [gone] = &differences(r#"{"a/b":[1]}"#, "{}")[..] else {
            panic!("one")
        };
        assert_eq!(gone, &place("/a~1b", Some(json!([1])), None));
        assert_eq!(differences(before, before), []);
    }
}
