//! The machine's clock is set back.

use std::sync::{Arc, atomic::Ordering};

use reqwest::StatusCode;
use serde_json::json;
use writ_token_service::{
    clock::{Clock, unix},
    log::sequence,
};

use crate::harness::{Form, Moved, Service, call};

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_brings_nothing_back_and_keeps_the_logs_order() {
    let clock = Arc::new(Moved::default());
    let service = Service::start_at(Arc::clone(&clock) as Arc<dyn Clock>).await;
    let caller = |service: &Service| {
        let mut claims = service.caller_claims();
        let now = unix(clock.now());
        claims["iat"] = now.into();
        claims["exp"] = (now + 60).into();
        claims["jti"] = json!(format!("at {now}"));
        service.sign(&claims)
    };
    clock.0.store(2 * 3600, Ordering::SeqCst);
    let before = caller(&service);
    let exchange = async |caller: &str| {
        let answer = service.exchange(&Form::new(caller, &call("echo"))).await;
        let status = answer.status();
        (status, answer.json::<serde_json::Value>().await.unwrap())
    };
    let (status, spent) = exchange(&before).await;
    assert_eq!(status, StatusCode::OK, "{spent}");
    let now = unix(clock.now());
    let consume = async |now: u64| {
        let revision = service.store().registry_revision().await.unwrap();
        let jti = spent["jti"].as_str().unwrap();
        service.store().consume(revision, jti, now).await.unwrap()
    };
    use writ_token_service::store::commit::Spent;
    assert_eq!(consume(now).await, Spent::Now);

    // Where what was used is forgotten, and back.
    clock.0.store(3 * 3600, Ordering::SeqCst);
    service.store().sweep(clock.now()).await.unwrap();
    clock.0.store(3600, Ordering::SeqCst);
    assert_eq!(consume(unix(clock.now())).await, Spent::Before);
    let (status, refused) = exchange(&before).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{refused}");
    assert_eq!(refused["error"], "invalid_grant", "{refused}");
    let told = refused["error_description"].as_str().unwrap();
    assert!(told.contains("not valid yet; check the clocks"), "{told}");

    let (status, later) = exchange(&caller(&service)).await;
    assert_eq!(status, StatusCode::OK, "{later}");
    let size = sequence::catch_up(service.store()).await.unwrap();
    let log = service.store().logged(0, 1000).await.unwrap();
    assert_eq!(log.len() as u64, size);
    let mints = log.iter().filter(|logged| logged.leaf.kind == "mint");
    let mints: Vec<_> = mints
        .map(|l| (l.leaf.token_id.clone(), l.leaf.time.clone()))
        .collect();
    let [first, second] = mints.as_slice() else {
        panic!("{mints:?}")
    };
    assert_eq!(first.0.as_deref(), spent["jti"].as_str());
    assert_eq!(second.0.as_deref(), later["jti"].as_str());
    assert!(second.1 < first.1, "the later one says an earlier time");
}
