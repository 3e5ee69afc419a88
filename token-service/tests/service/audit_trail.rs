//! The trail itself: append-only, with the administrator in it, read as people and machines do.

use jiff::Timestamp;
use serde_json::json;
use writ_token_service::{
    audit::Kind,
    registry::Status,
    store::{
        audit::{Filter, Tally},
        registrations::Registered,
    },
};

use crate::{
    database,
    harness::{Form, Service, call},
};

#[tokio::test(flavor = "multi_thread")]
async fn records_can_be_neither_changed_nor_deleted() {
    let service = Service::start().await;
    service.mint(&call("echo")).await;
    let mut conn = database::connect(&service.running.app.config.data_dir).await;
    for tamper in [
        "UPDATE audit SET agent = 'helper'",
        "UPDATE audit_personal SET subject = 'bob'",
        "UPDATE audit_personal SET salt = NULL, erased_by = 'nobody' WHERE record = 'none' OR salt IS NOT NULL",
        "DELETE FROM audit_personal",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE seq = 1",
    ] {
        let error = sqlx::query(tamper)
            .execute(&mut conn)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("append-only"), "{error}");
    }
    assert_eq!(service.records().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_by_an_administrator_is_on_record_with_it_or_not_made() {
    let service = Service::start().await;
    let store = service.store();
    store
        .set_status(
            Registered::Agent,
            "helper",
            Status::Disabled,
            None,
            Timestamp::now(),
        )
        .await
        .unwrap();
    let missing = store
        .set_status(
            Registered::Agent,
            "nobody",
            Status::Disabled,
            None,
            Timestamp::now(),
        )
        .await;
    assert!(missing.unwrap_err().to_string().contains("writ agent list"));
    let filter = Filter {
        kind: Some(Kind::Admin),
        ..Filter::default()
    };
    let last = store
        .newest_records(&filter, 1)
        .await
        .unwrap()
        .remove(0)
        .record;
    assert_eq!(
        (last.method.as_deref(), last.target.as_deref()),
        (Some("agent disable"), Some("helper"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_narrow_and_the_newest_come_last() {
    let service = Service::start().await;
    let (_, first) = service.mint(&call("echo")).await;
    let (_, second) = service.mint(&call("brief")).await;
    let of = async |filter: Filter| service.store().newest_records(&filter, 10).await.unwrap();
    let mints = of(Filter {
        kind: Some(Kind::Mint),
        ..Filter::default()
    })
    .await;
    let ids: Vec<_> = mints.iter().map(|e| e.record.token_id.as_deref()).collect();
    assert_eq!(ids, [first["jti"].as_str(), second["jti"].as_str()]);
    let brief = of(Filter {
        kind: Some(Kind::Mint),
        target: Some("brief".to_owned()),
        ..Filter::default()
    })
    .await;
    assert_eq!(brief.len(), 1);
    assert!(
        of(Filter {
            subject: Some("bob".to_owned()),
            ..Filter::default()
        })
        .await
        .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_an_outcome_is_seen_as_one_and_calls_are_counted() {
    let service = Service::start().await;
    let mut tokens = Vec::new();
    for _ in 0..3 {
        let (_, answer) = service.mint(&call("echo")).await;
        tokens.push(answer["jti"].as_str().unwrap().to_owned());
    }
    let outcome = |token: &str, result: &str| {
        json!({"type": "outcome", "token_id": token, "request_id": "req-1", "time": "2026-11-23T18:00:00Z",
               "status": 200, "result": result, "duration_us": 10, "request_bytes": 10, "response_bytes": 10})
    };
    let ended = json!([outcome(&tokens[0], "ok"), outcome(&tokens[2], "tool_error")]);
    let reported = service.report(&ended).await;
    assert!(reported.status().is_success(), "{reported:?}");
    let open_ones = Filter {
        without_outcome: true,
        ..Filter::default()
    };
    let open = service
        .store()
        .newest_records(&open_ones, 10)
        .await
        .unwrap();
    let open: Vec<_> = open.iter().map(|e| e.record.token_id.as_deref()).collect();
    assert_eq!(open, [Some(tokens[1].as_str())]);
    let denied = service
        .exchange(&Form::new(&service.caller_token(), &call("other")))
        .await;
    assert!(denied.status().is_client_error());
    let tallies = service.store().tally(&Filter::default(), 10).await.unwrap();
    let counts = |target: &str, allowed, denied, failed| Tally {
        agent: Some("assistant".to_owned()),
        server: Some("ledger".to_owned()),
        target: Some(target.to_owned()),
        allowed,
        denied,
        failed,
    };
    assert_eq!(tallies, [counts("echo", 3, 0, 1), counts("other", 0, 1, 0)]);

    // What a discovery token is used for again ends by itself.
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let (_, answer) = service.mint(&list).await;
    let token = answer["jti"].as_str().unwrap();
    let used = |request: &str| {
        json!({"type": "discovery_use", "token_id": token, "policy_revision": "p1",
               "call": {"request_id": request, "time": "2026-11-23T18:00:00Z", "server": "ledger", "method": "tools/list",
                        "subject": "alice", "agent": "assistant", "subject_token_id": "c1", "source_ip": "192.0.2.7"}})
    };
    let mut last = outcome(token, "ok");
    last["request_id"] = "req-3".into();
    let ended = json!([used("req-2"), used("req-3"), outcome(token, "ok"), last]);
    let reported = service.report(&ended).await;
    assert!(reported.status().is_success(), "{reported:?}");
    let open = service
        .store()
        .newest_records(&open_ones, 10)
        .await
        .unwrap();
    let open: Vec<_> = open
        .iter()
        .map(|e| e.record.request_id.as_deref())
        .collect();
    assert_eq!(
        open,
        [Some("req-1"), Some("req-2")],
        "the second call, and the second list"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audience_that_is_somebodys_resource_cannot_be_registered() {
    let service = Service::start().await;
    let mut server = service.store().servers().await.unwrap().remove(0);
    server.id = "third".parse().unwrap();
    server.upstream_audience = server.resource.clone();
    server.resource = "https://third.test/mcp".to_owned();
    let error = service
        .store()
        .add_server(&server, Timestamp::now())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("must never pass for a caller's"), "{error}");
}
