//! User Access Management [3005]: who may do what was given or taken back: consent, tasks, revocation, lockdown.

use serde_json::{Value, json};

use super::{Activity, Class, Draft, Severity, actor, administrator, detail, source, status, user};
use crate::audit::{Kind, Record, Verdict};

const CLASS: Class = Class {
    name: "User Access Management",
    uid: 3005,
    category: "Identity & Access Management",
    category_uid: 3,
};

/// Whether what an administrator did is about what somebody may do.
pub(super) fn is_one(record: &Record) -> bool {
    matches!(record.method.as_deref(), Some("revoke" | "lockdown"))
}

pub(super) fn event(record: &Record) -> Draft {
    let by_admin = record.kind == Kind::Admin;
    Draft {
        class: CLASS,
        activity: activity(record),
        severity: match record.decision {
            _ if by_admin => Severity::Medium,
            Some(Verdict::Deny) => Severity::Low,
            _ => Severity::Informational,
        },
        status: status(record),
        own: json!({
            "user": if by_admin { stopped(record) } else { user(record) },
            "privileges": privileges(record),
            "actor": if by_admin { administrator(record) } else { actor(record) },
            "resources": record.server.as_ref().map(|server| json!([{ "name": server, "type": "MCP server" }])),
            "src_endpoint": source(record),
        }),
    }
}

fn activity(record: &Record) -> Activity {
    match (record.method.as_deref(), record.target.as_deref()) {
        (Some("revoke" | "task close"), _) => Activity::new(2, "Revoke Privileges"),
        (Some("lockdown"), Some("off")) => Activity::new(1, "Assign Privileges"),
        (Some("lockdown"), _) => Activity::new(2, "Revoke Privileges"),
        _ => Activity::new(1, "Assign Privileges"),
    }
}

/// Whom an administrator stopped. A lockdown stops everybody.
fn stopped(record: &Record) -> Value {
    match (record.method.as_deref(), &record.target) {
        (Some("revoke"), Some(target)) => {
            json!({ "name": target, "uid": target, "type": detail(record, "what"), "type_id": 99 })
        }
        _ => json!({ "name": "*", "type": "everybody", "type_id": 99 }),
    }
}

/// What they may do, or may not any more: scopes, or tools by server. Where neither is said it is everything.
fn privileges(record: &Record) -> Vec<String> {
    let scopes = detail(record, "scope").and_then(Value::as_str);
    let mut all: Vec<String> = scopes
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    let tools = detail(record, "tools").and_then(Value::as_object);
    for (server, tools) in tools.into_iter().flatten() {
        let tools = tools.as_array().into_iter().flatten();
        all.extend(tools.filter_map(|tool| Some(format!("{server}:{}", tool.as_str()?))));
    }
    if all.is_empty() {
        all.push("*".to_owned());
    }
    all
}
