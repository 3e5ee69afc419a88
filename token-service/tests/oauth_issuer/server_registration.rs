//! MCP servers that register themselves.

use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use writ_token_service::{audit::Verdict, registry::Status, store::registrations::Registered};

use crate::{
    browser::{Browser, Request},
    issuer::{Issuer, RESOURCE},
    registration::text,
};

const NEW: &str = "https://crm.test/mcp";

async fn register(issuer: &Issuer, token: Option<&str>, metadata: &Value) -> (u16, Value) {
    let url = format!("{}/oauth/register/servers", issuer.url);
    issuer
        .registration(Method::POST, &url, token, &metadata.to_string())
        .await
}

fn a_server() -> Value {
    json!({
        "resource": NEW, "resource_name": "CRM", "upstream": "http://10.0.0.7:8080/mcp",
        "tools": ["find_customer"], "scopes_supported": ["customers:read"],
    })
}

async fn asks_for_it(issuer: &Issuer) -> u16 {
    let query = Request::new()
        .with("resource", NEW)
        .with("scope", "customers:read")
        .query();
    let answer = Browser::new(issuer).get(&query).await;
    answer.status
}

#[tokio::test]
async fn a_server_registers_and_waits_until_somebody_approves_it() {
    let issuer = Issuer::start().await;
    let token = issuer.initial_token(1, &[("team", "sales")]).await;
    let (status, server) = register(&issuer, Some(&token), &a_server()).await;
    assert_eq!(
        (status, text(&server, "registration_status")),
        (201, "pending"),
        "{server}"
    );
    assert_eq!(server["owner"], "platform team");
    assert_ne!(server["upstream_audience"], NEW);
    assert_eq!(
        asks_for_it(&issuer).await,
        303,
        "the client is told that there is no such server"
    );

    let id = text(&server, "server_id");
    let store = &issuer.running.app.store;
    store
        .decide(Registered::Server, id, Verdict::Allow, Timestamp::now())
        .await
        .unwrap();
    assert_eq!(asks_for_it(&issuer).await, 200);
    let registry = issuer.running.app.current_registry().await.unwrap();
    let registered = registry.server(id).unwrap();
    assert_eq!(registered.labels["team"], "sales");
    assert_eq!(registered.tools, ["find_customer"]);
    assert!(
        registered
            .secret
            .verify(text(&server, "introspection_secret"))
    );
    let record = &issuer.registration_records().await[0];
    assert_eq!(record.method.as_deref(), Some("server register"));
    assert_eq!(record.server.as_deref(), Some(id));
}

#[tokio::test]
async fn a_token_that_vouches_approves_a_server_but_not_labels_it_asks_for() {
    let issuer = Issuer::start().await;
    let token = issuer.initial_token(2, &[("vouched", "true")]).await;
    let mut labelled = a_server();
    labelled["labels"] = json!({"tier": "trusted"});
    labelled["resource"] = "https://other.test/mcp".into();
    let (_, server) = register(&issuer, Some(&token), &labelled).await;
    assert_eq!(server["registration_status"], "pending", "{server}");
    let (_, server) = register(&issuer, Some(&token), &a_server()).await;
    assert_eq!(server["registration_status"], "approved", "{server}");
    assert_eq!(asks_for_it(&issuer).await, 200);
}

#[tokio::test]
async fn a_server_needs_a_token_and_a_resource_of_its_own() {
    let issuer = Issuer::start_from(crate::registration::OPEN, &[]).await;
    let (status, _) = register(&issuer, None, &a_server()).await;
    assert_eq!(status, 401, "registration is open for clients only");
    let token = issuer.initial_token(1, &[]).await;
    let mut taken = a_server();
    taken["resource"] = RESOURCE.into();
    let (status, answer) = register(&issuer, Some(&token), &taken).await;
    assert_eq!(
        (status, text(&answer, "error")),
        (400, "invalid_client_metadata")
    );
    let (status, _) = register(&issuer, Some(&token), &a_server()).await;
    assert_eq!(status, 201, "what was refused did not count");
}

#[tokio::test]
async fn a_server_is_changed_and_removed_with_its_own_token_and_judged_again() {
    let issuer = Issuer::start().await;
    let token = issuer.initial_token(1, &[]).await;
    let (_, server) = register(&issuer, Some(&token), &a_server()).await;
    let id = text(&server, "server_id");
    let store = &issuer.running.app.store;
    store
        .decide(Registered::Server, id, Verdict::Allow, Timestamp::now())
        .await
        .unwrap();
    let uri = text(&server, "registration_client_uri");
    let first = text(&server, "registration_access_token");
    let mut moved = a_server();
    moved["upstream"] = "http://10.0.0.8:8080/mcp".into();
    let (status, updated) = issuer
        .registration(Method::PUT, uri, Some(first), &moved.to_string())
        .await;
    assert_eq!(
        (status, text(&updated, "registration_status")),
        (200, "pending"),
        "{updated}"
    );
    let registry = issuer.running.app.current_registry().await.unwrap();
    assert_eq!(registry.server(id).unwrap().status, Status::Pending);
    assert_eq!(
        issuer
            .registration(Method::GET, uri, Some(first), "")
            .await
            .0,
        401
    );
    let second = text(&updated, "registration_access_token");
    let (_, read) = issuer
        .registration(Method::GET, uri, Some(second), "")
        .await;
    assert_eq!(read["upstream"], "http://10.0.0.8:8080/mcp");
    assert!(read.get("introspection_secret").is_none());
    assert_eq!(
        issuer
            .registration(Method::DELETE, uri, Some(second), "")
            .await
            .0,
        204
    );
    assert_eq!(asks_for_it(&issuer).await, 303);
}
