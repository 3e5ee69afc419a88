//! Entity Management [3004]: what there is was made, changed or removed: agents, servers, gateways, users, policies, keys.

use serde_json::{Value, json};

use super::{Activity, Class, Draft, Severity, actor, administrator, source, status};
use crate::audit::{Kind, Record, Verdict};

const CLASS: Class = Class {
    name: "Entity Management",
    uid: 3004,
    category: "Identity & Access Management",
    category_uid: 3,
};

pub(super) fn event(record: &Record) -> Draft {
    let command = record.method.as_deref().unwrap_or_default();
    let (what, verb) = command.rsplit_once(' ').unwrap_or((command, ""));
    let by_admin = record.kind == Kind::Admin;
    Draft {
        class: CLASS,
        activity: activity(verb),
        severity: match record.decision {
            Some(Verdict::Deny) => Severity::Low,
            _ => Severity::Informational,
        },
        status: status(record),
        own: json!({
            "entity": entity(what, record),
            "actor": if by_admin { administrator(record) } else { actor(record) },
            "comment": record.reason,
            "src_endpoint": source(record),
        }),
    }
}

fn activity(verb: &str) -> Activity {
    match verb {
        "add" | "adopt" | "register" | "import" | "announce" | "publish" | "pin" => {
            Activity::new(1, "Create")
        }
        "update" | "rotate" | "reencrypt" | "rotate-key" | "new-epoch" | "shadow" | "rollback" => {
            Activity::new(3, "Update")
        }
        "remove" | "delete" | "retire" | "revoke" | "erase" | "unpin" => Activity::new(4, "Delete"),
        "enable" | "approve" => Activity::new(8, "Enable"),
        "disable" | "reject" => Activity::new(9, "Disable"),
        "suspend" => Activity::new(12, "Suspend"),
        other => Activity::other(other),
    }
}

/// What it was done to; when that was erased, what kind of thing it was is left.
fn entity(what: &str, record: &Record) -> Value {
    let (type_id, own) = match what {
        "user" => (2, "user"),
        "policy" => (5, "policy"),
        _ => (99, ""),
    };
    let name = record.target.as_deref().unwrap_or(what);
    let mut entity = json!({ "name": name, "uid": name, "type": what, "type_id": type_id });
    if let Some(entity) = entity.as_object_mut().filter(|_| !own.is_empty()) {
        entity.insert(own.to_owned(), json!({ "name": name, "uid": name }));
    }
    entity
}
