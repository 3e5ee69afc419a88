//! `data.json` and `data.yaml`: each at the place that its directory names, as in OPA bundles.

use std::collections::BTreeMap;

use serde::de::DeserializeSeed as _;
use serde_json::{Map, Value, map::Entry};

use super::{
    MOST, SourceError,
    bounded::{Bounded, Budget},
};

/// So deep may data be nested, the directories it lies in included: a snapshot with it in it can be read by every gateway.
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
    let budget = Budget::new(MOST);
    for (path, text) in files {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let Some(format) = format(name) else {
            continue;
        };
        let steps: Vec<&str> = directory
            .split('/')
            .filter(|step| !step.is_empty())
            .collect();
        let Some(levels) = DEEPEST.checked_sub(steps.len()) else {
            return Err(SourceError::entry(
                path,
                "its directories are nested too deeply",
            ));
        };
        let bounded = Bounded {
            budget: &budget,
            levels,
        };
        let value = match format {
            Format::Json => json(text, bounded),
            Format::Yaml => bounded
                .deserialize(yaml_serde::Deserializer::from_str(text))
                .map_err(|problem| problem.to_string()),
        };
        let value = value.map_err(|problem| SourceError::entry(path, problem))?;
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

/// The file that sets what a path leads to, or else the one that sets most of the way there.
pub(super) fn set_by<'a>(files: &'a BTreeMap<String, String>, path: &[String]) -> Option<&'a str> {
    let reaches = |(name, text): (&'a String, &'a String)| {
        let alone = BTreeMap::from([(name.clone(), text.clone())]);
        let document = Value::Object(merge(&alone).ok()?);
        let mut at = &document;
        let mut steps = 0;
        for step in path {
            let below = match at {
                Value::Object(members) => members.get(step),
                Value::Array(items) => step.parse().ok().and_then(|index: usize| items.get(index)),
                _ => None,
            };
            let Some(below) = below else { break };
            at = below;
            steps += 1;
        }
        Some((steps, name.as_str()))
    };
    let reached = files.iter().filter_map(reaches);
    reached
        .max_by_key(|(steps, _)| *steps)
        .map(|(_, name)| name)
}

fn json(text: &str, bounded: Bounded<'_>) -> Result<Value, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = bounded.deserialize(&mut json);
    value
        .and_then(|value| json.end().map(|()| value))
        .map_err(|problem| problem.to_string())
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(files: &[(&str, &str)]) -> Result<Value, String> {
        let files = files.iter().map(|(p, t)| ((*p).into(), (*t).into()));
        merge(&files.collect())
            .map(Value::Object)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn aliases_are_followed_as_far_as_the_data_stays_small() {
        let yaml = "a: &a {k: [1, -2, 1.5, true, ~, text]}\nb: *a\n7: seven\n";
        let list = json!({"k": [1, -2, 1.5, true, null, "text"]});
        assert_eq!(
            merged(&[("data.yaml", yaml)]),
            Ok(json!({"a": list, "b": list, "7": "seven"}))
        );
    }

    #[test]
    fn an_alias_bomb_is_refused_in_each_shape_and_over_files() {
        let long = format!("a: &a {}\n", "x".repeat(1024 * 1024));
        let strings = format!("{long}b: [*a, *a, *a, *a, *a]\n");
        let (zeros, aliases) = ("0,".repeat(10_000), "*a,".repeat(300));
        let lists = format!("a: &a [{zeros}]\nb: [{aliases}]\n");
        for yaml in [&strings, &lists] {
            let told = merged(&[("data.yaml", yaml)]).unwrap_err();
            assert!(told.contains("too large"), "{told}");
        }
        let half = format!("{long}b: [*a, *a]\n");
        merged(&[("data.yaml", &half)]).unwrap();
        let told = merged(&[("a/data.yaml", &half), ("b/data.yaml", &half)]).unwrap_err();
        assert!(told.contains("b/data.yaml"), "{told}");
        assert!(told.contains("too large"), "{told}");
    }

    #[test]
    fn data_is_as_deep_as_a_snapshot_can_be_read() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        for format in ["data.json", "data.yaml"] {
            let path = format!("one/two/{format}");
            let deepest = nested(DEEPEST - 2);
            let taken = merged(&[(&path, &deepest)]).unwrap();
            let snapshot = json!({"policy": {"data": taken}}).to_string();
            serde_json::from_str::<Value>(&snapshot).unwrap();
            let told = merged(&[(&path, &nested(DEEPEST - 1))]).unwrap_err();
            assert!(told.contains("too deeply"), "{told}");
        }
    }

    #[test]
    fn the_file_that_sets_something_is_known() {
        let files = [
            ("a.rego", "package a"),
            (
                "data.json",
                r#"{"hours": {"wiki": {}}, "x": {"list": [1, 2]}}"#,
            ),
            ("hours/data.yaml", "ledger: {transfer: 8}"),
        ];
        let files = files.map(|(p, t)| (p.to_owned(), t.to_owned())).into();
        for (path, file) in [
            ("hours.ledger.transfer", "hours/data.yaml"),
            ("hours.wiki.more", "data.json"),
            ("x.list.1", "data.json"),
        ] {
            let path: Vec<String> = path.split('.').map(str::to_owned).collect();
            assert_eq!(set_by(&files, &path), Some(file), "{path:?}");
        }
    }

    #[test]
    fn json_ends_with_its_value() {
        let told = merged(&[("data.json", "{} {}")]).unwrap_err();
        assert!(told.contains("trailing"), "{told}");
    }
}
