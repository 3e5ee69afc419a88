//! Clients that register themselves (RFC 7591) and manage their registration (RFC 7592).

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use writ_token_service::{
    audit::{Kind, Record, Verdict},
    clock::rfc3339,
    registry::Status,
    secret::{self, SecretHash},
    store::{
        initial_tokens::{self, InitialToken},
        registrations::Registered,
    },
};

use crate::{
    browser::{Browser, Request},
    issuer::{Issuer, RESOURCE},
};

pub(crate) const OPEN: &str = "[registration]\nopen = true\n";

/// What MCP clients send.
pub(crate) fn a_client(changes: &Value) -> Value {
    let mut metadata = json!({
        "client_name": "Notebook",
        "redirect_uris": ["http://127.0.0.1/callback"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    });
    let members = metadata.as_object_mut().unwrap();
    members.extend(changes.as_object().unwrap().clone());
    members.retain(|_, value| !value.is_null());
    metadata
}

impl Issuer {
    /// Sends JSON to a registration endpoint: status and answer.
    pub(crate) async fn registration(
        &self,
        method: Method,
        url: &str,
        token: Option<&str>,
        body: &str,
    ) -> (u16, Value) {
        let mut request = Client::new()
            .request(method, url)
            .header("content-type", "application/json")
            .body(body.to_owned());
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["cache-control"], "no-store");
        let status = response.status().as_u16();
        if status == 401 {
            let challenge = response.headers()["www-authenticate"].to_str().unwrap();
            assert!(challenge.starts_with("Bearer "), "{challenge}");
        }
        (status, response.json().await.unwrap_or_default())
    }

    pub(crate) async fn register_client(
        &self,
        token: Option<&str>,
        metadata: &Value,
    ) -> (u16, Value) {
        let url = format!("{}/oauth/register", self.url);
        self.registration(Method::POST, &url, token, &metadata.to_string())
            .await
    }

    /// An initial access token, good for a day.
    pub(crate) async fn initial_token(&self, count: u32, labels: &[(&str, &str)]) -> String {
        let text = secret::generate();
        let token = InitialToken {
            id: "it".to_owned() + &text,
            owner: "platform team".to_owned(),
            labels: labels
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            count,
            used: 0,
            expires_at: rfc3339(Timestamp::now() + SignedDuration::from_hours(24)),
        };
        let mut tx = self.running.app.store.write().await.unwrap();
        initial_tokens::add(tx.conn(), &token, &SecretHash::of(&text), Timestamp::now())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        text.to_string()
    }

    /// The records of registrations, the newest first.
    pub(crate) async fn registration_records(&self) -> Vec<Record> {
        let records = self.records().await;
        let mut own: Vec<_> = records
            .into_iter()
            .filter(|record| record.kind == Kind::Registration)
            .collect();
        own.sort_by(|one, other| other.id.cmp(&one.id));
        own
    }
}

pub(crate) fn text<'a>(answer: &'a Value, member: &str) -> &'a str {
    answer[member]
        .as_str()
        .unwrap_or_else(|| panic!("no {member}: {answer}"))
}

#[tokio::test]
async fn a_client_that_registers_itself_gets_a_user_to_a_token() {
    let issuer = Issuer::start_from(OPEN, &[]).await;
    let (status, client) = issuer.register_client(None, &a_client(&json!({}))).await;
    assert_eq!(status, 201, "{client}");
    assert_eq!(client["registration_status"], "approved");
    assert_eq!(client["application_type"], "native");
    assert!(client["client_id_issued_at"].is_u64());
    assert!(client.get("client_secret").is_none());

    let id = text(&client, "client_id");
    let browser = Browser::new(&issuer);
    let code = browser.code(&Request::new().with("client_id", id)).await;
    let (status, answer) = crate::browser::redeem(&issuer, &code, &[("client_id", id)]).await;
    assert_eq!(status, 200, "{answer}");
    let claims = issuer.claims(text(&answer, "access_token")).await;
    assert_eq!(claims["client_id"], id);
    assert_eq!(claims["sub"], "alice");

    let record = &issuer.registration_records().await[0];
    assert_eq!(record.method.as_deref(), Some("client register"));
    assert_eq!(record.target.as_deref(), Some(id));
    assert_eq!(record.decision, Some(Verdict::Allow));
}

