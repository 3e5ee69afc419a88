//! `data.json` and `data.yaml`: each at the place that its directory names, as in OPA bundles.

use std::collections::BTreeMap;

use serde_json::{Map, Value, map::Entry};

use super::SourceError;

/// So deep may data be nested, the directories it lies in included.
const DEEPEST: usize = 64;

#[derive(Clone, Copy, Debug)]
pub(super) enum Format {
    Json,
    Yaml,
}

/// What a file of this name holds, if it holds data.
pub(super) fn format(name: &str) -> Option<Format> {
    match name {
        "data.json" => Some(Format::Json),
        "data.yaml" | "data.yml" => Some(Format::Yaml),
        _ => None,
    }
}

/// One document of all data files. No two may set the same.
pub(super) fn merge(files: &BTreeMap<String, String>) -> Result<Map<String, Value>, SourceError> {
    let mut document = Map::new();
    for (path, text) in files {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let Some(format) = format(name) else {
            continue;
        };
        let value: Value = match format {
            Format::Json => serde_json::from_str(text)
                .map_err(|problem| SourceError::entry(path, problem.to_string()))?,
            Format::Yaml => yaml_serde::from_str(text)
                .map_err(|problem| SourceError::entry(path, problem.to_string()))?,
        };
        let steps: Vec<&str> = directory
            .split('/')
            .filter(|step| !step.is_empty())
            .collect();
        if steps.len() > DEEPEST {
            return Err(SourceError::entry(
                path,
                "its directories are nested too deeply",
            ));
        }
        let placed = steps.iter().rev().fold(value, |value, step| {
            Value::Object(Map::from_iter([((*step).to_owned(), value)]))
        });
        let Value::Object(placed) = placed else {
            return Err(SourceError::entry(
                path,
                "the data at the root of a policy must be an object",
            ));
        };
        add(&mut document, placed, path, "data")?;
    }
    Ok(document)
}

/// Adds what is not there yet. As deep as the parsers let values be, so that the recursion ends.
fn add(
    document: &mut Map<String, Value>,
    more: Map<String, Value>,
    path: &str,
    at: &str,
) -> Result<(), SourceError> {
    for (key, value) in more {
        match document.entry(key) {
            Entry::Vacant(free) => {
                free.insert(value);
            }
            Entry::Occupied(mut taken) => {
                let at = format!("{at}.{}", taken.key());
                let (Value::Object(there), Value::Object(value)) = (taken.get_mut(), value) else {
                    let problem = format!("{at} is set by another file too");
                    return Err(SourceError::entry(path, problem));
                };
                add(there, value, path, &at)?;
            }
        }
    }
    Ok(())
}
