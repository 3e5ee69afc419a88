//! The policies that are measured: as many tool rules as asked for, or none at all.

use serde_json::{Map, Value, json};

use crate::service::SERVER;

/// The group that all callers are in.
pub const GROUP: &str = "staff";

/// Rego and its data.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The module.
    pub rego: &'static str,
    /// Its `data` document.
    pub data: Value,
}

impl Policy {
    /// Decides by group, tool and arguments, out of this many tool rules.
    pub fn with_rules(rules: u64) -> Self {
        Self {
            rego: include_str!("policy.rego"),
            data: data(rules),
        }
    }

    /// Allows every call, and shows of a list what is among this many tools.
    pub fn for_lists(tools: u64) -> Self {
        Self {
            rego: include_str!("lists.rego"),
            data: data(tools),
        }
    }

    /// Allows everything without looking: what the cost of a decision is measured against.
    pub fn trivial() -> Self {
        Self {
            rego: "package writ\n\ncall := {\"allow\": true}\n",
            data: json!({}),
        }
    }
}

/// Data in the library's shape: `rules` tools on the server, each granted to two groups and with a limit on an
/// argument.
pub fn data(rules: u64) -> Value {
    let each_tool = |value: Value| -> Map<String, Value> {
        (0..rules)
            .map(|n| (format!("tool_{n}"), value.clone()))
            .collect()
    };
    json!({
        "access": { SERVER: {
            "discover": { GROUP: true },
            "tools": each_tool(json!({ GROUP: true, "auditors": true })),
            "prompts": {},
        } },
        "roles": {},
        "limits": { SERVER: each_tool(json!({ "amount": { "max": 1000 } })) },
        "hours": {},
    })
}