#[tokio::test]
async fn nobody_registers_without_a_token_unless_registration_is_open() {
    let issuer = Issuer::start().await;
    let (status, answer) = issuer.register_client(None, &a_client(&json!({}))).await;
    assert_eq!((status, text(&answer, "error")), (401, "invalid_token"));
    let (status, _) = issuer
        .register_client(Some("made-up"), &a_client(&json!({})))
        .await;
    assert_eq!(status, 401);
    assert!(issuer.registration_records().await.is_empty());
}

#[tokio::test]
async fn an_initial_access_token_is_good_as_often_and_as_long_as_it_says() {
    let issuer = Issuer::start().await;
    let token = issuer.initial_token(2, &[("team", "finance")]).await;
    let (status, client) = issuer
        .register_client(Some(&token), &a_client(&json!({})))
        .await;
    assert_eq!(status, 201, "{client}");
    let registry = issuer.running.app.current_registry().await.unwrap();
    let agent = registry.agent(text(&client, "client_id")).unwrap();
    assert_eq!(agent.labels["team"], "finance");

    let wrong = a_client(&json!({"redirect_uris": []}));
    assert_eq!(issuer.register_client(Some(&token), &wrong).await.0, 400);
    let metadata = a_client(&json!({}));
    let (one, two) = tokio::join!(
        issuer.register_client(Some(&token), &metadata),
        issuer.register_client(Some(&token), &metadata)
    );
    assert_eq!(one.0 + two.0, 201 + 401, "what was refused did not count");

    let other = issuer.initial_token(1, &[]).await;
    issuer.pass(25 * 3600);
    assert_eq!(issuer.register_client(Some(&other), &metadata).await.0, 401);
}

