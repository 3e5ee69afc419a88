//! Detection Finding [2004]: what should not have happened: credentials that the gateway did not mint, tools that are not as they
//! were approved, floods of tries by nobody in particular.

use serde_json::{Value, json};

use super::{Activity, Class, Draft, Severity, actor, detail, millis, source};
use crate::audit::{Kind, Record};

const CLASS: Class = Class {
    name: "Detection Finding",
    uid: 2004,
    category: "Findings",
    category_uid: 2,
};

pub(super) fn event(record: &Record) -> Draft {
    let (title, rule, severity) = match record.kind {
        Kind::Rogue => (
            "A server was called past the gateway",
            "rogue",
            Severity::High,
        ),
        Kind::PinChanged => (
            "A tool is not defined as it was approved",
            "pin_changed",
            Severity::High,
        ),
        _ => (
            "Somebody without valid credentials tried",
            "unauthenticated",
            Severity::Low,
        ),
    };
    let seen = |name: &str| {
        let at = detail(record, name)
            .and_then(Value::as_str)
            .unwrap_or(&record.time);
        millis(at)
    };
    let resource = |name: &Option<String>, kind: &str| {
        name.as_ref()
            .map(|name| json!({ "name": name, "type": kind }))
    };
    let resources: Vec<_> = [
        resource(&record.server, "MCP server"),
        resource(&record.target, "MCP tool"),
    ]
    .into_iter()
    .flatten()
    .collect();
    Draft {
        class: CLASS,
        activity: Activity::new(1, "Create"),
        severity,
        status: (1, "New"),
        own: json!({
            "finding_info": {
                "uid": record.id,
                "title": title,
                "desc": record.reason,
                "types": [rule],
                "analytic": { "name": rule, "uid": rule, "type": "Rule", "type_id": 1 },
                "created_time": millis(&record.time),
                "first_seen_time": seen("first"),
                "last_seen_time": seen("last"),
            },
            "evidences": [{ "actor": actor(record), "src_endpoint": source(record) }],
            "resources": (!resources.is_empty()).then_some(resources),
            "count": detail(record, "count"),
            "is_alert": severity == Severity::High,
        }),
    }
}
