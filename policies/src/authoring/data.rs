//! Whether a policy's data is as the schemas say that its modules name.
//!
//! Each template of the library names the schema of its data as OPA's annotations do (`schemas`, `data.hours: schema.writ.hours`).
//! The names that begin with `schema.writ.` are those of the library; what else is named there is for others to check.

use serde_json::{Map, Value};

use super::schema::{self, Misfit};
use crate::adapter::metadata;
use crate::engine::Module;

/// The schemas of the library, by what comes after `schema.writ.`.
const SCHEMAS: [(&str, &str); 16] = [
    ("access", include_str!("../../schemas/writ/access.json")),
    ("budgets", include_str!("../../schemas/writ/budgets.json")),
    (
        "classification",
        include_str!("../../schemas/writ/classification.json"),
    ),
    ("duties", include_str!("../../schemas/writ/duties.json")),
    (
        "environments",
        include_str!("../../schemas/writ/environments.json"),
    ),
    ("exchange", include_str!("../../schemas/writ/exchange.json")),
    ("hours", include_str!("../../schemas/writ/hours.json")),
    ("labels", include_str!("../../schemas/writ/labels.json")),
    ("limits", include_str!("../../schemas/writ/limits.json")),
    (
        "questions",
        include_str!("../../schemas/writ/questions.json"),
    ),
    (
        "read_only",
        include_str!("../../schemas/writ/read_only.json"),
    ),
    (
        "registration",
        include_str!("../../schemas/writ/registration.json"),
    ),
    ("results", include_str!("../../schemas/writ/results.json")),
    ("risk", include_str!("../../schemas/writ/risk.json")),
    ("roles", include_str!("../../schemas/writ/roles.json")),
    ("tasks", include_str!("../../schemas/writ/tasks.json")),
];

/// Where data is not what the templates among the modules can use.
#[must_use]
pub fn misfits(modules: &[Module], data: &Map<String, Value>) -> Vec<Misfit> {
    let named = modules
        .iter()
        .flat_map(|module| metadata::schemas(&module.text));
    let of = |(of, schema): (String, String)| {
        let name = of.strip_prefix("data.")?;
        let schema = library(schema.strip_prefix("schema.writ.")?)?;
        Some(schema::misfits(&schema, data.get(name)?, &[name]))
    };
    named.filter_map(of).flatten().collect()
}

fn library(name: &str) -> Option<Value> {
    let (_, schema) = SCHEMAS.iter().find(|(known, _)| *known == name)?;
    serde_json::from_str(schema).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::library as shipped;

    fn found(modules: &[Module], data: Value) -> Vec<String> {
        let Value::Object(data) = data else { panic!() };
        let place = |misfit: Misfit| misfit.path.join(".");
        misfits(modules, &data).into_iter().map(place).collect()
    }

    #[test]
    fn every_schema_is_that_of_a_template_and_has_no_keyword_that_is_not_looked_at() {
        let mut modules = shipped::modules();
        modules.push(Module {
            path: "result.rego".to_owned(),
            text: include_str!("../../result.rego").to_owned(),
        });
        let named: BTreeSet<String> = modules
            .iter()
            .flat_map(|module| metadata::schemas(&module.text))
            .map(|(of, schema)| {
                let name = of.strip_prefix("data.").unwrap().to_owned();
                assert_eq!(schema, format!("schema.writ.{name}"));
                name
            })
            .collect();
        assert!(named.iter().eq(SCHEMAS.map(|(name, _)| name)), "{named:?}");
        for (name, _) in SCHEMAS {
            assert_known(&library(name).unwrap());
        }
    }

    /// Every keyword of a schema, and of those in it, is looked at or says nothing about data.
    fn assert_known(schema: &Value) {
        const KNOWN: [&str; 18] = [
            "$schema",
            "$id",
            "title",
            "type",
            "enum",
            "const",
            "minimum",
            "maximum",
            "minLength",
            "pattern",
            "minItems",
            "uniqueItems",
            "minProperties",
            "maxProperties",
            "required",
            "propertyNames",
            "items",
            "additionalProperties",
        ];
        let Value::Object(keywords) = schema else {
            return;
        };
        for (keyword, says) in keywords {
            if keyword == "properties" {
                says.as_object().unwrap().values().for_each(assert_known);
                continue;
            }
            assert!(KNOWN.contains(&keyword.as_str()), "{keyword}");
            assert_known(says);
        }
    }

    #[test]
    fn only_what_names_a_schema_is_held_to_it() {
        let wrong = json!({"hours": {"ledger": 5}, "mine": 1});
        assert_eq!(found(&shipped::modules(), wrong.clone()), ["hours.ledger"]);
        let own = |text: &str| {
            [Module {
                path: "own.rego".to_owned(),
                text: text.to_owned(),
            }]
        };
        for text in [
            "package writ.hours\nx := data.hours\n",
            "# METADATA\n# schemas:\n#   - data.hours: schema.hours\n#   - input: schema.writ.hours\npackage p\n",
        ] {
            assert_eq!(found(&own(text), wrong.clone()), [""; 0], "{text}");
        }
        let named = "# METADATA\n# schemas:\n#   - data.hours: schema.writ.hours\npackage p\n";
        assert_eq!(found(&own(named), wrong), ["hours.ledger"]);
    }
}
