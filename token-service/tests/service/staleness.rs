//! What another process changes counts from the next decision on.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use reqwest::StatusCode;
use writ_token_service::{
    registry::Status,
    store::{StoreError, commit::Mint, registrations::Registered},
};

use crate::{
    database,
    harness::{Form, Service, call, refusal},
};

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_disabled_elsewhere_is_refused_at_once() {
    let service = Service::start().await;
    let elsewhere = service.elsewhere().await;
    let cases = [
        (Registered::Agent, "assistant", "invalid_grant"),
        (Registered::Server, "ledger", "invalid_target"),
        (Registered::Gateway, "edge", "invalid_client"),
    ];
    let form = Form::new(&service.caller_token(), &call("echo"));
    for (what, id, error) in cases {
        assert_eq!(service.exchange(&form).await.status(), StatusCode::OK);
        elsewhere
            .set_status(what, id, Status::Disabled, None, Timestamp::now())
            .await
            .unwrap();
        assert_eq!(refusal(service.exchange(&form).await).await.1, error);
        elsewhere
            .set_status(what, id, Status::Approved, None, Timestamp::now())
            .await
            .unwrap();
    }
    assert_eq!(service.exchange(&form).await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_disabled_elsewhere_is_refused_at_once() {
    use writ_token_service::{oauth::password::PasswordHash, store::users};
    let service = Service::start().await;
    let elsewhere = service.elsewhere().await;
    let password = PasswordHash::new("correct horse battery staple").unwrap();
    let mut tx = elsewhere.write().await.unwrap();
    users::add(
        tx.conn(),
        &"alice".parse().unwrap(),
        &password,
        &[].into(),
        Timestamp::now(),
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let form = Form::new(&service.caller_token(), &call("echo"));
    assert_eq!(service.exchange(&form).await.status(), StatusCode::OK);
    let mut tx = elsewhere.write().await.unwrap();
    users::set_active(tx.conn(), "alice", false, jiff::Timestamp::now())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        refusal(service.exchange(&form).await).await,
        (400, "invalid_grant".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_registered_elsewhere_is_known_at_once() {
    let service = Service::start().await;
    let elsewhere = service.elsewhere().await;
    let gateways = elsewhere.gateways().await.unwrap();
    let mut gateway = gateways
        .into_iter()
        .find(|g| g.id.as_str() == "edge")
        .unwrap();
    gateway.id = "edge-2".parse().unwrap();
    elsewhere
        .add_gateway(&gateway, Timestamp::now())
        .await
        .unwrap();
    let form = Form::new(&service.caller_token(), &call("echo"));
    let request = service.http.post(service.gateway_url("/oauth/token"));
    let response = request
        .basic_auth("edge-2", Some(&service.gateway_secret))
        .form(&form.0)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_from_an_old_registry_is_not_committed() {
    let service = Service::start().await;
    let revision = service.running.app.registry().revision();
    let elsewhere = service.elsewhere().await;
    elsewhere
        .set_status(
            Registered::Agent,
            "helper",
            Status::Disabled,
            None,
            Timestamp::now(),
        )
        .await
        .unwrap();
    let record = writ_token_service::audit::Record::new(
        writ_token_service::audit::Kind::Mint,
        Timestamp::now(),
    );
    let committed = service
        .store()
        .commit_decision(
            revision,
            record,
            writ_token_service::audit::Beside::default(),
            Mint::default(),
        )
        .await;
    assert!(matches!(committed, Err(StoreError::Stale)));
    assert!(service.records().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_held_by_somebody_is_waited_for_and_then_503() {
    let service = Service::start().await;
    let mut holder = database::hold(&service.running.app.config.data_dir).await;
    let form = Form::new(&service.caller_token(), &call("echo"));
    let started = Instant::now();
    let response = service.exchange(&form).await;
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(
        refusal(response).await,
        (503, "temporarily_unavailable".into())
    );
    sqlx::query("ROLLBACK").execute(&mut holder).await.unwrap();
    assert_eq!(service.exchange(&form).await.status(), StatusCode::OK);
}
