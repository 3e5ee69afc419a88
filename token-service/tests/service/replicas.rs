//! Two services on one database are one service.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use writ_token_service::{
    audit::{Kind, Record},
    registry::Status,
    serve::Running,
    store::{StoreError, commit::Mint, registrations::Registered},
};

use crate::harness::{Form, GUARD, Service, call, gateway_url, refusal};

/// What the guard of the ledger is told about a token by one of the services.
fn spend(service: &Service, at: &Running, token: &str) -> JoinHandle<Value> {
    let request = service.http.post(gateway_url(at, "/gateway/v1/consume"));
    let request = request.basic_auth(GUARD, Some(&service.guard_secret));
    let asked = json!({"server": "ledger", "token": token, "source_ip": "198.51.100.9", "request_id": "req-7"});
    let sending = request.json(&asked).send();
    tokio::spawn(async move { sending.await.unwrap().json().await.unwrap() })
}

async fn all<T>(running: Vec<JoinHandle<T>>) -> Vec<T> {
    let mut done = Vec::new();
    for one in running {
        done.push(one.await.unwrap());
    }
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_spent_at_both_at_once_is_good_once() {
    let service = Service::start().await;
    let other = service.beside().await;
    let mut tokens = Vec::new();
    for _ in 0..20 {
        tokens.push(service.mint(&call("echo")).await.0);
    }
    // In opposite orders, and many in one transaction.
    let here = tokens.iter().map(|t| spend(&service, &service.running, t));
    let there = tokens.iter().rev().map(|t| spend(&service, &other, t));
    let (here, there) = (here.collect(), there.collect());
    let (here, there) = (all(here).await, all(there).await);
    for (token, (one, two)) in here.iter().zip(there.iter().rev()).enumerate() {
        let good = [one, two].into_iter().filter(|told| told["active"] == true);
        assert_eq!(good.count(), 1, "{token}: {one} {two}");
    }
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_disabled_at_one_is_refused_at_the_other_at_the_next_call() {
    let service = Service::start().await;
    let other = service.beside().await;
    let form = Form::new(&service.caller_token(), &call("echo"));
    let before = service.exchange_at(&other, &form).await;
    assert_eq!(before.status(), StatusCode::OK);
    let now = Timestamp::now();
    let disabled =
        service
            .store()
            .set_status(Registered::Agent, "assistant", Status::Disabled, None, now);
    disabled.await.unwrap();
    let after = service.exchange_at(&other, &form).await;
    assert_eq!(refusal(after).await.0, 400);
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decided_waits_for_a_change_that_is_being_made_and_is_decided_again() {
    let service = Service::start().await;
    let other = service.elsewhere().await;
    let revision = other.registry_revision().await.unwrap();
    let mut change = service.store().write().await.unwrap();
    sqlx::query("UPDATE agents SET status = 'disabled' WHERE id = 'assistant'")
        .execute(change.conn())
        .await
        .unwrap();
    let record = Record::new(Kind::Mint, Timestamp::now());
    let mut mint = Box::pin(other.commit_decision(
        revision,
        record,
        writ_token_service::audit::Beside::default(),
        Mint::default(),
    ));
    let soon = Duration::from_millis(200);
    assert!(tokio::time::timeout(soon, &mut mint).await.is_err());
    change.commit().await.unwrap();
    assert!(matches!(mint.await, Err(StoreError::Stale)));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_within_a_task_are_counted_together() {
    let service = Service::start().await;
    let other = service.beside().await;
    let token = service.caller_token();
    let task = crate::tasks::opened(&service, &token, &crate::tasks::asked()).await;
    let form = crate::tasks::within(Form::new(&token, &call("echo")), crate::tasks::id(&task));
    let calls = (0..8).map(|turn| {
        let at = if turn % 2 == 0 {
            &service.running
        } else {
            &other
        };
        let request = service.http.post(gateway_url(at, "/oauth/token"));
        let request = request.basic_auth("edge", Some(&service.gateway_secret));
        let sending = request.form(&form.0).send();
        tokio::spawn(async move { sending.await.unwrap().status() })
    });
    let answered = all(calls.collect()).await;
    let minted = answered.iter().filter(|status| **status == StatusCode::OK);
    assert_eq!(minted.count(), 2, "{answered:?}");
    other.stop().await;
}
