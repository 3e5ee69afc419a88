//! Records as events of the Open Cybersecurity Schema Framework 1.8, which security tools read: <https://schema.ocsf.io/1.8.0>.
//!
//! A file an event class. What the schema has no place for stands under `unmapped`, by the names that `writ audit` has.

mod api_activity;
mod authentication;
mod detection_finding;
mod entity_management;
mod user_access;

use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    audit::{Kind, Record, Verdict},
    store::audit::Entry,
};

/// The version of the schema.
pub const VERSION: &str = "1.8.0";

/// An event class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Class {
    name: &'static str,
    uid: u32,
    category: &'static str,
    category_uid: u32,
}

/// What happened, in the words of a class.
struct Activity {
    id: u32,
    name: String,
}

impl Activity {
    fn new(id: u32, name: &str) -> Self {
        Self {
            id,
            name: name.to_owned(),
        }
    }

    /// One that the class has no number for.
    fn other(name: &str) -> Self {
        Self::new(99, name)
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    Informational = 1,
    Low = 2,
    Medium = 3,
    High = 4,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Self::Informational => "Informational",
            Self::Low => "Low",
            Self::Medium => "Medium",
            Self::High => "High",
        }
    }
}

/// A record as an event; `log` is what the log is called.
#[must_use]
pub fn event(entry: &Entry, log: &str) -> Value {
    let record = &entry.record;
    let own = match record.kind {
        Kind::Mint | Kind::Denied | Kind::Outcome | Kind::DiscoveryUse | Kind::Evaluation => {
            api_activity::event(record)
        }
        Kind::SignIn | Kind::SignOut | Kind::TokenIssued | Kind::Revoked => {
            authentication::event(record)
        }
        Kind::Consent | Kind::Task => user_access::event(record),
        Kind::Admin if user_access::is_one(record) => user_access::event(record),
        Kind::Admin | Kind::Registration => entity_management::event(record),
        Kind::Rogue | Kind::PinChanged | Kind::Unauthenticated => detection_finding::event(record),
    };
    let mut event = own.finish(entry, log);
    prune(&mut event);
    event
}

