//! Records as rows of a table.

use crate::audit::Record;

/// How many columns there are.
pub(super) const WIDTH: usize = 22;

/// What they are called.
pub(super) const NAMES: [&str; WIDTH] = [
    "id",
    "time",
    "kind",
    "subject",
    "agent",
    "gateway",
    "server",
    "method",
    "target",
    "decision",
    "reason",
    "gateway_policy",
    "service_policy",
    "token_id",
    "txn",
    "subject_token_id",
    "content_digest",
    "result_digest",
    "request_id",
    "source_ip",
    "task",
    "detail",
];

/// A record's values, by [`NAMES`]; `detail` is JSON.
pub(super) fn values(record: &Record) -> [Option<String>; WIDTH] {
    [
        Some(record.id.clone()),
        Some(record.time.clone()),
        Some(record.kind.as_str().to_owned()),
        record.subject.clone(),
        record.agent.clone(),
        record.gateway.clone(),
        record.server.clone(),
        record.method.clone(),
        record.target.clone(),
        record.decision.map(|verdict| verdict.as_str().to_owned()),
        record.reason.clone(),
        record.gateway_policy.clone(),
        record.service_policy.clone(),
        record.token_id.clone(),
        record.txn.clone(),
        record.subject_token_id.clone(),
        record.content_digest.clone(),
        record.result_digest.clone(),
        record.request_id.clone(),
        record.source_ip.clone(),
        record.task.clone(),
        record.detail.as_ref().map(serde_json::Value::to_string),
    ]
}