#[tokio::test]
async fn secrets_are_shown_once_and_used_as_registered() {
    let issuer = Issuer::start().await;
    let token = issuer.initial_token(4, &[("vouched", "true")]).await;
    for (method, basic) in [("client_secret_basic", true), ("client_secret_post", false)] {
        let metadata = a_client(&json!({
            "grant_types": ["client_credentials"], "response_types": null, "redirect_uris": null,
            "token_endpoint_auth_method": method,
        }));
        let (status, client) = issuer.register_client(Some(&token), &metadata).await;
        assert_eq!(status, 201, "{client}");
        assert_eq!(client["client_secret_expires_at"], 0);
        let (id, secret) = (text(&client, "client_id"), text(&client, "client_secret"));
        let form = BTreeMap::from([("grant_type", "client_credentials"), ("resource", RESOURCE)]);
        let mut in_body = form.clone();
        in_body.extend([("client_id", id), ("client_secret", secret)]);
        let form: Vec<_> = form.into_iter().collect();
        let in_body: Vec<_> = in_body.into_iter().collect();
        let by_header = issuer.token_with(Some((id, secret)), &form).await.0;
        let by_body = issuer.token(&in_body).await.0;
        assert_eq!(
            (by_header, by_body),
            if basic { (200, 401) } else { (401, 200) }
        );

        let uri = text(&client, "registration_client_uri");
        let own = text(&client, "registration_access_token");
        let (status, again) = issuer.registration(Method::GET, uri, Some(own), "").await;
        assert_eq!(status, 200);
        assert_eq!(again["token_endpoint_auth_method"], method);
        assert!(
            again.get("client_secret").is_none()
                && again.get("registration_access_token").is_none()
        );
    }
    let default = a_client(&json!({"token_endpoint_auth_method": null}));
    let (_, client) = issuer.register_client(Some(&token), &default).await;
    assert_eq!(client["token_endpoint_auth_method"], "client_secret_basic");
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_the_code_of_rfc_7591() {
    let issuer = Issuer::start_from(OPEN, &[]).await;
    for (changes, error) in [
        (
            json!({"redirect_uris": ["http://evil.test/cb"]}),
            "invalid_redirect_uri",
        ),
        (
            json!({"redirect_uris": ["https://a.test/cb#x"]}),
            "invalid_redirect_uri",
        ),
        (
            json!({"redirect_uris": ["javascript:alert(1)"]}),
            "invalid_redirect_uri",
        ),
        (json!({"redirect_uris": null}), "invalid_redirect_uri"),
        (json!({"application_type": "web"}), "invalid_redirect_uri"),
        (
            json!({"software_statement": "e30.e30."}),
            "unapproved_software_statement",
        ),
        (
            json!({"grant_types": ["implicit"]}),
            "invalid_client_metadata",
        ),
        (
            json!({"client_uri": "http://a.test"}),
            "invalid_client_metadata",
        ),
    ] {
        let (status, answer) = issuer.register_client(None, &a_client(&changes)).await;
        assert_eq!(
            (status, text(&answer, "error")),
            (400, error),
            "{changes}: {answer}"
        );
    }
    let url = format!("{}/oauth/register", issuer.url);
    for body in [
        "[]",
        "{",
        r#"{"client_name":"a","client_name":"b"}"#,
        &"x".repeat(17 * 1024),
    ] {
        let (status, answer) = issuer.registration(Method::POST, &url, None, body).await;
        assert_eq!(
            (status, text(&answer, "error")),
            (400, "invalid_client_metadata")
        );
    }
    let form = Client::new()
        .post(&url)
        .form(&[("client_name", "a")])
        .send()
        .await
        .unwrap();
    assert_eq!(form.status(), 400);
    assert!(issuer.registration_records().await.is_empty());
}

#[tokio::test]
async fn what_the_policy_holds_waits_for_a_person() {
    let issuer = Issuer::start_from(OPEN, &[]).await;
    let metadata = a_client(&json!({"redirect_uris": ["https://unknown.test/cb"]}));
    let (status, client) = issuer.register_client(None, &metadata).await;
    assert_eq!(
        (status, text(&client, "registration_status")),
        (201, "pending")
    );
    assert!(text(&client, "registration_reason").contains("unknown.test"));

    let id = text(&client, "client_id");
    let query = Request::new()
        .with("client_id", id)
        .with("redirect_uri", "https://unknown.test/cb")
        .query();
    let page = Browser::new(&issuer).get(&query).await;
    assert_eq!(page.status, 400);
    assert!(
        page.html.contains("waits for an administrator"),
        "{}",
        page.html
    );

    let store = &issuer.running.app.store;
    let now = Timestamp::now();
    store
        .decide(Registered::Agent, id, Verdict::Allow, now)
        .await
        .unwrap();
    assert_eq!(Browser::new(&issuer).get(&query).await.status, 200);
    assert!(
        store
            .decide(Registered::Agent, id, Verdict::Deny, now)
            .await
            .is_err()
    );
    let approvals = issuer.records().await;
    assert!(
        approvals
            .iter()
            .any(|r| r.method.as_deref() == Some("agent approve"))
    );
}

#[tokio::test]
async fn where_people_are_sent_after_signing_out_is_judged_too() {
    let issuer = Issuer::start_from(OPEN, &[]).await;
    let metadata = a_client(&json!({"post_logout_redirect_uris": ["https://unknown.test/bye"]}));
    let (_, client) = issuer.register_client(None, &metadata).await;
    assert_eq!(text(&client, "registration_status"), "pending");
    assert!(text(&client, "registration_reason").contains("https://unknown.test/bye"));
    let asked = format!(
        "{}/oauth/logout?client_id={}&post_logout_redirect_uri=https%3A%2F%2Funknown.test%2Fbye",
        issuer.url,
        text(&client, "client_id")
    );
    let page = Browser::new(&issuer).go(&asked).await;
    assert_eq!((page.status, page.location), (400, None));
}

#[tokio::test]
async fn who_was_rejected_by_a_person_cannot_change_that() {
    let issuer = Issuer::start_from(OPEN, &[]).await;
    let metadata = a_client(&json!({"redirect_uris": ["https://unknown.test/cb"]}));
    let (_, client) = issuer.register_client(None, &metadata).await;
    let id = text(&client, "client_id");
    let store = &issuer.running.app.store;
    store
        .decide(Registered::Agent, id, Verdict::Deny, Timestamp::now())
        .await
        .unwrap();
    let harmless = a_client(&json!({"client_id": id}));
    let (uri, own) = (
        text(&client, "registration_client_uri"),
        text(&client, "registration_access_token"),
    );
    let (status, _) = issuer
        .registration(Method::PUT, uri, Some(own), &harmless.to_string())
        .await;
    assert_eq!(status, 403);
    let registry = issuer.running.app.current_registry().await.unwrap();
    assert_eq!(registry.agent(id).unwrap().status, Status::Disabled);
}

#[tokio::test]
async fn an_update_is_judged_whole_as_if_it_were_new() {
    let issuer = Issuer::start_from(OPEN, &[]).await;
    let (_, client) = issuer.register_client(None, &a_client(&json!({}))).await;
    assert_eq!(client["registration_status"], "approved");
    let id = text(&client, "client_id");
    let uri = text(&client, "registration_client_uri");
    let first = text(&client, "registration_access_token");

    // What was harmless when it was registered says nothing about what it is now, and what is left out is gone.
    let update = json!({"client_id": id, "client_name": "Notebook", "redirect_uris": ["https://evil.test/cb"], "token_endpoint_auth_method": "none"});
    let (status, updated) = issuer
        .registration(Method::PUT, uri, Some(first), &update.to_string())
        .await;
    assert_eq!(
        (status, text(&updated, "registration_status")),
        (200, "pending"),
        "{updated}"
    );
    assert_eq!(updated["redirect_uris"], json!(["https://evil.test/cb"]));
    assert_eq!(updated["application_type"], "web");

    let second = text(&updated, "registration_access_token");
    assert_eq!(
        issuer
            .registration(Method::GET, uri, Some(first), "")
            .await
            .0,
        401,
        "the token is another one now"
    );
    assert_eq!(
        issuer
            .registration(Method::GET, uri, Some(second), "")
            .await
            .0,
        200
    );
    let revision = issuer
        .running
        .app
        .current_registry()
        .await
        .unwrap()
        .revision();
    let (status, _) = issuer
        .registration(Method::DELETE, uri, Some(second), "")
        .await;
    assert_eq!(status, 204);
    let registry = issuer.running.app.current_registry().await.unwrap();
    assert!(registry.agent(id).is_none() && registry.revision() > revision);
    assert_eq!(
        issuer
            .registration(Method::GET, uri, Some(second), "")
            .await
            .0,
        401
    );
    let commands: Vec<_> = issuer
        .registration_records()
        .await
        .into_iter()
        .filter_map(|r| r.method)
        .collect();
    assert_eq!(
        commands,
        ["client delete", "client update", "client register"]
    );
}

#[tokio::test]
async fn an_update_chooses_neither_tokens_nor_secrets_nor_other_clients() {
    let issuer = Issuer::start_from(OPEN, &[]).await;
    let (_, client) = issuer.register_client(None, &a_client(&json!({}))).await;
    let (_, other) = issuer.register_client(None, &a_client(&json!({}))).await;
    let uri = text(&client, "registration_client_uri");
    let own = text(&client, "registration_access_token");
    let id = text(&client, "client_id");
    for changes in [
        json!({}),
        json!({"client_id": other["client_id"]}),
        json!({"client_id": id, "client_secret": "mine"}),
        json!({"client_id": id, "registration_access_token": own}),
        json!({"client_id": id, "client_id_issued_at": 1}),
    ] {
        let body = a_client(&changes).to_string();
        let (status, answer) = issuer
            .registration(Method::PUT, uri, Some(own), &body)
            .await;
        assert_eq!(
            (status, text(&answer, "error")),
            (400, "invalid_client_metadata"),
            "{changes}"
        );
    }
    let others = text(&other, "registration_client_uri");
    for (uri, token) in [(others, Some(own)), (uri, None), (uri, Some("made-up"))] {
        assert_eq!(
            issuer.registration(Method::GET, uri, token, "").await.0,
            401
        );
    }
    let admins = format!("{}/oauth/register/assistant", issuer.url);
    assert_eq!(
        issuer
            .registration(Method::GET, &admins, Some(own), "")
            .await
            .0,
        401
    );
}

const STRICT: &str = r#"package writ
call := {"allow": false}
registration := {"decision": "reject", "reason": "not without a contact"} if {
	count(input.client.contacts) == 0
} else := {"decision": "reject", "reason": "no secrets"} if {
	input.client.token_endpoint_auth_method != "none"
} else := {"decision": "approve", "labels": {"tier": "low"}}
"#;

async fn with_policy(rego: &str) -> (Issuer, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("main.rego"), rego).unwrap();
    let toml = format!("{OPEN}\n[policy]\ndir = {:?}\n", dir.path());
    (Issuer::start_from(&toml, &[]).await, dir)
}

