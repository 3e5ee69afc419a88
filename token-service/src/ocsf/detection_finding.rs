//! Detection Finding [2004]: what should not have happened, or is new: credentials that the gateway did not mint, servers that nobody
//! registered, tools that are not as they were approved, floods of tries by nobody in particular.

use serde_json::{Value, json};

use super::{Activity, Class, Draft, Severity, actor, detail, millis, source};
use crate::audit::{Finding, Kind, Record};

const CLASS: Class = Class {
    name: "Detection Finding",
    uid: 2004,
    category: "Findings",
    category_uid: 2,
};

pub(super) fn event(record: &Record) -> Draft {
    let (title, rule, severity) = match record.kind {
        Kind::Rogue => rogue(Finding::on(record)),
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
    let place = match (detail(record, "host"), detail(record, "path")) {
        (Some(Value::String(host)), Some(Value::String(path))) => Some(format!("{host}{path}")),
        _ => None,
    };
    let resources: Vec<_> = [
        resource(&record.server, "MCP server"),
        resource(&place.filter(|_| record.server.is_none()), "MCP server"),
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

/// Title, rule and severity of what was found; what earlier versions put on record is about credentials.
fn rogue(found: Option<Finding>) -> (&'static str, &'static str, Severity) {
    let (title, severity) = match found {
        None | Some(Finding::ForeignCredential) => {
            ("A server was called past the gateway", Severity::High)
        }
        Some(Finding::MisusedToken) => ("A minted token was misused", Severity::High),
        Some(Finding::ReplayedToken) => ("A minted token was used again", Severity::High),
        Some(Finding::GatewayBypass) => (
            "A registered MCP server was reached past the gateway",
            Severity::High,
        ),
        Some(Finding::ShadowServer) => ("An MCP server is not registered", Severity::Medium),
        Some(Finding::UnapprovedAgent) => (
            "A user is active from an agent they never approved",
            Severity::Medium,
        ),
        Some(Finding::NewAgent) => (
            "An agent was seen for the first time",
            Severity::Informational,
        ),
        Some(Finding::NewTool) => (
            "A tool was called for the first time",
            Severity::Informational,
        ),
    };
    (title, found.map_or("rogue", Finding::as_str), severity)
}
