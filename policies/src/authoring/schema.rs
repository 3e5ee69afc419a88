//! JSON Schema (2020-12), as much of it as the schemas of the policy library are written in.

use regex::Regex;
use serde_json::{Map, Value};

/// Where data is not as its schema says, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The members and places that lead there.
    pub path: Vec<String>,
    /// What is wrong.
    pub problem: String,
}

/// Where `value`, which `path` leads to, is not as `schema` says; empty where it is. A keyword that is not known here says
/// nothing.
#[must_use]
pub fn misfits(schema: &Value, value: &Value, path: &[&str]) -> Vec<Misfit> {
    let mut looking = Looking {
        path: path.iter().map(|step| (*step).to_owned()).collect(),
        found: Vec::new(),
    };
    looking.at(value, schema);
    looking.found
}

struct Looking {
    path: Vec<String>,
    found: Vec<Misfit>,
}

impl Looking {
    /// As deep as the schema goes: the recursion ends.
    fn at(&mut self, value: &Value, schema: &Value) {
        let Value::Object(keywords) = schema else {
            return;
        };
        for (keyword, says) in keywords {
            if let Some(problem) = problem(keyword, says, value) {
                self.misfit(&problem);
            }
        }
        match value {
            Value::Object(members) => self.members(members, keywords),
            Value::Array(items) => {
                if let Some(schema) = keywords.get("items") {
                    let items = items.iter().enumerate();
                    items.for_each(|(index, item)| self.below(index.to_string(), item, schema));
                }
            }
            _ => {}
        }
    }

    fn members(&mut self, members: &Map<String, Value>, keywords: &Map<String, Value>) {
        let named = keywords.get("properties").and_then(Value::as_object);
        for (name, value) in members {
            if let Some(schema) = keywords.get("propertyNames") {
                self.below(name.clone(), &Value::from(name.as_str()), schema);
            }
            let own = named.and_then(|named| named.get(name));
            match own.or_else(|| keywords.get("additionalProperties")) {
                Some(Value::Bool(false)) => {
                    let known: Vec<&str> = named
                        .into_iter()
                        .flat_map(Map::keys)
                        .map(String::as_str)
                        .collect();
                    self.path.push(name.clone());
                    self.misfit(&format!(
                        "is not known here; there may be: {}",
                        known.join(", ")
                    ));
                    self.path.pop();
                }
                Some(schema) => self.below(name.clone(), value, schema),
                None => {}
            }
        }
    }

    fn below(&mut self, step: String, value: &Value, schema: &Value) {
        self.path.push(step);
        self.at(value, schema);
        self.path.pop();
    }

    fn misfit(&mut self, problem: &str) {
        self.found.push(Misfit {
            path: self.path.clone(),
            problem: problem.to_owned(),
        });
    }
}

/// What a keyword has against a value, whatever is in it.
fn problem(keyword: &str, says: &Value, value: &Value) -> Option<String> {
    let (fits, wanted) = match (keyword, value) {
        ("type", _) => (is_a(value, says.as_str()?), "must be of type"),
        ("enum", _) => {
            let mut all = says.as_array()?.iter();
            (all.any(|one| is_same(one, value)), "must be one of")
        }
        ("const", _) => (is_same(says, value), "must be"),
        ("minimum", Value::Number(number)) => {
            (number.as_f64()? >= says.as_f64()?, "must be at least")
        }
        ("maximum", Value::Number(number)) => {
            (number.as_f64()? <= says.as_f64()?, "must be at most")
        }
        ("pattern", Value::String(text)) => {
            let pattern = Regex::new(says.as_str()?).ok()?;
            (pattern.is_match(text), "must match")
        }
        ("minLength", Value::String(text)) => {
            let length = text.chars().count();
            (
                length >= bound(says)?,
                "must have so many characters or more:",
            )
        }
        ("minItems", Value::Array(items)) => (
            items.len() >= bound(says)?,
            "must have so many entries or more:",
        ),
        ("uniqueItems", Value::Array(items)) => {
            let is_new =
                |(index, item)| !items.iter().take(index).any(|other| is_same(other, item));
            (
                items.iter().enumerate().all(is_new),
                "must have each entry once:",
            )
        }
        ("minProperties", Value::Object(members)) => (
            members.len() >= bound(says)?,
            "must have so many members or more:",
        ),
        ("maxProperties", Value::Object(members)) => (
            members.len() <= bound(says)?,
            "must have so many members or fewer:",
        ),
        ("required", Value::Object(members)) => {
            let mut names = says.as_array()?.iter().filter_map(Value::as_str);
            (
                names.all(|name| members.contains_key(name)),
                "must have all of",
            )
        }
        _ => return None,
    };
    (!fits).then(|| format!("{wanted} {says}"))
}

