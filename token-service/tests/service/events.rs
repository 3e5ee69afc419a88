//! What gateways report: durable, once, and bounded.

use reqwest::StatusCode;
use serde_json::{Value, json};
use writ_policy::event::CallResult;
use writ_token_service::{audit::Kind, store::audit::Filter};

use crate::harness::{GUARD, Service, call, refusal};

fn of_call() -> Value {
    json!({
        "request_id": "req-9", "time": "2026-11-23T18:00:00Z", "server": "ledger", "method": "tools/call",
        "target": "transfer", "source_ip": "192.0.2.7", "subject": "alice", "agent": "assistant",
    })
}

fn denied() -> Value {
    json!({"type": "denied", "call": of_call(), "cause": "policy", "reason": "too much", "policy_revision": "p1"})
}

fn unauthenticated(source_ip: &str, count: u64) -> Value {
    let now = "2026-11-23T18:00:00Z";
    json!({"type": "unauthenticated", "kind": "missing_token", "source_ip": source_ip, "server": "ledger",
           "first": now, "last": now, "count": count})
}

#[tokio::test(flavor = "multi_thread")]
async fn denials_are_on_record_before_the_gateway_is_answered() {
    let service = Service::start().await;
    assert_eq!(
        service.report(&json!([denied()])).await.status(),
        StatusCode::NO_CONTENT
    );
    let records = service.records().await;
    let [record] = records.as_slice() else {
        panic!("{records:?}")
    };
    assert_eq!(record.kind, Kind::Denied);
    assert_eq!(record.reason.as_deref(), Some("too much"));
    assert_eq!(record.gateway.as_deref(), Some("edge"));
    assert_eq!(record.gateway_policy.as_deref(), Some("p1"));
    assert_eq!(record.target.as_deref(), Some("transfer"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_sent_again_is_recorded_once_and_like_events_in_one_batch_each() {
    let service = Service::start().await;
    let batch = json!([denied(), denied()]);
    for _ in 0..3 {
        assert_eq!(
            service.report(&batch).await.status(),
            StatusCode::NO_CONTENT
        );
    }
    assert_eq!(service.records().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn counted_tries_sent_again_are_counted_once() {
    let service = Service::start().await;
    for _ in 0..3 {
        let answer = service
            .report(&json!([unauthenticated("192.0.2.1", 7)]))
            .await;
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    }
    let records = service.records().await;
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].detail.as_ref().unwrap()["count"], 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_takes_its_call_from_the_tokens_record() {
    let service = Service::start().await;
    let (_, answer) = service.mint(&call("echo")).await;
    let outcome = |token_id: &str| {
        json!({"type": "outcome", "token_id": token_id, "request_id": "req-1", "time": "2026-11-23T18:00:00Z",
               "status": 200, "result": "ok", "duration_us": 1500, "request_bytes": 10, "response_bytes": 20})
    };
    let events = json!([outcome(answer["jti"].as_str().unwrap()), outcome("unknown")]);
    assert_eq!(
        service.report(&events).await.status(),
        StatusCode::NO_CONTENT
    );
    let records = service.records().await;
    let [_, known, unknown] = records.as_slice() else {
        panic!("{records:?}")
    };
    assert_eq!(known.kind, Kind::Outcome);
    assert_eq!(known.subject.as_deref(), Some("alice"));
    assert_eq!(known.target.as_deref(), Some("echo"));
    assert_eq!(known.txn.as_deref(), answer["txn"].as_str());
    assert_eq!(known.detail.as_ref().unwrap()["duration_us"], 1500);
    assert_eq!(unknown.subject, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_says_what_the_caller_got_in_the_end() {
    let service = Service::start().await;
    let outcome = |result: &str, more: Value| {
        let mut outcome = json!({"type": "outcome", "token_id": result, "request_id": "req-1",
            "time": "2026-11-23T18:00:00Z", "result": result, "duration_us": 1, "request_bytes": 1,
            "response_bytes": 1});
        let more = more.as_object().unwrap().clone();
        outcome.as_object_mut().unwrap().extend(more);
        outcome
    };
    let digest = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";
    let masked = json!({"result_digest": digest, "masked": {"card_number": 2}});
    let mut events: Vec<Value> = CallResult::ALL
        .iter()
        .map(|result| outcome(result.as_str(), json!({})))
        .collect();
    events.push(outcome("ok", masked));
    events.push(outcome("withheld", json!({"reason": "too much"})));
    assert_eq!(
        service.report(&events.into()).await.status(),
        StatusCode::NO_CONTENT
    );
    let of = async |result: CallResult| {
        let filter = Filter {
            result: Some(result),
            ..Filter::default()
        };
        service.store().newest_records(&filter, 10).await.unwrap()
    };
    for result in CallResult::ALL {
        let twice = matches!(result, CallResult::Ok | CallResult::Withheld);
        assert_eq!(of(result).await.len(), 1 + usize::from(twice), "{result:?}");
    }
    let masked = of(CallResult::Ok).await.remove(1).record;
    assert_eq!(masked.result_digest.as_deref(), Some(digest));
    assert_eq!(masked.detail.unwrap()["masked"], json!({"card_number": 2}));
    let withheld = of(CallResult::Withheld).await.remove(1).record;
    assert_eq!(withheld.reason.as_deref(), Some("too much"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unknown_callers_is_counted_and_cannot_drown_the_trail() {
    let service = Service::start().await;
    let mut sent = 0;
    for batch in 0..10 {
        let events: Vec<Value> = (0..500)
            .map(|n| {
                sent += 2;
                unauthenticated(&format!("10.{batch}.{}.{}", n / 250, n % 250), 2)
            })
            .collect();
        assert_eq!(
            service.report(&events.into()).await.status(),
            StatusCode::NO_CONTENT
        );
    }
    // The same address again only moves its count.
    service
        .report(&json!([unauthenticated("10.0.0.0", 40)]))
        .await;
    let records = service.records().await;
    assert!(records.len() <= 2001, "{}", records.len());
    let count = |r: &writ_token_service::audit::Record| {
        r.detail.as_ref().unwrap()["count"].as_u64().unwrap()
    };
    assert_eq!(records.iter().map(count).sum::<u64>(), sent + 40);
    let first = records
        .iter()
        .find(|r| r.source_ip.as_deref() == Some("10.0.0.0"))
        .unwrap();
    assert_eq!(count(first), 42);
    assert!(
        records
            .iter()
            .any(|r| r.reason.as_deref() == Some("overflow"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_batch_is_refused_whole() {
    let service = Service::start().await;
    let too_many: Vec<Value> = (0..513).map(|_| denied()).collect();
    let mut unknown_field = denied();
    unknown_field["more"] = 1.into();
    for events in [
        json!([{"type": "other"}]),
        json!({}),
        too_many.into(),
        json!([denied(), unknown_field]),
    ] {
        assert_eq!(
            refusal(service.report(&events).await).await,
            (400, "invalid_request".into())
        );
    }
    assert!(service.records().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn long_texts_are_cut_and_nul_bytes_do_not_hide_what_follows() {
    let service = Service::start().await;
    let mut event = denied();
    event["reason"] = "r".repeat(5000).into();
    event["call"]["target"] = "a\u{0}b".into();
    assert_eq!(
        service.report(&json!([event])).await.status(),
        StatusCode::NO_CONTENT
    );
    let record = service.records().await.remove(0);
    assert!(record.reason.unwrap().len() <= 1024);
    assert_eq!(record.target.as_deref(), Some("a?b"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reports_what_is_none_of_its_business() {
    let service = Service::start().await;
    let mut elsewhere = of_call();
    elsewhere["server"] = "other".into();
    let mut denied_elsewhere = denied();
    denied_elsewhere["call"] = elsewhere.clone();
    let used_elsewhere = json!({"type": "discovery_use", "call": elsewhere, "token_id": "j1", "policy_revision": "p1"});
    let now = "2026-11-23T18:00:00Z";
    let rogue = |server: &str| {
        json!({"type": "rogue", "server": server, "credential": "none", "reason": "", "source_ip": "", "request_id": "",
               "first": now, "last": now, "count": 1})
    };
    let gateway = ("edge", service.gateway_secret.as_str());
    let guard = (GUARD, service.guard_secret.as_str());
    let server = ("ledger", service.server_secret.as_str());
    for (who, event) in [
        (gateway, denied_elsewhere),
        (gateway, used_elsewhere),
        (gateway, rogue("ledger")),
        (guard, denied()),
        (guard, unauthenticated("192.0.2.1", 1)),
        (guard, rogue("other")),
        (server, denied()),
        (server, rogue("other")),
    ] {
        let response = service.report_as(who, &json!([event])).await;
        let refused = refusal(response).await;
        assert_eq!(refused, (400, "invalid_request".into()), "{who:?} {event}");
    }
    assert!(service.records().await.is_empty());
    for who in [guard, server] {
        let response = service.report_as(who, &json!([rogue("ledger")])).await;
        assert_eq!(response.status(), StatusCode::NO_CONTENT, "{who:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_that_is_refused_takes_no_other_with_it() {
    let service = Service::start().await;
    let mut elsewhere = denied();
    elsewhere["call"]["server"] = "other".into();
    let batch = json!([elsewhere, denied(), elsewhere, denied()]);
    for _ in 0..2 {
        let response = service.report(&batch).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        let told: Value = response.json().await.unwrap();
        assert_eq!(told["error"], "invalid_request");
        let told = told["error_description"].as_str().unwrap();
        assert!(told.contains("[0, 2]"), "{told}");
        // Sent again they are recorded once, as ever.
        assert_eq!(service.records().await.len(), 2);
    }
}
