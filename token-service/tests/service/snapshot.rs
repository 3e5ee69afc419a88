//! The snapshot: whole, for this gateway only, and sent when it has changed.

use jiff::Timestamp;
use reqwest::{Response, StatusCode};
use writ_policy::{
    engine::{Data, ENGINE, Evaluator, Program},
    snapshot::{FORMAT, Snapshot},
};
use writ_token_service::{registry::Status, store::registrations::Registered};

use crate::harness::{AUDIENCE, GUARD, RESOURCE, Service};

async fn fetch(service: &Service, etag: Option<&str>) -> Response {
    let mut request = service
        .http
        .get(service.gateway_url("/gateway/v1/snapshot"));
    if let Some(etag) = etag {
        request = request.header("if-none-match", etag);
    }
    request
        .basic_auth("edge", Some(&service.gateway_secret))
        .send()
        .await
        .unwrap()
}

fn etag(response: &Response) -> String {
    response.headers()["etag"].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_sees_its_own_servers_and_a_program_it_can_run() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let service = Service::start().await;
    let response = fetch(&service, None).await;
    let tag = etag(&response);
    let snapshot: Snapshot = response.json().await.unwrap();
    assert_eq!(tag, format!("\"{}\"", snapshot.revision));
    assert_eq!(snapshot.format, FORMAT);
    assert_eq!(snapshot.issuer, service.running.app.config.issuer);
    assert_eq!(snapshot.servers.keys().collect::<Vec<_>>(), ["ledger"]);
    assert_eq!(snapshot.servers["ledger"].resource, RESOURCE);
    assert_eq!(snapshot.servers["ledger"].upstream_audience, AUDIENCE);
    assert_eq!(
        snapshot.agents["assistant"]
            .tools
            .keys()
            .collect::<Vec<_>>(),
        ["ledger"]
    );
    assert_eq!(snapshot.policy.engine, ENGINE);
    assert_eq!(
        snapshot.policy.revision,
        service.running.app.policy().revision()
    );
    let program =
        Program::from_bytes(&URL_SAFE_NO_PAD.decode(&snapshot.policy.program).unwrap()).unwrap();
    Evaluator::new(
        &program,
        &Data::from_json(&snapshot.policy.data.to_string()).unwrap(),
    )
    .unwrap();
    assert!(snapshot.jwks["keys"][0]["kid"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_of_one_server_seal_its_names_alike_and_get_no_other_servers_key() {
    let service = Service::start().await;
    let elsewhere = service.elsewhere().await;
    let gateways = elsewhere.gateways().await.unwrap();
    let mut gateway = gateways.into_iter().find(|g| g.id.as_str() == "edge");
    let gateway = gateway.as_mut().unwrap();
    gateway.id = "edge-2".parse().unwrap();
    gateway.servers.insert("other".to_owned());
    elsewhere
        .add_gateway(gateway, Timestamp::now())
        .await
        .unwrap();

    let first: Snapshot = fetch(&service, None).await.json().await.unwrap();
    let second = service
        .http
        .get(service.gateway_url("/gateway/v1/snapshot"));
    let second = second.basic_auth("edge-2", Some(&service.gateway_secret));
    let second: Snapshot = second.send().await.unwrap().json().await.unwrap();
    let key = |snapshot: &Snapshot, server: &str| {
        *snapshot.servers[server].seal_key.as_ref().unwrap().bytes()
    };
    assert_eq!(key(&first, "ledger"), key(&second, "ledger"));
    assert_ne!(key(&first, "ledger"), key(&second, "other"));
    assert!(!first.servers.contains_key("other"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_gets_no_key_no_rules_and_nobodys_labels_or_tools() {
    let service = Service::start().await;
    for who in [
        (GUARD, &service.guard_secret),
        ("ledger", &service.server_secret),
    ] {
        let request = service
            .http
            .get(service.gateway_url("/gateway/v1/snapshot"));
        let response = request.basic_auth(who.0, Some(who.1)).send().await.unwrap();
        let text = response.text().await.unwrap();
        let snapshot: Snapshot = serde_json::from_str(&text).unwrap();
        let server = &snapshot.servers["ledger"];
        assert_eq!(server.upstream_audience, AUDIENCE);
        assert!(server.seal_key.is_none() && !text.contains("seal_key"));
        assert!(server.labels.is_empty());
        let agent = &snapshot.agents["assistant"];
        assert_eq!(agent.status, Status::Approved);
        assert!(agent.labels.is_empty() && agent.tools.is_empty());
        assert_ne!(
            snapshot.policy.program,
            service.running.app.policy().bundle().program
        );
        assert_eq!(snapshot.policy.engine, ENGINE, "the filter can load it");
        assert_eq!(snapshot.policy.data, serde_json::json!({}));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_sent_again_only_when_something_has_changed_for_this_gateway() {
    let service = Service::start().await;
    let first = etag(&fetch(&service, None).await);
    let again = fetch(&service, Some(&first)).await;
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(etag(&again), first);

    let elsewhere = service.elsewhere().await;
    elsewhere
        .set_status(
            Registered::Server,
            "other",
            Status::Disabled,
            None,
            Timestamp::now(),
        )
        .await
        .unwrap();
    assert_eq!(
        fetch(&service, Some(&first)).await.status(),
        StatusCode::NOT_MODIFIED
    );

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
    let changed = fetch(&service, Some(&first)).await;
    assert_eq!(changed.status(), StatusCode::OK);
    let snapshot: Snapshot = changed.json().await.unwrap();
    assert_eq!(snapshot.agents["assistant"].status, Status::Disabled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_policy_is_published_and_a_wrong_one_is_not() {
    let service = Service::start().await;
    let first = etag(&fetch(&service, None).await);
    let file = service.dir.path().join("policy/test.rego");
    std::fs::write(&file, "package writ\ncall := {").unwrap();
    let error = service
        .running
        .reload_policy()
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("test.rego:2"), "{error}");
    assert_eq!(
        fetch(&service, Some(&first)).await.status(),
        StatusCode::NOT_MODIFIED
    );
    std::fs::write(
        &file,
        "package writ\nimport rego.v1\ncall := {\"allow\": false, \"reason\": \"closed\"}",
    )
    .unwrap();
    service.running.reload_policy().await.unwrap();
    assert_eq!(fetch(&service, Some(&first)).await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_gets_no_snapshot() {
    let service = Service::start().await;
    let url = service.gateway_url("/gateway/v1/snapshot");
    assert_eq!(
        service.http.get(&url).send().await.unwrap().status(),
        StatusCode::UNAUTHORIZED
    );
    let wrong = service
        .http
        .get(&url)
        .basic_auth("edge", Some("wrong"))
        .send()
        .await
        .unwrap();
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
}
