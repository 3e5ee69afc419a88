//! What an application sees through its SDK: calls that go through, calls that policy refuses with a reason the
//! application can show, an agent of its own that does its one job, and the challenge without a token.

use rmcp::ServiceError;
use serde_json::{Value, json};
use writ_tests::clients::{Sdk, Story};
use writ_tests::deployment::{Deployment, Options};
use writ_tests::mcp::{self, Era, McpClient};

/// What alice's assistant tries: an allowed call, a transfer above the limit, a tool outside her groups.
fn delegated() -> Value {
    json!([
        { "list": true },
        { "call": "listAccounts", "arguments": {} },
        { "call": "transfer", "arguments": { "from": "ops", "to": "payroll", "amount": 25_000, "currency": "EUR" } },
        { "call": "exportAuditReport", "arguments": {} },
        { "call": "transfer", "arguments": { "from": "ops", "to": "payroll", "amount": 10, "currency": "EUR" } },
    ])
}

/// What the reconciler tries: its one job, then somebody else's.
fn autonomous() -> Value {
    json!([
        { "call": "reconcile", "arguments": {} },
        { "call": "listAccounts", "arguments": {} },
    ])
}

fn assert_denied(answer: &Value, reason: &str, sdk: Sdk) {
    let error = &answer["error"];
    assert_eq!(error["code"], 403, "{sdk:?}: {answer}");
    assert_eq!(error["data"]["type"], "policy_denied", "{sdk:?}: {answer}");
    assert!(
        error["message"].as_str().unwrap().contains(reason),
        "{sdk:?}: {answer}"
    );
}

async fn story_of(sdk: Sdk, writ: &Deployment) {
    let token = writ.user_token().await.unwrap();
    let answers = Story::play(sdk, &writ.url(), Some(&token), &delegated())
        .await
        .unwrap();
    assert_eq!(answers.len(), 5, "{sdk:?}: {answers:?}");
    // The list holds what she may call, and nothing else that the ledger has.
    assert_eq!(
        answers[0]["tools"],
        json!(["getAccount", "listAccounts", "transfer"]),
        "{sdk:?}"
    );
    let accounts = &answers[1]["result"]["structuredContent"]["accounts"];
    assert_eq!(
        accounts.as_array().map(Vec::len),
        Some(3),
        "{sdk:?}: {}",
        answers[1]
    );
    assert_denied(&answers[2], "amount is above the limit of 1000", sdk);
    assert_denied(
        &answers[3],
        "alice has no grant for exportAuditReport on ledger",
        sdk,
    );
    assert_eq!(
        answers[4]["result"]["structuredContent"]["text"], "transferred 10 EUR from ops to payroll",
        "{sdk:?}: {}",
        answers[4]
    );

    let token = writ.reconciler_token().await.unwrap();
    let answers = Story::play(sdk, &writ.url(), Some(&token), &autonomous())
        .await
        .unwrap();
    assert_eq!(answers.len(), 2, "{sdk:?}: {answers:?}");
    assert!(
        answers[0].get("result").is_some(),
        "{sdk:?}: {}",
        answers[0]
    );
    assert_denied(&answers[1], "its registration does not name this", sdk);

    let answers = Story::play(sdk, &writ.url(), None, &json!([]))
        .await
        .unwrap();
    let error = answers
        .first()
        .unwrap_or_else(|| panic!("{sdk:?} connected without a token"));
    let told = error["error"].to_string();
    assert!(
        told.contains("401") || told.contains("Unauthorized"),
        "{sdk:?}: {told}"
    );
}

#[tokio::test]
async fn the_typescript_sdk_of_the_session_era() {
    let writ = Deployment::start(Options::named("sdk-ts-v1"))
        .await
        .unwrap();
    story_of(Sdk::TypeScriptV1, &writ).await;
}

#[tokio::test]
async fn the_typescript_sdk_of_the_stateless_era() {
    let writ = Deployment::start(Options::named("sdk-ts-v2"))
        .await
        .unwrap();
    for era in Era::ALL {
        story_of(Sdk::TypeScriptV2(era), &writ).await;
    }
}

#[tokio::test]
async fn the_python_sdk() {
    let writ = Deployment::start(Options::named("sdk-python"))
        .await
        .unwrap();
    for era in Era::ALL {
        story_of(Sdk::Python(era), &writ).await;
    }
}

#[tokio::test]
async fn rmcp() {
    let writ = Deployment::start(Options::named("sdk-rmcp")).await.unwrap();
    let (alices, reconcilers) = (
        writ.user_token().await.unwrap(),
        writ.reconciler_token().await.unwrap(),
    );
    for era in Era::ALL {
        let client = mcp::connect(&writ.url(), &alices, era).await.unwrap();
        let accounts = mcp::call(&client, "listAccounts", json!({})).await.unwrap();
        let accounts = accounts.structured_content.unwrap();
        assert_eq!(accounts["accounts"].as_array().map(Vec::len), Some(3));
        let order = json!({ "from": "ops", "to": "payroll", "amount": 25_000, "currency": "EUR" });
        assert_eq!(
            denial(&client, "transfer", order).await,
            "amount is above the limit of 1000",
            "{era:?}"
        );
        assert_eq!(
            denial(&client, "exportAuditReport", json!({})).await,
            "alice has no grant for exportAuditReport on ledger",
            "{era:?}"
        );

        let client = mcp::connect(&writ.url(), &reconcilers, era).await.unwrap();
        let done = mcp::call(&client, "reconcile", json!({})).await.unwrap();
        assert_ne!(done.is_error, Some(true), "{era:?}");
        let reason = denial(&client, "listAccounts", json!({})).await;
        assert!(
            reason.contains("its registration does not name this"),
            "{era:?}: {reason}"
        );

        assert!(mcp::connect(&writ.url(), "", era).await.is_err(), "{era:?}");
    }
}

/// The reason with which policy refuses this call.
async fn denial(client: &McpClient, tool: &str, arguments: Value) -> String {
    match mcp::call(client, tool, arguments).await {
        Err(ServiceError::McpError(error)) if error.code.0 == 403 => error.message.into_owned(),
        other => panic!("{tool}: {other:?}"),
    }
}
