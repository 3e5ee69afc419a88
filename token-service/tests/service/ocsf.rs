//! Every record is an event that others read: checked with the published schema of OCSF 1.8, by class, and with what others read findings
//! with.

use std::{io::Write as _, process::Stdio};

use jiff::Timestamp;
use serde_json::{Value, json};
use writ_token_service::{
    audit::{Finding, Kind, Record, Verdict},
    ocsf,
    store::audit::Entry,
};

use crate::harness::python;

fn entry(record: Record) -> Entry {
    Entry {
        seq: 7,
        leaf: Some(6),
        erased_by: None,
        record,
    }
}

/// A record with all that any record has.
fn full(kind: Kind) -> Record {
    let text = |text: &str| Some(text.to_owned());
    Record {
        subject: text("alice"),
        agent: text("assistant"),
        gateway: text("edge"),
        server: text("ledger"),
        method: text("tools/call"),
        target: text("transfer"),
        decision: Some(Verdict::Allow),
        reason: text("as agreed"),
        gateway_policy: text("1"),
        service_policy: text("2"),
        token_id: text("t"),
        txn: text("x"),
        subject_token_id: text("s"),
        content_digest: text("sha-256=:AA==:"),
        result_digest: text("sha-256=:AA==:"),
        request_id: text("r"),
        source_ip: text("192.0.2.7"),
        task: text("k"),
        detail: Some(json!({
            "status": 200, "result": "ok", "duration_us": 12_345, "count": 3, "grant": "authorization_code",
            "first": "2026-01-01T00:00:00.000000Z", "last": "2026-01-01T00:00:01.000000Z", "provider": "corporate",
            "scope": "ledger:read ledger:write", "tools": {"ledger": ["transfer"]}, "what": "subject", "nothing": null,
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "session": "0af7651916cd43dd8448eb211c80319c",
        })),
        ..Record::new(kind, Timestamp::now())
    }
}

/// All that administrators and registrations do.
const COMMANDS: [&str; 42] = [
    "agent add",
    "agent approve",
    "agent reject",
    "agent enable",
    "agent disable",
    "agent suspend",
    "agent remove",
    "server add",
    "server update",
    "server pin",
    "server unpin",
    "server remove",
    "gateway add",
    "gateway update",
    "user add",
    "user disable",
    "user erase",
    "provider enable",
    "policy publish",
    "policy rollback",
    "policy shadow",
    "registration token add",
    "registration token revoke",
    "keys import",
    "keys announce",
    "keys rotate",
    "keys retire",
    "keys revoke",
    "keys reencrypt",
    "snapshot rotate-key",
    "snapshot new-epoch",
    "client register",
    "client update",
    "client delete",
    "server register",
    "server delete",
    "rogue adopt",
    "rogue dismiss",
    "revoke",
    "lockdown",
    "frobnicate",
    "",
];

/// Every kind with all it may have, with nothing, refused, erased, and by an odd address; and every command.
fn entries() -> Vec<Entry> {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        let mut refused = full(kind);
        refused.decision = Some(Verdict::Deny);
        refused.source_ip = Some("*".to_owned());
        refused.agent = refused.subject.clone();
        all.extend([full(kind), Record::new(kind, Timestamp::now()), refused].map(entry));
        all.push(Entry {
            erased_by: Some("e".to_owned()),
            ..entry(Record::new(kind, Timestamp::now()))
        });
    }
    for finding in Finding::ALL {
        let mut alone = Record::new(Kind::Rogue, Timestamp::now());
        let mut whole = full(Kind::Rogue);
        whole.server = None;
        for record in [&mut alone, &mut whole] {
            record.note("finding", finding.as_str().into());
        }
        whole.note("host", "mcp.example.com".into());
        whole.note("path", "/mcp".into());
        all.extend([alone, whole].map(entry));
    }
    for command in COMMANDS {
        for kind in [Kind::Admin, Kind::Registration] {
            let mut record = Record::admin(Timestamp::now(), command, "something");
            record.kind = kind;
            all.push(entry(record));
        }
    }
    all
}

#[test]
fn every_record_is_an_event_of_the_published_schema() {
    let mut checker = python("ocsf.py")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = checker.stdin.take().unwrap();
    for entry in entries() {
        writeln!(input, "{}", ocsf::event(&entry, "writ.example/audit")).unwrap();
    }
    drop(input);
    let checked = checker.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{said}");
}

