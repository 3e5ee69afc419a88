//! API Activity [6003]: what agents do at servers, or were not let do.

use serde_json::{Value, json};

use super::{Activity, Class, Draft, Severity, actor, detail, service, source, status};
use crate::audit::{Kind, Record, Verdict};

const CLASS: Class = Class {
    name: "API Activity",
    uid: 6003,
    category: "Application Activity",
    category_uid: 6,
};

pub(super) fn event(record: &Record) -> Draft {
    let outcome = (record.kind == Kind::Outcome).then_some(record);
    let went_well = outcome.is_none_or(|outcome| {
        matches!(
            detail(outcome, "result").and_then(Value::as_str),
            Some("ok" | "task" | "input_required")
        )
    });
    let code = outcome.and_then(|outcome| detail(outcome, "status"));
    let microseconds = outcome.and_then(|outcome| detail(outcome, "duration_us"));
    Draft {
        class: CLASS,
        activity: activity(record),
        severity: match record.decision {
            Some(Verdict::Deny) => Severity::Medium,
            _ if went_well => Severity::Informational,
            _ => Severity::Low,
        },
        status: if went_well {
            status(record)
        } else {
            (2, "Failure")
        },
        own: json!({
            "actor": actor(record),
            "api": {
                "operation": record.method.as_deref().unwrap_or(record.kind.as_str()),
                "service": service(record),
                "request": { "uid": record.request_id.as_ref().unwrap_or(&record.id) },
                "response": outcome.map(|outcome| json!({
                    "code": code,
                    "message": detail(outcome, "result"),
                    "error_message": outcome.reason,
                })),
            },
            "resources": record.target.as_ref().map(|target| json!([{ "name": target, "type": target_type(record) }])),
            // The class must have one.
            "src_endpoint": source(record)
                .or_else(|| Some(json!({ "svc_name": record.gateway.as_ref()? })))
                .unwrap_or_else(|| json!({ "name": "Unknown" })),
            "dst_endpoint": record.server.as_ref().map(|server| json!({ "svc_name": server })),
            "trace": record.trace_id().map(|id| json!({ "uid": id })),
            "status_code": code.map(Value::to_string),
            "duration": microseconds.and_then(Value::as_u64).map(|us| us / 1000),
        }),
    }
}

/// A tool may do anything; of what MCP names itself, only reading has a number here.
fn activity(record: &Record) -> Activity {
    let method = record.method.as_deref().unwrap_or(record.kind.as_str());
    match method.rsplit('/').next() {
        Some("list" | "read" | "get") => Activity::new(2, "Read"),
        _ => Activity::other(method),
    }
}

fn target_type(record: &Record) -> &'static str {
    match record.method.as_deref() {
        Some("tools/call") => "MCP tool",
        Some("prompts/get") => "MCP prompt",
        Some(method) if method.starts_with("resources/") => "MCP resource",
        _ => "MCP target",
    }
}