fn bound(says: &Value) -> Option<usize> {
    usize::try_from(says.as_u64()?).ok()
}

fn is_a(value: &Value, of_type: &str) -> bool {
    match (of_type, value) {
        ("integer", Value::Number(number)) => {
            number.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
        ("number", Value::Number(_))
        | ("string", Value::String(_))
        | ("boolean", Value::Bool(_))
        | ("array", Value::Array(_))
        | ("object", Value::Object(_))
        | ("null", Value::Null) => true,
        _ => false,
    }
}

/// Numbers are the same whether written with a fraction of zero or without one.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(schema: &Value, value: &Value) -> Vec<String> {
        let one = |misfit: Misfit| format!("{} {}", misfit.path.join("."), misfit.problem);
        misfits(schema, value, &["data"])
            .into_iter()
            .map(one)
            .collect()
    }

    #[test]
    fn each_keyword_has_its_say() {
        for (schema, good, bad) in [
            (
                json!({"type": "integer"}),
                json!([1, 1.0, -3]),
                json!([1.5, "1", null, true]),
            ),
            (json!({"type": "number"}), json!([1, 1.5]), json!(["1", []])),
            (json!({"type": "string"}), json!([""]), json!([1, {}])),
            (
                json!({"type": "boolean"}),
                json!([true]),
                json!(["true", 1, null]),
            ),
            (json!({"type": "array"}), json!([[]]), json!([{}])),
            (json!({"type": "object"}), json!([{}]), json!([[]])),
            (json!({"type": "null"}), json!([null]), json!([false])),
            (
                json!({"enum": ["a", 1]}),
                json!(["a", 1, 1.0]),
                json!(["b", "1"]),
            ),
            (
                json!({"const": true}),
                json!([true]),
                json!([false, "true", 1]),
            ),
            (
                json!({"minimum": 0, "maximum": 24}),
                json!([0, 24, "x"]),
                json!([-0.5, 25]),
            ),
            (json!({"minLength": 1}), json!(["ü", 1, []]), json!([""])),
            (
                json!({"pattern": "^[a-z]+$"}),
                json!(["a", 1]),
                json!(["A", ""]),
            ),
            (json!({"minItems": 1}), json!([[1], "", {}]), json!([[]])),
            (
                json!({"uniqueItems": true}),
                json!([[1, 2], []]),
                json!([[1, 2, 1.0]]),
            ),
            (
                json!({"minProperties": 1, "maxProperties": 1}),
                json!([{"a": 1}]),
                json!([{}, {"a": 1, "b": 1}]),
            ),
            (
                json!({"required": ["a"]}),
                json!([{"a": null}, 1]),
                json!([{"b": 1}]),
            ),
            (
                json!({"propertyNames": {"minLength": 2}}),
                json!([{"ab": 1}]),
                json!([{"a": 1}]),
            ),
            (
                json!({"items": {"type": "string"}}),
                json!([["a"], "x"]),
                json!([[1]]),
            ),
            (
                json!({"additionalProperties": {"type": "string"}}),
                json!([{"a": "x"}]),
                json!([{"a": 1}]),
            ),
            (
                json!({"properties": {"a": {"type": "string"}}, "additionalProperties": false}),
                json!([{}, {"a": "x"}]),
                json!([{"a": 1}, {"b": 1}]),
            ),
            (
                json!({"unknown": 1, "title": "x"}),
                json!([1, null]),
                json!([]),
            ),
        ] {
            for value in good.as_array().unwrap() {
                assert_eq!(told(&schema, value), [""; 0], "{schema} {value}");
            }
            for value in bad.as_array().unwrap() {
                assert_eq!(told(&schema, value).len(), 1, "{schema} {value}");
            }
        }
    }

    #[test]
    fn the_place_is_named_and_what_is_wrong_with_it() {
        let schema = json!({"additionalProperties": {"properties": {"days": {"items": {"enum": ["Monday"]}}}, "additionalProperties": false}});
        assert_eq!(
            told(
                &schema,
                &json!({"ledger": {"days": ["Monday", "Mon"], "form": 8}})
            ),
            [
                r#"data.ledger.days.1 must be one of ["Monday"]"#,
                "data.ledger.form is not known here; there may be: days",
            ]
        );
    }
}