#[tokio::test]
async fn a_member_that_is_left_out_does_not_skip_a_rule_about_it() {
    let (issuer, _dir) = with_policy(STRICT).await;
    let (status, answer) = issuer.register_client(None, &a_client(&json!({}))).await;
    assert_eq!((status, text(&answer, "error")), (403, "access_denied"));
    assert_eq!(answer["error_description"], "not without a contact");
    let contact = json!({"contacts": ["ops@app.test"]});
    let (status, client) = issuer.register_client(None, &a_client(&contact)).await;
    assert_eq!(status, 201, "{client}");
    let id = text(&client, "client_id");
    let registry = issuer.running.app.current_registry().await.unwrap();
    assert_eq!(registry.agent(id).unwrap().labels["tier"], "low");

    // The method is left out, so that it becomes the default: a rule about it applies.
    let update = a_client(
        &json!({"client_id": id, "contacts": ["ops@app.test"], "token_endpoint_auth_method": null}),
    );
    let uri = text(&client, "registration_client_uri");
    let own = text(&client, "registration_access_token");
    let (status, answer) = issuer
        .registration(Method::PUT, uri, Some(own), &update.to_string())
        .await;
    assert_eq!(
        (status, answer["error_description"].as_str()),
        (403, Some("no secrets"))
    );
    let (status, still) = issuer.registration(Method::GET, uri, Some(own), "").await;
    assert_eq!(
        (status, text(&still, "token_endpoint_auth_method")),
        (200, "none")
    );
    let rejected = issuer.registration_records().await;
    assert_eq!(rejected[0].decision, Some(Verdict::Deny));
    assert_eq!(rejected[0].method.as_deref(), Some("client update"));
}

