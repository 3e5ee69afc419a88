//! A guard spends tokens at the service, and reports what it refused.

use jiff::{SignedDuration, Timestamp};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use writ_token_service::{
    audit::{Kind, Record},
    registry::Status,
    store::{audit::Filter, registrations::Registered},
};

use crate::harness::{Form, GUARD, Service, call, refusal};

async fn consume(service: &Service, (id, secret): (&str, &str), asked: &Value) -> Response {
    let request = service
        .http
        .post(service.gateway_url("/gateway/v1/consume"));
    let request = request.basic_auth(id, Some(secret)).json(asked);
    request.send().await.unwrap()
}

fn asked(server: &str, token: &str) -> Value {
    json!({"server": server, "token": token, "source_ip": "198.51.100.9", "request_id": "req-7"})
}

/// What the guard of the ledger is told about a token.
async fn spend(service: &Service, token: &str) -> Value {
    let guard = (GUARD, service.guard_secret.as_str());
    let response = consume(service, guard, &asked("ledger", token)).await;
    assert_eq!(response.status(), StatusCode::OK);
    response.json().await.unwrap()
}

async fn rogues(service: &Service) -> Vec<Record> {
    let records = service.records().await.into_iter();
    records.filter(|r| r.kind == Kind::Rogue).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_guards_that_spend_a_token_at_once_exactly_one_may() {
    let service = Service::start().await;
    let (token, _) = service.mint(&call("echo")).await;
    let tries = (0..32).map(|_| {
        let request = service
            .http
            .post(service.gateway_url("/gateway/v1/consume"));
        let request = request.basic_auth(GUARD, Some(&service.guard_secret));
        let request = request.json(&asked("ledger", &token));
        tokio::spawn(async move { request.send().await.unwrap().json::<Value>().await.unwrap() })
    });
    let mut told = Vec::new();
    for answer in tries.collect::<Vec<_>>() {
        told.push(answer.await.unwrap());
    }
    let spent = told.iter().filter(|told| **told == json!({"active": true}));
    assert_eq!(spent.count(), 1, "{told:?}");
    let replay = json!({"active": false, "credential": "replay"});
    assert_eq!(told.iter().filter(|told| **told == replay).count(), 31);
    let rogues = rogues(&service).await;
    assert_eq!(rogues.len(), 31);
    for rogue in rogues {
        assert_eq!(rogue.subject.as_deref(), Some("alice"));
        assert_eq!(rogue.agent.as_deref(), Some("assistant"));
        assert_eq!(rogue.gateway.as_deref(), Some(GUARD));
        assert_eq!(rogue.source_ip.as_deref(), Some("198.51.100.9"));
        assert_eq!(rogue.request_id.as_deref(), Some("req-7"));
    }
    let told = service.introspect(&[("token", &token)]).await;
    assert_eq!(told, json!({"active": false}), "spent for everybody");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_token_stays_spent_on_disk() {
    let service = Service::start().await;
    let (token, answer) = service.mint(&call("echo")).await;
    assert_eq!(spend(&service, &token).await, json!({"active": true}));
    let elsewhere = service.elsewhere().await;
    let jti = answer["jti"].as_str().unwrap();
    let found = elsewhere.peek(jti).await.unwrap();
    assert_eq!(found, writ_token_service::store::commit::Spent::Before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_spends_tokens_of_its_own_server_only() {
    let service = Service::start().await;
    let (token, _) = service.mint(&call("echo")).await;
    let guard = (GUARD, service.guard_secret.as_str());
    let response = consume(&service, guard, &asked("other", &token)).await;
    assert_eq!(refusal(response).await, (403, "invalid_target".to_owned()));
    let other = ("other", service.other_secret.as_str());
    let response = consume(&service, other, &asked("other", &token)).await;
    let told: Value = response.json().await.unwrap();
    assert_eq!(
        told,
        json!({"active": false, "credential": "foreign_token"})
    );
    for wrong in [(GUARD, "wrong"), ("nobody", "x"), ("ledger", "wrong")] {
        let response = consume(&service, wrong, &asked("ledger", &token)).await;
        assert_eq!(refusal(response).await, (401, "invalid_client".to_owned()));
    }
    assert_eq!(spend(&service, &token).await, json!({"active": true}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_spends_no_token_and_a_guard_mints_none() {
    let service = Service::start().await;
    let (token, _) = service.mint(&call("echo")).await;
    let gateway = ("edge", service.gateway_secret.as_str());
    let response = consume(&service, gateway, &asked("ledger", &token)).await;
    let unauthorized = "unauthorized_client".to_owned();
    assert_eq!(refusal(response).await, (403, unauthorized.clone()));

    let form = Form::new(&service.caller_token(), &call("echo"));
    let request = service.http.post(service.gateway_url("/oauth/token"));
    let request = request.basic_auth(GUARD, Some(&service.guard_secret));
    let response = request.form(&form.0).send().await.unwrap();
    assert_eq!(refusal(response).await, (400, unauthorized));
    let denied = service.records().await.pop().unwrap();
    assert_eq!(denied.kind, Kind::Denied, "and it is on record");
    assert_eq!(denied.gateway.as_deref(), Some(GUARD));
    assert_eq!(spend(&service, &token).await, json!({"active": true}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_be_its_own_guard_and_nobody_elses() {
    let service = Service::start().await;
    let (token, _) = service.mint(&call("echo")).await;
    let server = ("ledger", service.server_secret.as_str());
    let response = consume(&service, server, &asked("other", &token)).await;
    assert_eq!(refusal(response).await, (403, "invalid_target".to_owned()));
    let response = consume(&service, server, &asked("ledger", &token)).await;
    let told: Value = response.json().await.unwrap();
    assert_eq!(told, json!({"active": true}));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_minted_token_is_never_spent() {
    let service = Service::start().await;
    let secret = "ghp_0123456789abcdefghijklmnopqrstuvwxyzAB";
    for (token, credential) in [
        (service.caller_token().as_str(), "caller_token"),
        (secret, "github"),
        ("", "opaque"),
    ] {
        let told = spend(&service, token).await;
        assert_eq!(told, json!({"active": false, "credential": credential}));
    }
    let all = serde_json::to_string(&service.records().await).unwrap();
    assert!(!all.contains(&secret[..8]), "{all}");
    let guard = (GUARD, service.guard_secret.as_str());
    for malformed in [json!({}), json!({"server": "ledger", "jti": "x"})] {
        let response = consume(&service, guard, &malformed).await;
        assert_eq!(refusal(response).await, (400, "invalid_request".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_switched_off_since_spends_nothing() {
    let service = Service::start().await;
    let (token, _) = service.mint(&call("echo")).await;
    service
        .store()
        .set_status(
            Registered::Agent,
            "assistant",
            Status::Disabled,
            None,
            jiff::Timestamp::now(),
        )
        .await
        .unwrap();
    let told = spend(&service, &token).await;
    assert_eq!(told, json!({"active": false, "credential": "disabled"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_guard_refused_is_on_record_with_who_from_where_and_what() {
    let service = Service::start().await;
    let now = "2026-11-23T18:00:00Z";
    let rogue = json!({"type": "rogue", "server": "ledger", "credential": "wrong_binding", "reason": "another body",
        "subject": "alice", "agent": "assistant", "token_id": "j1", "source_ip": "198.51.100.9",
        "request_id": "req-7", "first": now, "last": now, "count": 3});
    let somebodys = json!({"type": "rogue", "server": "ledger", "credential": "jwt", "reason": "another issuer's",
        "issuer": "https://idp.test/\u{1b}[31m", "source_ip": "", "request_id": "", "first": now, "last": now, "count": 1});
    for _ in 0..2 {
        let guard = (GUARD, service.guard_secret.as_str());
        let batch = json!([rogue, somebodys]);
        let response = service.report_as(guard, &batch).await;
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
    }
    let rogues = rogues(&service).await;
    let [of_alice, of_somebody] = rogues.as_slice() else {
        panic!("each once: {rogues:?}")
    };
    assert_eq!(of_alice.subject.as_deref(), Some("alice"));
    assert_eq!(of_alice.agent.as_deref(), Some("assistant"));
    assert_eq!(of_alice.token_id.as_deref(), Some("j1"));
    assert_eq!(of_alice.server.as_deref(), Some("ledger"));
    assert_eq!(of_alice.gateway.as_deref(), Some(GUARD));
    assert_eq!(of_alice.source_ip.as_deref(), Some("198.51.100.9"));
    assert_eq!(of_alice.request_id.as_deref(), Some("req-7"));
    assert_eq!(of_alice.reason.as_deref(), Some("another body"));
    let detail = of_alice.detail.as_ref().unwrap();
    assert_eq!(detail["credential"], "wrong_binding");
    assert_eq!(detail["count"], 3);
    let issuer = &of_somebody.detail.as_ref().unwrap()["issuer"];
    assert_eq!(issuer, "https://idp.test/\u{fffd}[31m");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_noisy_guard_hides_nothing_that_another_one_sees() {
    let service = Service::start().await;
    let (guard, server) = (
        (GUARD, service.guard_secret.as_str()),
        ("ledger", service.server_secret.as_str()),
    );
    let now = "2026-11-23T18:00:00Z";
    let rogue = |n: usize| {
        json!({"type": "rogue", "server": "ledger", "credential": "none", "reason": "nothing", "source_ip": "192.0.2.1",
               "request_id": n.to_string(), "first": now, "last": now, "count": 1})
    };
    // More than a day's share.
    for batch in 0..80 {
        let events: Vec<Value> = (0..128).map(|n| rogue(batch * 128 + n)).collect();
        let response = service.report_as(guard, &events.into()).await;
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
    }
    assert_eq!(rogues(&service).await.len(), 10_000);
    let response = service.report_as(server, &json!([rogue(0)])).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    let rogues = rogues(&service).await;
    let last = rogues.last().unwrap();
    assert_eq!(
        (rogues.len(), last.gateway.as_deref()),
        (10_001, Some("server:ledger"))
    );

    // Whatever it says, that can be added up.
    for n in 0..2 {
        let mut many = rogue(20 * 512 + n);
        many["count"] = u64::MAX.into();
        let response = service.report_as(guard, &json!([many])).await;
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
    }

    // How many more there were goes on record, too.
    let store = service.store();
    let later = Timestamp::now() + SignedDuration::from_mins(16);
    store.tell_floods(later).await.unwrap();
    let newest = store.newest_records(&Filter::default(), 1).await.unwrap();
    let end = &newest[0].record;
    assert_eq!(
        (
            end.kind,
            end.gateway.as_deref(),
            &end.detail.as_ref().unwrap()["count"]
        ),
        (Kind::Rogue, Some(GUARD), &json!(2_000_000_240_u64))
    );
}
