//! Introspection: single use, and what reaches a server past the gateway.

use jiff::Timestamp;
use serde_json::{Value, json};
use writ_token_service::{
    audit::{Kind, Record},
    registry::Status,
    store::registrations::Registered,
};

use crate::{
    database,
    harness::{Service, call, refusal},
};

async fn rogues(service: &Service) -> Vec<Record> {
    service
        .records()
        .await
        .into_iter()
        .filter(|r| r.kind == Kind::Rogue)
        .collect()
}

fn credential(record: &Record) -> &str {
    record.detail.as_ref().unwrap()["credential"]
        .as_str()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_token_is_told_to_its_own_server_with_its_claims() {
    let service = Service::start().await;
    let (token, answer) = service.mint(&call("echo")).await;
    let told = service.introspect(&[("token", &token)]).await;
    assert_eq!(told["active"], true);
    assert_eq!(told["sub"], "alice");
    assert_eq!(told["jti"], answer["jti"]);
    assert_eq!(told["authorization_details"][0]["target"], "echo");
    assert!(rogues(&service).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_consume_a_token_at_once_exactly_one_may() {
    let service = Service::start().await;
    let (token, _) = service.mint(&call("echo")).await;
    let tries = (0..32).map(|_| {
        let request = service.http.post(service.public_url("/oauth/introspect"));
        let request = request.basic_auth("ledger", Some(&service.server_secret));
        let request = request.form(&[("token", token.as_str()), ("consume", "true")]);
        tokio::spawn(async move { request.send().await.unwrap().json::<Value>().await.unwrap() })
    });
    let mut spent = 0;
    for answer in tries.collect::<Vec<_>>() {
        spent += u32::from(answer.await.unwrap()["active"] == true);
    }
    assert_eq!(spent, 1);
    let rogues = rogues(&service).await;
    assert_eq!(rogues.len(), 31);
    assert!(
        rogues
            .iter()
            .all(|r| credential(r) == "replay" && r.subject.as_deref() == Some("alice"))
    );
    assert_eq!(
        service.introspect(&[("token", &token)]).await,
        json!({"active": false})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discovery_token_may_be_used_again() {
    let service = Service::start().await;
    let (token, _) = service
        .mint(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}))
        .await;
    for _ in 0..3 {
        assert_eq!(
            service
                .introspect(&[("token", &token), ("consume", "true")])
                .await["active"],
            true
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rogue_credentials_are_on_record_and_nowhere_themselves() {
    let service = Service::start().await;
    let (token, _) = service.mint(&call("echo")).await;
    let own = service.caller_token();
    let pat = "ghp_0123456789abcdefghijklmnopqrstuvwxyzAB";
    let brought = [
        (pat, "github"),
        ("sk-live-0123456789abcdef", "secret_key"),
        ("correct-horse-battery", "opaque"),
        (own.as_str(), "caller_token"),
    ];
    for (credential, _) in brought {
        let told = service
            .introspect(&[
                ("token", credential),
                ("consume", "true"),
                ("source_ip", "198.51.100.9"),
            ])
            .await;
        assert_eq!(told, json!({"active": false}));
    }
    let other = service
        .introspect_as(
            "other",
            &service.other_secret,
            &[("token", &token), ("consume", "true")],
        )
        .await;
    assert_eq!(
        other.json::<Value>().await.unwrap(),
        json!({"active": false})
    );

    let rogues = rogues(&service).await;
    let kinds: Vec<&str> = rogues.iter().map(credential).collect();
    assert_eq!(
        kinds,
        [
            "github",
            "secret_key",
            "opaque",
            "caller_token",
            "foreign_token"
        ]
    );
    assert_eq!(rogues[0].source_ip.as_deref(), Some("198.51.100.9"));
    assert_eq!(rogues[3].subject.as_deref(), Some("alice"));
    assert_eq!(rogues[4].server.as_deref(), Some("other"));
    // The token itself is still good where it belongs: asking elsewhere has not spent it.
    assert_eq!(
        service
            .introspect(&[("token", &token), ("consume", "true")])
            .await["active"],
        true
    );

    service.running.app.store.close().await;
    let data_dir = &service.running.app.config.data_dir;
    assert!(database::keeps(data_dir, b"ledger").await);
    for (credential, _) in brought {
        assert!(!database::keeps(data_dir, credential.as_bytes()).await);
    }
    for secret in [&service.gateway_secret, &service.server_secret] {
        assert!(!database::keeps(data_dir, secret.as_bytes()).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_somebody_disabled_since_is_dead() {
    let service = Service::start().await;
    let (token, _) = service.mint(&call("echo")).await;
    let elsewhere = service.elsewhere().await;
    elsewhere
        .set_status(
            Registered::Agent,
            "assistant",
            Status::Disabled,
            None,
            Timestamp::now(),
        )
        .await
        .unwrap();
    assert_eq!(
        service
            .introspect(&[("token", &token), ("consume", "true")])
            .await,
        json!({"active": false})
    );
    assert_eq!(credential(&rogues(&service).await[0]), "disabled");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_registered_servers_are_told_anything() {
    let service = Service::start().await;
    let (token, _) = service.mint(&call("echo")).await;
    for (id, secret) in [
        ("ledger", "wrong"),
        ("edge", service.gateway_secret.as_str()),
        ("", ""),
    ] {
        let response = service
            .introspect_as(id, secret, &[("token", &token)])
            .await;
        assert_eq!(refusal(response).await, (401, "invalid_client".into()));
    }
    let response = service
        .introspect_as("ledger", &service.server_secret, &[("consume", "true")])
        .await;
    assert_eq!(refusal(response).await, (400, "invalid_request".into()));
}