#[tokio::test]
async fn a_policy_that_does_not_answer_rejects() {
    for rule in [
        "",
        "registration := true",
        "registration := {\"decision\": \"maybe\"}",
        "registration := {\"decision\": \"approve\", \"forever\": true}",
        "registration := {\"decision\": \"approve\"} if input.kind == \"server\"",
    ] {
        let rego = format!("package writ\ncall := {{\"allow\": false}}\n{rule}\n");
        let (issuer, _dir) = with_policy(&rego).await;
        let (status, answer) = issuer.register_client(None, &a_client(&json!({}))).await;
        assert_eq!(
            (status, text(&answer, "error")),
            (403, "access_denied"),
            "{rule}"
        );
    }
}

#[tokio::test]
async fn a_redirect_uri_is_not_a_prefix() {
    let issuer = Issuer::start_from(OPEN, &[]).await;
    let (_, client) = issuer.register_client(None, &a_client(&json!({}))).await;
    for near in [
        "http://127.0.0.1/callback/more",
        "http://127.0.0.1/callback?more=1",
        "http://127.0.0.1/call",
        "http://127.0.0.1.evil.test/callback",
        "http://127.0.0.1@evil.test/callback",
        "https://127.0.0.1/callback",
    ] {
        let query = Request::new()
            .with("client_id", text(&client, "client_id"))
            .with("redirect_uri", near)
            .query();
        let page = Browser::new(&issuer).get(&query).await;
        assert_eq!((page.status, page.location), (400, None), "{near}");
    }
}