#[test]
fn each_kind_is_of_the_class_that_says_most_about_it() {
    let of = |record: Record| {
        let event = ocsf::event(&entry(record), "log");
        (event["class_uid"].clone(), event["activity_id"].clone())
    };
    let kind = |kind| of(full(kind));
    assert_eq!(kind(Kind::Mint), (json!(6003), json!(99)));
    assert_eq!(kind(Kind::Evaluation), (json!(6003), json!(99)));
    assert_eq!(kind(Kind::SignIn), (json!(3002), json!(1)));
    assert_eq!(kind(Kind::SignOut), (json!(3002), json!(2)));
    assert_eq!(kind(Kind::TokenIssued), (json!(3002), json!(4)));
    assert_eq!(kind(Kind::Revoked), (json!(3002), json!(99)));
    assert_eq!(kind(Kind::Consent), (json!(3005), json!(1)));
    assert_eq!(kind(Kind::Task), (json!(3005), json!(1)));
    assert_eq!(kind(Kind::Rogue), (json!(2004), json!(1)));
    let admin = |command: &str, target: &str| of(Record::admin(Timestamp::now(), command, target));
    assert_eq!(admin("agent add", "a"), (json!(3004), json!(1)));
    assert_eq!(admin("user erase", "a"), (json!(3004), json!(4)));
    assert_eq!(admin("agent disable", "a"), (json!(3004), json!(9)));
    assert_eq!(admin("revoke", "alice"), (json!(3005), json!(2)));
    assert_eq!(admin("lockdown", "on"), (json!(3005), json!(2)));
    assert_eq!(admin("lockdown", "off"), (json!(3005), json!(1)));
    let mut read = full(Kind::Mint);
    read.method = Some("resources/read".to_owned());
    assert_eq!(of(read), (json!(6003), json!(2)));
}

#[test]
fn each_finding_says_what_it_is_and_how_bad() {
    for (finding, severity) in [
        (Finding::ForeignCredential, 4),
        (Finding::MisusedToken, 4),
        (Finding::ReplayedToken, 4),
        (Finding::GatewayBypass, 4),
        (Finding::ShadowServer, 3),
        (Finding::UnapprovedAgent, 3),
        (Finding::NewAgent, 1),
        (Finding::NewTool, 1),
    ] {
        let mut record = finding.record(Timestamp::now());
        record.note("host", "mcp.example.com".into());
        record.note("path", "/mcp".into());
        let event = ocsf::event(&entry(record), "log");
        let found = (&event["class_uid"], &event["severity_id"]);
        assert_eq!(found, (&json!(2004), &json!(severity)), "{finding:?}");
        let about = &event["finding_info"];
        assert_eq!(about["analytic"]["uid"], finding.as_str());
        assert_eq!(about["types"], json!([finding.as_str()]));
        assert_eq!(event["is_alert"], severity == 4);
        assert_eq!(event["resources"][0]["name"], "mcp.example.com/mcp");
    }
}

#[test]
fn an_event_says_what_the_record_says() {
    let record = full(Kind::Outcome);
    let (id, time) = (record.id.clone(), record.time.clone());
    let event = ocsf::event(&entry(record), "writ.example/audit");
    let millis = time.parse::<Timestamp>().unwrap().as_millisecond();
    assert_eq!(event["type_uid"], 600_399);
    assert_eq!(event["time"], millis);
    let metadata = &event["metadata"];
    assert_eq!(metadata["version"], ocsf::VERSION);
    assert_eq!(metadata["uid"], id.as_str());
    assert_eq!(metadata["log_name"], "writ.example/audit");
    assert_eq!(metadata["sequence"], 6);
    assert_eq!(event["actor"]["user"]["name"], "alice");
    assert_eq!(event["actor"]["app_uid"], "assistant");
    assert_eq!(
        event["actor"]["session"]["uid"],
        "0af7651916cd43dd8448eb211c80319c"
    );
    assert_eq!(event["api"]["operation"], "tools/call");
    assert_eq!(event["api"]["response"]["code"], 200);
    assert_eq!(event["src_endpoint"]["ip"], "192.0.2.7");
    assert_eq!(event["duration"], 12);
    assert_eq!(event["trace"]["uid"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(event["status_id"], 1);
    assert_eq!(event["unmapped"]["token_id"], "t");
    // As the record has it, to the last null.
    assert_eq!(event["unmapped"]["detail"]["nothing"], Value::Null);
    assert_eq!(event["unmapped"]["detail"].as_object().unwrap().len(), 14);

    let mut failed = full(Kind::Outcome);
    failed.decision = None;
    failed.detail = Some(json!({"status": 502, "result": "http_error"}));
    let event = ocsf::event(&entry(failed), "log");
    assert_eq!(
        (&event["status_id"], &event["status_code"]),
        (&json!(2), &json!("502"))
    );
    let refused = Record {
        decision: Some(Verdict::Deny),
        ..full(Kind::Denied)
    };
    let event = ocsf::event(&entry(refused), "log");
    assert_eq!(
        (&event["status_id"], &event["severity_id"]),
        (&json!(2), &json!(3))
    );
}
