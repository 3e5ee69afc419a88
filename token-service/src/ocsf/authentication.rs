//! Authentication [3002]: who signed in and out, and which tokens agents got and gave back.

use serde_json::json;

use super::{Activity, Class, Draft, Severity, actor, detail, service, source, status, user};
use crate::audit::{Kind, Record, Verdict};

const CLASS: Class = Class {
    name: "Authentication",
    uid: 3002,
    category: "Identity & Access Management",
    category_uid: 3,
};

pub(super) fn event(record: &Record) -> Draft {
    let (protocol_id, protocol) = match record.kind {
        Kind::SignIn | Kind::SignOut if detail(record, "provider").is_some() => (4, "OpenID"),
        Kind::SignIn | Kind::SignOut => (99, "Password"),
        _ => (6, "OAUTH 2.0"),
    };
    Draft {
        class: CLASS,
        activity: activity(record),
        severity: match record.decision {
            Some(Verdict::Deny) => Severity::Low,
            _ => Severity::Informational,
        },
        status: status(record),
        own: json!({
            "user": user(record),
            "actor": actor(record),
            // Where no server is named, the issuer itself is what they sign in to.
            "service": service(record).unwrap_or_else(|| json!({ "name": "Writ", "uid": "writ" })),
            "auth_protocol_id": protocol_id,
            "auth_protocol": protocol,
            "src_endpoint": source(record),
            "is_remote": true,
        }),
    }
}

fn activity(record: &Record) -> Activity {
    match record.kind {
        Kind::SignIn => Activity::new(1, "Logon"),
        Kind::SignOut => Activity::new(2, "Logoff"),
        Kind::TokenIssued => {
            let grant = detail(record, "grant").and_then(|grant| grant.as_str());
            match grant {
                Some("refresh_token") => Activity::new(5, "Service Ticket Renew"),
                _ => Activity::new(4, "Service Ticket Request"),
            }
        }
        _ => Activity::other("Token Revocation"),
    }
}
