//! Tasks: what an agent declares, policy approves, and calls are confined to.

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use writ_token_service::{
    audit::{Kind, Verdict},
    store::audit::Filter,
};

use crate::harness::{AUDIENCE, Form, OTHER_RESOURCE, Service, call, refusal};
use crate::process::run;

/// A task for what the test policy approves of: all of it.
pub fn asked() -> Value {
    json!({"purpose": "month's end", "tools": {"ledger": ["echo"]}, "expires_in": 600, "max_calls": 2})
}

async fn open(service: &Service, token: &str, body: &Value) -> Response {
    let request = service.http.post(service.public_url("/oauth/tasks"));
    request.bearer_auth(token).json(body).send().await.unwrap()
}

pub async fn opened(service: &Service, token: &str, body: &Value) -> Value {
    let response = open(service, token, body).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    response.json().await.unwrap()
}

pub fn within(form: Form, task: &str) -> Form {
    let context = json!({"request_id": "req-1", "source_ip": "192.0.2.7", "task": task});
    form.with("mcp_context", context.to_string())
}

pub fn id(task: &Value) -> &str {
    task["task"].as_str().unwrap()
}

fn claims(answer: &Value) -> Value {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let payload = answer["access_token"]
        .as_str()
        .unwrap()
        .split('.')
        .nth(1)
        .unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// The reason of a denied exchange.
async fn denied(service: &Service, form: &Form) -> String {
    let response = service.exchange(form).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let body: Value = response.json().await.unwrap();
    body["error_description"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_within_a_task_share_its_transaction_are_counted_and_end_with_its_budget() {
    let service = Service::start().await;
    let token = service.caller_token();
    let task = opened(&service, &token, &asked()).await;
    assert_eq!(
        (&task["state"], &task["calls"], &task["max_calls"]),
        (&json!("open"), &json!(0), &json!(2))
    );
    let form = within(Form::new(&token, &call("echo")), id(&task));
    let mut transactions = Vec::new();
    for _ in 0..2 {
        let answer: Value = service.exchange(&form).await.json().await.unwrap();
        let claims = claims(&answer);
        assert_eq!(claims["aud"], AUDIENCE);
        transactions.push(claims["txn"].clone());
    }
    assert_eq!(transactions[0], transactions[1]);
    assert!(
        denied(&service, &form)
            .await
            .contains("has had the 2 calls")
    );

    let shown = service
        .http
        .get(service.public_url(&format!("/oauth/tasks/{}", id(&task))))
        .bearer_auth(&token)
        .send()
        .await
        .unwrap();
    let shown: Value = shown.json().await.unwrap();
    assert_eq!(shown["calls"], 2);
    let filter = Filter {
        task: Some(id(&task).to_owned()),
        ..Filter::default()
    };
    let records = service.store().newest_records(&filter, 10).await.unwrap();
    let kinds: Vec<_> = records.iter().map(|e| e.record.kind).collect();
    assert_eq!(kinds, [Kind::Task, Kind::Mint, Kind::Mint, Kind::Denied]);
    assert_eq!(records[1].record.txn.as_deref(), transactions[0].as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn policy_narrows_what_is_asked_for() {
    let service = Service::start().await;
    let greedy = json!({"purpose": "month's end", "tools": {"ledger": ["echo", "transfer"], "other": ["x"]},
        "expires_in": 600, "max_calls": 1000});
    let task = opened(&service, &service.caller_token(), &greedy).await;
    assert_eq!(task["tools"], json!({"ledger": ["echo"]}));
    assert_eq!(task["max_calls"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_policy_refuses_is_on_record_with_the_reason() {
    let service = Service::start().await;
    let mut body = asked();
    body["purpose"] = "a look around".into();
    let response = open(&service, &service.caller_token(), &body).await;
    assert_eq!(refusal(response).await, (403, "access_denied".into()));
    let records = service.records().await;
    let [record] = records.as_slice() else {
        panic!("{records:?}")
    };
    assert_eq!(
        (record.kind, record.decision),
        (Kind::Task, Some(Verdict::Deny))
    );
    assert_eq!(
        record.reason.as_deref(),
        Some("only the month's end is worth a task")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_without_the_rule_approves_nothing() {
    let service = Service::start_with(|config| {
        let rego = "package writ\nimport rego.v1\ncall := {\"allow\": true}\n";
        let dir = config.policy_dir.clone().unwrap();
        std::fs::write(dir.join("test.rego"), rego).unwrap();
    })
    .await;
    let response = open(&service, &service.caller_token(), &asked()).await;
    assert_eq!(refusal(response).await, (403, "access_denied".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_outside_the_task_are_denied_and_not_counted() {
    let service = Service::start().await;
    let token = service.caller_token();
    let task = opened(&service, &token, &asked()).await;
    let form = |message: &Value| within(Form::new(&token, message), id(&task));
    let prompt =
        json!({"jsonrpc": "2.0", "id": 1, "method": "prompts/get", "params": {"name": "echo"}});
    for (message, reason) in [
        (call("brief"), "does not name brief on ledger"),
        (prompt, "prompts/get is not part of it"),
    ] {
        let told = denied(&service, &form(&message)).await;
        assert!(told.contains(reason), "{told}");
    }
    let around = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    assert_eq!(
        service.exchange(&form(&around)).await.status(),
        StatusCode::OK
    );
    let found = service
        .store()
        .task(id(&task), jiff::Timestamp::now())
        .await
        .unwrap()
        .unwrap();
    assert_eq!((found.task.calls, found.calls_today), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_calls_within_somebody_elses_task_or_one_they_made_up() {
    let service = Service::start().await;
    let task = opened(&service, &service.caller_token(), &asked()).await;
    let as_another = |name: &str, value: &str| {
        let mut claims = service.caller_claims();
        claims[name] = value.into();
        service.sign(&claims)
    };
    for token in [as_another("sub", "bob"), as_another("client_id", "helper")] {
        let told = denied(
            &service,
            &within(Form::new(&token, &call("echo")), id(&task)),
        )
        .await;
        assert!(told.contains("no task of that id"), "{told}");
        for path in ["", "/close"] {
            let url = service.public_url(&format!("/oauth/tasks/{}{path}", id(&task)));
            let request = match path {
                "" => service.http.get(url),
                _ => service.http.post(url),
            };
            let response = request.bearer_auth(&token).send().await.unwrap();
            assert_eq!(refusal(response).await, (404, "not_found".into()));
        }
    }
    let token = service.caller_token();
    let made_up = writ_token_service::secret::new_id();
    let told = denied(
        &service,
        &within(Form::new(&token, &call("echo")), &made_up),
    )
    .await;
    assert!(told.contains("no task of that id"), "{told}");
    let label = within(Form::new(&token, &call("echo")), "month-end");
    assert_eq!(
        refusal(service.exchange(&label).await).await,
        (400, "invalid_request".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_task_takes_no_more_calls() {
    let service = Service::start().await;
    let token = service.caller_token();
    let task = opened(&service, &token, &asked()).await;
    let close = service.public_url(&format!("/oauth/tasks/{}/close", id(&task)));
    for _ in 0..2 {
        let response = service.http.post(&close).bearer_auth(&token).send().await;
        let closed: Value = response.unwrap().json().await.unwrap();
        assert_eq!(closed["state"], "closed");
    }
    let told = denied(
        &service,
        &within(Form::new(&token, &call("echo")), id(&task)),
    )
    .await;
    assert!(told.contains("is closed"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_closed_by_an_administrator_elsewhere_takes_no_more_calls() {
    let service = Service::start().await;
    let token = service.caller_token();
    let task = opened(&service, &token, &asked()).await;
    let store = service.elsewhere().await;
    store
        .close_task(id(&task), jiff::Timestamp::now())
        .await
        .unwrap();
    let told = denied(
        &service,
        &within(Form::new(&token, &call("echo")), id(&task)),
    )
    .await;
    assert!(told.contains("is closed"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_task_resets_nothing() {
    let service = Service::start().await;
    let token = service.caller_token();
    let body =
        json!({"purpose": "month's end", "tools": {"ledger": ["limited"]}, "expires_in": 600});
    for _ in 0..2 {
        let task = opened(&service, &token, &body).await;
        let form = within(Form::new(&token, &call("limited")), id(&task));
        assert_eq!(service.exchange(&form).await.status(), StatusCode::OK);
    }
    let task = opened(&service, &token, &body).await;
    let form = within(Form::new(&token, &call("limited")), id(&task));
    assert_eq!(denied(&service, &form).await, "enough for today");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_calls_at_the_same_moment_no_more_than_the_budget_are_let_through() {
    let service = Service::start().await;
    let token = service.caller_token();
    let task = opened(&service, &token, &asked()).await;
    let form = within(Form::new(&token, &call("echo")), id(&task));
    let tries = tokio::task::JoinSet::from_iter((0..12).map(|_| {
        let request = service.http.post(service.gateway_url("/oauth/token"));
        let request = request
            .basic_auth("edge", Some(&service.gateway_secret))
            .form(&form.0);
        async move { request.send().await.unwrap().status() }
    }));
    let answers = tries.join_all().await;
    let of = |status| answers.iter().filter(|s| **s == status).count();
    assert_eq!(
        (of(StatusCode::OK), of(StatusCode::FORBIDDEN)),
        (2, 10),
        "{answers:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_good_token_of_a_caller_opens_a_task() {
    let service = Service::start().await;
    let (minted, _) = service.mint(&call("echo")).await;
    let with = |name: &str, value: Value| {
        let mut claims = service.caller_claims();
        claims[name] = value;
        service.sign(&claims)
    };
    let bad = [
        minted,
        with("exp", 1.into()),
        with("aud", AUDIENCE.into()),
        with("client_id", "nobody".into()),
        with("cnf", json!({"jkt": "x"})),
        "hunter2".to_owned(),
    ];
    for token in &bad {
        let response = open(&service, token, &asked()).await;
        assert!(
            response.headers()["www-authenticate"]
                .to_str()
                .unwrap()
                .starts_with("Bearer")
        );
        assert_eq!(refusal(response).await, (401, "invalid_token".into()));
    }
    // For any server of ours: policy says which tools.
    opened(&service, &with("aud", OTHER_RESOURCE.into()), &asked()).await;
    let mut unknown = asked();
    unknown["tools"] = json!({"nowhere": ["x"]});
    let response = open(&service, &service.caller_token(), &unknown).await;
    assert_eq!(refusal(response).await, (400, "invalid_request".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_sees_a_task_and_what_belongs_to_it_and_ends_it() {
    let service = Service::start().await;
    let token = service.caller_token();
    let task = opened(&service, &token, &asked()).await;
    let task = id(&task).to_owned();
    let form = within(Form::new(&token, &call("echo")), &task);
    assert_eq!(service.exchange(&form).await.status(), StatusCode::OK);

    let data_dir = service.running.app.config.data_dir.display().to_string();
    let writ = |arguments: &[&str]| {
        let arguments = [&["--json", "--data-dir", data_dir.as_str()], arguments].concat();
        let output = run(service.dir.path(), &arguments);
        assert!(output.status.success(), "{arguments:?}");
        let lines = String::from_utf8(output.stdout).unwrap();
        let lines = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        lines.collect::<Vec<Value>>()
    };
    let listed = writ(&["task", "list"]);
    let [listed] = listed.as_slice() else {
        panic!("{listed:?}");
    };
    assert_eq!((&listed["id"], &listed["calls"]), (&json!(task), &json!(1)));
    assert_eq!(writ(&["task", "show", &task]), std::slice::from_ref(listed));
    let kinds: Vec<Value> = writ(&["audit", "list", "--task", &task])
        .into_iter()
        .map(|record| record["kind"].clone())
        .collect();
    assert_eq!(kinds, [json!("task"), json!("mint")]);
    let other = uuid::Uuid::now_v7().to_string();
    assert!(writ(&["audit", "list", "--task", &other]).is_empty());

    let closed = writ(&["task", "close", &task]);
    assert_eq!(closed[0]["state"], "closed");
    assert!(denied(&service, &form).await.contains("closed"));
}
