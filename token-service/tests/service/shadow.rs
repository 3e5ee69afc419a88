//! A policy in the shadow: asked about the same calls as the one in force, it decides nothing, and what it would have decided
//! otherwise is on record.

use std::collections::BTreeSet;

use jiff::Timestamp;
use reqwest::StatusCode;
use serde_json::{Value, json};
use writ_token_service::{
    policy::Sources,
    store::{
        StoreError,
        policies::NewRevision,
        shadow::{Candidate, Scope},
    },
};

use crate::harness::{Form, Service, call};

/// Lets nobody call `echo`, and everybody what the policy in force lets nobody.
const RULES: &str = "package writ\n\ncall := {\"allow\": false, \"reason\": \"no echo\"} if input.mcp.tool == \"echo\"\n\ncall := {\"allow\": true} if input.mcp.tool == \"closed\"\n";

/// Puts these rules into the shadow, as another process does.
async fn shadow(service: &Service, rules: &str, scope: Scope) {
    let files = [("rules.rego".to_owned(), rules.to_owned())].into();
    let sources = Sources::of("test".to_owned(), files).unwrap();
    let new = NewRevision {
        revision: &sources.revision(),
        files: &sources.files,
        origin: "test",
        named: None,
        message: "a try",
        author: "ada",
    };
    let candidate = Candidate::New(&new);
    let elsewhere = service.elsewhere().await;
    elsewhere
        .put_in_shadow(&candidate, &scope, "ada", Timestamp::now())
        .await
        .unwrap();
}

/// The status of a call of `tool`, and what its record says of the shadow.
async fn asked(service: &Service, tool: &str) -> (StatusCode, Value) {
    let form = Form::new(&service.caller_token(), &call(tool));
    let status = service.exchange(&form).await.status();
    let record = service.records().await.pop().unwrap();
    (status, record.detail.unwrap_or_default()["shadow"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_decides_nothing_and_what_it_would_decide_otherwise_is_on_record() {
    let service = Service::start().await;
    shadow(&service, RULES, Scope::default()).await;
    let (status, told) = asked(&service, "echo").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        (&told["decision"], &told["reason"]),
        (&json!("deny"), &json!("no echo"))
    );
    assert_eq!(told["revision"].as_str().unwrap().len(), 16);
    let (status, told) = asked(&service, "closed").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(told["decision"], "allow");
    // As the policy in force decides: nothing to say.
    let (status, told) = asked(&service, "unknown").await;
    assert_eq!((status, told), (StatusCode::FORBIDDEN, Value::Null));

    let elsewhere = service.elsewhere().await;
    elsewhere.end_shadow("ada", Timestamp::now()).await.unwrap();
    assert_eq!(asked(&service, "echo").await.1, Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_asked_about_some_servers_and_agents_only_where_they_are_named() {
    let named = |id: &str| BTreeSet::from([id.to_owned()]);
    let service = Service::start().await;
    for (servers, agents, is_asked) in [
        (named("ledger"), BTreeSet::new(), true),
        (named("other"), BTreeSet::new(), false),
        (BTreeSet::new(), named("assistant"), true),
        (BTreeSet::new(), named("helper"), false),
        (named("ledger"), named("helper"), false),
        (named("ledger"), named("assistant"), true),
    ] {
        let scope = Scope { servers, agents };
        shadow(&service, RULES, scope.clone()).await;
        let told = asked(&service, "echo").await.1;
        assert_eq!(told.is_object(), is_asked, "{scope:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_for_nobody_whom_nobody_knows() {
    let service = Service::start().await;
    for (servers, agents) in [(vec!["lodger"], vec![]), (vec!["ledger"], vec!["nobody"])] {
        let set = |ids: Vec<&str>| ids.into_iter().map(str::to_owned).collect();
        let scope = Scope {
            servers: set(servers),
            agents: set(agents),
        };
        let elsewhere = service.elsewhere().await;
        let put =
            elsewhere.put_in_shadow(&Candidate::Published(1), &scope, "ada", Timestamp::now());
        let error = put.await.unwrap_err();
        assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
        assert_eq!(elsewhere.shadow().await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_gateway_denied_by_itself_is_asked_as_far_as_it_says_what_that_was() {
    let service = Service::start().await;
    shadow(&service, RULES, Scope::default()).await;
    let denied = |input: Value, request: &str| {
        json!({
            "type": "denied", "cause": "policy", "reason": "no", "policy_revision": "p", "input": input,
            "call": {
                "request_id": request, "time": "2026-11-29T10:00:00Z", "server": "ledger", "method": "tools/call",
                "target": "closed", "subject": "alice", "agent": "assistant",
            },
        })
    };
    let document = json!({
        "subject": {"id": "alice"}, "agent": {"id": "assistant"}, "server": {"id": "ledger"},
        "mcp": {"method": "tools/call", "tool": "closed", "arguments": {}},
    });
    let whole = denied(json!({"document": document.to_string()}), "whole");
    let lacking = denied(
        json!({"document": document.to_string(), "lacks": "long_arguments"}),
        "lacking",
    );
    let answer = service.report(&json!([whole, lacking])).await;
    assert_eq!(
        answer.status(),
        StatusCode::NO_CONTENT,
        "{:?}",
        answer.text().await
    );
    let records = service.records().await;
    let told = |request: &str| {
        let of = |r: &&writ_token_service::audit::Record| r.request_id.as_deref() == Some(request);
        let detail = records.iter().find(of).unwrap().detail.clone();
        detail.unwrap()["shadow"].clone()
    };
    assert_eq!(told("whole")["decision"], "allow");
    assert_eq!(told("lacking"), Value::Null);
}
