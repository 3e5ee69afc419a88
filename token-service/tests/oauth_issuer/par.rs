use serde_json::Value;

use crate::{
    browser::{Browser, Request, VERIFIER},
    issuer::{CONFIDENTIAL, Issuer, PUBLIC, SECRET, WEB_REDIRECT, agent},
};
use writ_token_service::registry::{Agent, AuthMethod};

async fn push(issuer: &Issuer, request: &Request, more: &[(&str, &str)]) -> (u16, Value) {
    let query = request.query();
    let mut form: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    form.extend(more.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
    let post = reqwest::Client::new().post(format!("{}/oauth/par", issuer.url));
    let response = post.form(&form).send().await.unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store");
    (response.status().as_u16(), response.json().await.unwrap())
}

fn pushed(client: &str, answer: &Value) -> Request {
    let all = [
        "response_type",
        "redirect_uri",
        "resource",
        "scope",
        "state",
    ];
    let all = all
        .into_iter()
        .chain(["code_challenge", "code_challenge_method"]);
    all.fold(Request::new(), |request, name| request.without(name))
        .with("client_id", client)
        .with("request_uri", answer["request_uri"].as_str().unwrap())
}

#[tokio::test]
async fn a_pushed_request_is_answered_once() {
    let issuer = Issuer::start().await;
    let (status, answer) = push(&issuer, &Request::new(), &[]).await;
    assert_eq!((status, answer["expires_in"].as_u64()), (201, Some(60)));
    // What the browser adds does not count.
    let request = pushed(PUBLIC, &answer).with("scope", "transfers:write");
    let (one, two) = (Browser::new(&issuer), Browser::new(&issuer));
    let query = request.query();
    let page = one.consent_page(&query).await;
    assert!(page.html.contains("accounts:read"));
    assert!(!page.html.contains("transfers:write"));
    // Whoever is at the page may take longer than the client had to send them.
    issuer.pass(600);
    let other = two.consent_page(&query).await;
    let sent = one.press(&query, &page, "approve").await;
    assert!(sent.param("code").is_some(), "{sent:?}");
    assert_eq!(sent.param("state").as_deref(), Some("st&te=1"));
    let late = two.press(&query, &other, "approve").await;
    assert_eq!((late.status, late.location), (400, None));
    assert_eq!(one.get(&query).await.status, 400);
}

#[tokio::test]
async fn an_error_answers_a_pushed_request_too() {
    let issuer = Issuer::start().await;
    let silent = Request::new().with("prompt", "none");
    let (_, answer) = push(&issuer, &silent, &[]).await;
    let query = pushed(PUBLIC, &answer).query();
    let browser = Browser::new(&issuer);
    let told = browser.get(&query).await;
    assert_eq!(told.param("error").as_deref(), Some("login_required"));
    assert_eq!(browser.get(&query).await.status, 400);
}

#[tokio::test]
async fn a_reference_is_good_for_a_minute_and_for_its_client() {
    let issuer = Issuer::start().await;
    let browser = Browser::new(&issuer);
    let (_, answer) = push(&issuer, &Request::new(), &[]).await;
    let stolen = browser.get(&pushed(CONFIDENTIAL, &answer).query()).await;
    assert_eq!((stolen.status, stolen.location), (400, None));
    issuer.pass(61);
    let late = browser.get(&pushed(PUBLIC, &answer).query()).await;
    assert_eq!((late.status, late.location), (400, None));
}

#[tokio::test]
async fn a_client_is_told_directly_what_is_wrong() {
    let issuer = Issuer::start().await;
    let ask = Request::new;
    for (request, more, status, error) in [
        (
            ask().with("redirect_uri", "https://evil.test/"),
            vec![],
            400,
            "invalid_request",
        ),
        (
            ask().without("code_challenge"),
            vec![],
            400,
            "invalid_request",
        ),
        (ask().with("scope", "admin"), vec![], 400, "invalid_scope"),
        (
            ask().with("resource", "https://x.test/"),
            vec![],
            400,
            "invalid_target",
        ),
        (
            ask(),
            vec![("request_uri", "urn:x")],
            400,
            "invalid_request",
        ),
        (
            ask().with("client_id", "nobody"),
            vec![],
            401,
            "invalid_client",
        ),
        (
            ask()
                .with("client_id", CONFIDENTIAL)
                .with("redirect_uri", WEB_REDIRECT),
            vec![],
            401,
            "invalid_client",
        ),
    ] {
        let answer = push(&issuer, &request, &more).await;
        assert_eq!(
            (answer.0, answer.1["error"].as_str()),
            (status, Some(error))
        );
    }
}

#[tokio::test]
async fn a_client_that_only_pushes_is_held_to_it() {
    let issuer = Issuer::start().await;
    let mut pushing: Agent = agent("pushing", AuthMethod::Secret, &[WEB_REDIRECT]);
    pushing.metadata.require_pushed_authorization_requests = true;
    pushing.metadata.secret_in_body = true;
    let store = &issuer.running.app.store;
    store
        .add_agent(&pushing, jiff::Timestamp::now())
        .await
        .unwrap();
    let request = Request::new()
        .with("client_id", "pushing")
        .with("redirect_uri", WEB_REDIRECT);
    let browser = Browser::new(&issuer);
    let told = browser.get(&request.query()).await;
    assert_eq!(told.param("error").as_deref(), Some("invalid_request"));
    let (status, answer) = push(&issuer, &request, &[("client_secret", SECRET)]).await;
    assert_eq!(status, 201, "{answer}");
    let code = browser.code(&pushed("pushing", &answer)).await;
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", "pushing"),
        ("client_secret", SECRET),
        ("code", &code),
        ("code_verifier", VERIFIER),
    ];
    assert_eq!(issuer.token(&form).await.0, 200);
    let rows: Vec<String> = sqlx::query_scalar("SELECT parameters FROM pushed_requests")
        .fetch_all(&mut *store.read().await.unwrap())
        .await
        .unwrap();
    assert!(!rows.concat().contains("client_secret"));
}