/// An event in the making: what its class says of the record, and the rest to come.
struct Draft {
    class: Class,
    activity: Activity,
    severity: Severity,
    status: (u32, &'static str),
    own: Value,
}

impl Draft {
    fn finish(self, entry: &Entry, log: &str) -> Value {
        let record = &entry.record;
        let Class {
            name,
            uid,
            category,
            category_uid,
        } = self.class;
        // What a class has by way of a profile, an event has to name.
        let is_traced = self.own.get("trace").is_some_and(|trace| !trace.is_null());
        let mut event = json!({
            "class_uid": uid,
            "class_name": name,
            "category_uid": category_uid,
            "category_name": category,
            "activity_id": self.activity.id,
            "activity_name": self.activity.name,
            "type_uid": uid * 100 + self.activity.id,
            "type_name": format!("{name}: {}", self.activity.name),
            "severity_id": self.severity as u32,
            "severity": self.severity.name(),
            "status_id": self.status.0,
            "status": self.status.1,
            "status_detail": record.reason,
            "time": millis(&record.time),
            "message": message(record),
            "metadata": {
                "version": VERSION,
                "profiles": is_traced.then_some(["trace"]),
                "product": product(),
                "uid": record.id,
                "event_code": record.kind.as_str(),
                "log_name": log,
                "sequence": entry.leaf,
                "original_time": record.time,
                "correlation_uid": record.txn,
            },
            "unmapped": unmapped(entry),
        });
        if let (Some(event), Value::Object(own)) = (event.as_object_mut(), self.own) {
            event.extend(own);
        }
        event
    }
}

/// What the schema has no place for.
fn unmapped(entry: &Entry) -> Value {
    let record = &entry.record;
    json!({
        "decision": record.decision,
        "gateway": record.gateway,
        "gateway_policy": record.gateway_policy,
        "service_policy": record.service_policy,
        "token_id": record.token_id,
        "subject_token_id": record.subject_token_id,
        "content_digest": record.content_digest,
        "result_digest": record.result_digest,
        "request_id": record.request_id,
        "task": record.task,
        "detail": record.detail,
        "erased_by": entry.erased_by,
    })
}

fn product() -> Value {
    json!({ "name": "Writ", "vendor_name": "Writ", "uid": "writ", "version": env!("CARGO_PKG_VERSION") })
}

/// One line for people.
fn message(record: &Record) -> String {
    let words = [
        Some(record.kind.as_str()),
        record.decision.map(Verdict::as_str),
        record.method.as_deref(),
        record.target.as_deref(),
        record.server.as_deref(),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// How it went, in the words of all classes but findings.
fn status(record: &Record) -> (u32, &'static str) {
    match record.decision {
        Some(Verdict::Deny) => (2, "Failure"),
        Some(Verdict::Allow) => (1, "Success"),
        // What was done and not decided on.
        None => (1, "Success"),
    }
}

/// Who it was: the user, by way of the agent.
fn actor(record: &Record) -> Value {
    let verdict = record.decision.map(Verdict::as_str);
    let policy = record
        .service_policy
        .as_ref()
        .or(record.gateway_policy.as_ref());
    let authorization = verdict.map(|decision| {
        json!([{ "decision": decision, "policy": policy.map(|revision| json!({ "uid": revision })) }])
    });
    // One of these there must be.
    let unknown = record.subject.is_none() && record.agent.is_none();
    json!({
        "user": if unknown { Some(json!({ "name": "Unknown", "type_id": 0 })) } else { subject(record) },
        "app_name": record.agent,
        "app_uid": record.agent,
        "authorizations": authorization,
        "session": record.session().map(|name| json!({ "uid": name })),
    })
}

/// The administrator at the machine.
fn administrator(record: &Record) -> Value {
    let name = record.subject.as_deref().unwrap_or("administrator");
    json!({ "user": { "name": name, "type_id": 2, "type": "Admin" }, "app_name": "writ" })
}

/// Whose call it was, as a user.
fn subject(record: &Record) -> Option<Value> {
    let subject = record.subject.as_ref()?;
    // What acts for itself is a service.
    let (type_id, kind) = match record.agent.as_ref() == Some(subject) {
        true => (4, "Service"),
        false => (1, "User"),
    };
    Some(json!({ "name": subject, "uid": subject, "type_id": type_id, "type": kind }))
}

/// The same, where the class must have one.
fn user(record: &Record) -> Value {
    subject(record)
        .or_else(|| {
            let agent = record.agent.as_ref()?;
            Some(json!({ "name": agent, "uid": agent, "type_id": 4, "type": "Service" }))
        })
        .unwrap_or_else(|| json!({ "name": "Unknown", "type_id": 0, "type": "Unknown" }))
}

/// Where it came from.
fn source(record: &Record) -> Option<Value> {
    let from = record.source_ip.as_ref()?;
    Some(match from.parse::<IpAddr>() {
        Ok(ip) => json!({ "ip": ip.to_string() }),
        Err(_) => json!({ "name": from }),
    })
}

/// The MCP server as the service behind the call.
fn service(record: &Record) -> Option<Value> {
    let server = record.server.as_ref()?;
    Some(json!({ "name": server, "uid": server }))
}

fn millis(time: &str) -> i64 {
    time.parse::<Timestamp>()
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .as_millisecond()
}

/// What only this kind has.
fn detail<'a>(record: &'a Record, name: &str) -> Option<&'a Value> {
    record.detail.as_ref()?.get(name)
}

/// Takes out what is absent.
fn prune(value: &mut Value) {
    if let Value::Object(members) = value {
        prune_all(members);
    } else if let Value::Array(items) = value {
        items.iter_mut().for_each(prune);
    }
}

fn prune_all(members: &mut Map<String, Value>) {
    // What a record says itself stays as it is.
    for (name, member) in members.iter_mut() {
        if name != "detail" {
            prune(member);
        }
    }
    members.retain(|_, member| !member.is_null());
}
