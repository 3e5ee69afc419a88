//! Methods beyond those of MCP, and answers of clients to servers: judged as the filter judges them.

use jiff::Timestamp;
use serde_json::{Value, json};
use writ_core::message::content_digest;

use crate::harness::{Form, Service};

/// A form for a message that is allowed by the policy only where it gets so far.
fn form(service: &Service, message: &Value, method: &str, answers: Option<&str>) -> Form {
    let body = message.to_string();
    let detail = json!([{"type": "mcp_request", "server": "ledger", "method": method,
        "content_digest": content_digest(body.as_bytes())}]);
    let context = json!({"request_id": "req-1", "source_ip": "192.0.2.7", "answers": answers});
    let mut named = message.clone();
    named["method"] = method.into();
    Form::new(&service.caller_token(), &named)
        .with("authorization_details", detail.to_string())
        .with("mcp_message", encoded(&body))
        .with("mcp_context", context.to_string())
}

fn encoded(body: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(body)
}

async fn told(service: &Service, form: &Form) -> (u16, Value) {
    let response = service.exchange(form).await;
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn allow_everything(service: &Service) {
    let file = service.dir.path().join("policy/test.rego");
    let policy = "package writ
        call := {\"allow\": true, \"reason\": input.mcp.method} if not refused
        refused if input.mcp.answer.result.action == \"never\"";
    std::fs::write(&file, policy).unwrap();
    service.running.reload_policy().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_nobody_knows_is_denied_until_the_registration_names_it() {
    let service = Service::start().await;
    allow_everything(&service).await;
    let report = json!({"jsonrpc": "2.0", "id": 1, "method": "acme/report"});
    let form = form(&service, &report, "acme/report", None);
    let (status, answer) = told(&service, &form).await;
    assert_eq!((status, &answer["error"]), (403, &json!("access_denied")));
    let why = answer["error_description"].as_str().unwrap();
    assert!(
        why.contains("writ server update ledger --method acme/report"),
        "{why}"
    );
    let records = service.records().await;
    assert_eq!(records[0].detail.as_ref().unwrap()["cause"], "method");

    let elsewhere = service.elsewhere().await;
    let methods = ["acme/report".to_owned()];
    elsewhere
        .set_methods("ledger", &methods, Timestamp::now())
        .await
        .unwrap();
    assert_eq!(told(&service, &form).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_gets_a_token_of_its_own_named_after_the_question() {
    let service = Service::start().await;
    allow_everything(&service).await;
    let answer = json!({"jsonrpc": "2.0", "id": 12, "result": {"action": "accept"}});
    let method = "response/elicitation/create";
    let (status, minted) = told(
        &service,
        &form(&service, &answer, method, Some("elicitation/create")),
    )
    .await;
    assert_eq!(status, 200, "{minted}");
    let records = service.records().await;
    let record = records.last().unwrap();
    assert_eq!(record.method.as_deref(), Some(method));
    assert_eq!(
        record.reason.as_deref(),
        Some(method),
        "the policy saw the method"
    );

    let never = json!({"jsonrpc": "2.0", "id": 12, "result": {"action": "never"}});
    let form_of = |answer: &Value, answers| form(&service, answer, method, answers);
    let refused = told(&service, &form_of(&never, Some("elicitation/create"))).await;
    assert_eq!(refused.0, 403, "the policy saw what was answered");
    let refused = told(&service, &form_of(&answer, None)).await;
    assert_eq!(
        (refused.0, &refused.1["error"]),
        (400, &json!("invalid_request"))
    );
    let refused = told(&service, &form_of(&answer, Some("roots/list"))).await;
    assert_eq!(refused.1["error"], "invalid_authorization_details");
}
