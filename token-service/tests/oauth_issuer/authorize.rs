use reqwest::Method;
use serde_json::{Value, json};
use writ_token_service::{
    registry::{Id, Server},
    secret::SecretHash,
    store::registrations::Registered,
};

use crate::{
    browser::{Browser, REDIRECT, Request},
    issuer::{CONFIDENTIAL, Issuer, OTHER_RESOURCE, PUBLIC, RESOURCE, ROBOT, WEB_REDIRECT},
    registration::{OPEN, a_client, text},
};

#[tokio::test]
async fn until_client_and_redirect_uri_are_certain_nobody_is_sent_anywhere() {
    let issuer = Issuer::start().await;
    let browser = Browser::new(&issuer);
    let ask = Request::new;
    for (request, why) in [
        (ask().without("client_id"), "no client"),
        (ask().with("client_id", "nobody"), "unknown client"),
        (ask().without("redirect_uri"), "no redirect URI"),
        (
            ask().with("redirect_uri", "https://evil.test/"),
            "another host",
        ),
        (
            ask().with("redirect_uri", "http://127.0.0.1:1/callback/../evil"),
            "a prefix",
        ),
        (
            ask().with("redirect_uri", "http://127.0.0.1:1/callback/evil"),
            "a longer path",
        ),
        (
            ask().with("redirect_uri", "http://127.0.0.1:1@evil.test/callback"),
            "user info",
        ),
        (
            ask().with("client_id", CONFIDENTIAL),
            "another client's redirect URI",
        ),
        (
            ask()
                .with("client_id", CONFIDENTIAL)
                .with("redirect_uri", &format!("{WEB_REDIRECT}&x=1")),
            "a longer query",
        ),
        (ask().with("state", &"x".repeat(1025)), "an endless state"),
    ] {
        let answer = browser.get(&request.query()).await;
        assert_eq!((answer.status, answer.location), (400, None), "{why}");
        assert!(answer.html.contains("cannot be answered"), "{why}");
    }
    let twice = format!("{}&client_id={PUBLIC}", ask().query());
    let answer = browser.get(&twice).await;
    assert_eq!((answer.status, answer.location.is_some()), (400, false));
    assert!(answer.html.contains("client_id is given more than once"));
}

#[tokio::test]
async fn the_client_is_told_what_is_wrong_with_the_rest_and_by_whom() {
    let issuer = Issuer::start().await;
    let browser = Browser::new(&issuer);
    let ask = Request::new;
    let plain = "a-verifier-of-more-than-forty-three-characters-0123456789";
    for (request, error) in [
        (ask().without("response_type"), "invalid_request"),
        (
            ask().with("response_type", "token"),
            "unsupported_response_type",
        ),
        (
            ask().with("response_type", "code id_token"),
            "unsupported_response_type",
        ),
        (ask().with("response_mode", "fragment"), "invalid_request"),
        (ask().with("request", "eyJ"), "request_not_supported"),
        (
            ask().with("request_uri", "https://evil.test/r"),
            "request_uri_not_supported",
        ),
        (ask().without("code_challenge"), "invalid_request"),
        (ask().without("code_challenge_method"), "invalid_request"),
        (
            ask()
                .with("code_challenge_method", "plain")
                .with("code_challenge", plain),
            "invalid_request",
        ),
        (ask().without("resource"), "invalid_target"),
        (
            ask().with("resource", "https://unknown.test/mcp"),
            "invalid_target",
        ),
        (
            ask().with("resource", "https://ledger.test/mcp/"),
            "invalid_target",
        ),
        (
            ask().with("resource", "https://ledger.test/MCP"),
            "invalid_target",
        ),
        (ask().with("scope", "accounts:read admin"), "invalid_scope"),
        (ask().with("resource", OTHER_RESOURCE), "invalid_scope"),
    ] {
        let answer = browser.get(&request.query()).await;
        assert_eq!(answer.status, 303, "{error}");
        assert!(
            answer
                .location
                .as_ref()
                .unwrap()
                .as_str()
                .starts_with(REDIRECT)
        );
        assert_eq!(
            answer.param("error").as_deref(),
            Some(error),
            "{:?}",
            answer.location
        );
        assert!(answer.param("error_description").is_some());
        assert_eq!(
            answer.param("iss").as_deref(),
            Some(issuer.url.as_str()),
            "RFC 9207: on errors too"
        );
        assert_eq!(answer.param("state").as_deref(), Some("st&te=1"));
        assert_eq!(answer.param("code"), None);
    }
}

#[tokio::test]
async fn a_client_without_redirect_uris_cannot_ask_users_for_anything() {
    let issuer = Issuer::start().await;
    let answer = Browser::new(&issuer)
        .get(&Request::new().with("client_id", ROBOT).query())
        .await;
    assert_eq!((answer.status, answer.location), (400, None));
}

#[tokio::test]
async fn the_consent_page_says_who_asks_for_what_and_where_it_leads() {
    let issuer = Issuer::start().await;
    let browser = Browser::new(&issuer);
    let query = Request::new().query();
    let page = browser.consent_page(&query).await;
    for shown in [
        "<bdi>The &#60;b&#62;assistant",
        "127.0.0.1:49152",
        "https://ledger.test/mcp",
        "accounts:read",
        "alice",
        "your own computer",
    ] {
        assert!(page.html.contains(shown), "{shown}: {}", page.html);
    }
    assert!(
        !page.html.contains("<b>assistant"),
        "a client's name is text"
    );
    assert!(
        !page.html.contains("transfers:write"),
        "what is not asked for is not granted"
    );
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    for rule in [
        "default-src 'none'",
        "frame-ancestors 'none'",
        "form-action 'self' http://127.0.0.1:49152",
    ] {
        assert!(policy.contains(rule), "{rule}: {policy}");
    }
    assert_eq!(page.headers["cache-control"], "no-store");
    assert_eq!(page.headers["x-frame-options"], "DENY");
    assert!(!page.html.contains("<script"));
}

#[tokio::test]
async fn who_says_no_is_sent_back_without_a_code() {
    let issuer = Issuer::start().await;
    let browser = Browser::new(&issuer);
    let query = Request::new().query();
    let page = browser.consent_page(&query).await;
    let answer = browser.press(&query, &page, "deny").await;
    assert_eq!(answer.param("error").as_deref(), Some("access_denied"));
    assert_eq!(answer.param("iss").as_deref(), Some(issuer.url.as_str()));
    assert_eq!(answer.param("state").as_deref(), Some("st&te=1"));
    assert_eq!(answer.param("code"), None);
}

#[tokio::test]
async fn the_redirect_uris_own_query_is_kept() {
    let issuer = Issuer::start().await;
    let request = Request::new()
        .with("client_id", CONFIDENTIAL)
        .with("redirect_uri", WEB_REDIRECT);
    let browser = Browser::new(&issuer);
    let query = request.query();
    let page = browser.consent_page(&query).await;
    assert!(!page.html.contains("your own computer"));
    let answer = browser.press(&query, &page, "approve").await;
    assert!(
        answer
            .location
            .as_ref()
            .unwrap()
            .as_str()
            .starts_with(WEB_REDIRECT)
    );
    assert!(answer.param("code").is_some());
}

#[tokio::test]
async fn a_form_without_its_token_changes_nothing() {
    let issuer = Issuer::start().await;
    let browser = Browser::new(&issuer);
    let query = Request::new().query();
    let page = browser.consent_page(&query).await;
    let scope = page.field("scope");
    let other = Browser::new(&issuer).get(&query).await.field("csrf");
    for csrf in [None, Some(""), Some("x"), Some(other.as_str())] {
        let mut form = vec![("scope", scope.as_str()), ("action", "approve")];
        form.extend(csrf.map(|c| ("csrf", c)));
        let answer = browser.post(&query, &form).await;
        assert_eq!((answer.status, answer.location), (403, None), "{csrf:?}");
    }
    let stranger = Browser::new(&issuer);
    let csrf = page.field("csrf");
    let answer = stranger
        .post(
            &query,
            &[("csrf", &csrf), ("scope", &scope), ("action", "approve")],
        )
        .await;
    assert_eq!(
        answer.status, 403,
        "a form's token is worth nothing without the cookie"
    );
}

#[tokio::test]
async fn more_than_was_shown_is_not_granted() {
    let issuer = Issuer::start().await;
    let browser = Browser::new(&issuer);
    let query = Request::new().without("scope").query();
    let page = browser.consent_page(&query).await;
    assert_eq!(page.field("scope"), "accounts:read transfers:write");
    let csrf = page.field("csrf");
    let answer = browser
        .post(
            &query,
            &[
                ("csrf", &csrf),
                ("resource", RESOURCE),
                ("scope", "accounts:read"),
                ("action", "approve"),
            ],
        )
        .await;
    assert_eq!(answer.status, 303);
    assert_eq!(answer.param("code"), None, "the page is shown again");
    assert_eq!(answer.location.unwrap().path(), "/oauth/authorize");
}

/// The client of this answer puts `metadata` in the place of what it registered.
async fn register_anew(issuer: &Issuer, client: &Value, mut metadata: Value) {
    metadata["client_id"] = client["client_id"].clone();
    let (status, answer) = issuer
        .registration(
            Method::PUT,
            text(client, "registration_client_uri"),
            Some(text(client, "registration_access_token")),
            &metadata.to_string(),
        )
        .await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn a_client_that_may_go_on_without_the_user_since_has_them_asked_again() {
    let issuer = Issuer::start_from(OPEN, &[]).await;
    let with = |grants: &[&str]| {
        a_client(&json!({
            "token_endpoint_auth_method": "client_secret_basic", "grant_types": grants,
        }))
    };
    let (_, client) = issuer
        .register_client(None, &with(&["authorization_code"]))
        .await;
    let request = Request::new().with("client_id", text(&client, "client_id"));
    let browser = Browser::new(&issuer);
    browser.code(&request).await;
    let again = browser.get(&request.query()).await;
    assert!(again.param("code").is_some(), "nothing has changed");

    register_anew(
        &issuer,
        &client,
        with(&["authorization_code", "refresh_token"]),
    )
    .await;
    let page = browser.get(&request.query()).await;
    assert!(
        page.html.contains("while you are away"),
        "{page:?}: nobody has agreed to that"
    );
}

#[tokio::test]
async fn what_is_agreed_to_is_the_server_that_was_shown() {
    let issuer = Issuer::start_from(OPEN, &[]).await;
    let with_default = |resource: &str| a_client(&json!({ "default_resource": resource }));
    let (_, client) = issuer
        .register_client(None, &with_default(OTHER_RESOURCE))
        .await;
    let id = text(&client, "client_id");
    let browser = Browser::new(&issuer);
    let query = Request::new()
        .with("client_id", id)
        .without("scope")
        .without("resource")
        .query();
    let page = browser.consent_page(&query).await;
    assert_eq!(page.field("resource"), OTHER_RESOURCE);
    assert_eq!(page.field("scope"), "offline_access");

    let till = Server::new(
        Id::parse("till").unwrap(),
        "https://till.test/mcp".to_owned(),
        "urn:till".to_owned(),
        SecretHash::of("server"),
    );
    let store = &issuer.running.app.store;
    store
        .add_server(&till, jiff::Timestamp::now())
        .await
        .unwrap();
    register_anew(&issuer, &client, with_default("https://till.test/mcp")).await;
    let answer = browser.press(&query, &page, "approve").await;
    assert_eq!(answer.param("code"), None, "the page is shown again");
    let page = browser.get(&query).await;
    assert_eq!(page.field("resource"), "https://till.test/mcp");
    let answer = browser.press(&query, &page, "approve").await;
    assert!(answer.param("code").is_some());
}

#[tokio::test]
async fn what_is_switched_off_is_refused_at_once() {
    let issuer = Issuer::start().await;
    let browser = Browser::new(&issuer);
    let query = Request::new().query();
    let page = browser.consent_page(&query).await;
    issuer.disable(Registered::Server, "ledger").await;
    let answer = browser.press(&query, &page, "approve").await;
    assert_eq!(answer.param("error").as_deref(), Some("invalid_target"));
    issuer.disable(Registered::Agent, PUBLIC).await;
    let answer = browser.press(&query, &page, "approve").await;
    assert_eq!(
        (answer.status, answer.location),
        (400, None),
        "a disabled client gets no redirect either"
    );
}

#[tokio::test]
async fn a_user_who_is_switched_off_is_signed_out() {
    let issuer = Issuer::start().await;
    let browser = Browser::new(&issuer);
    let query = Request::new().query();
    let page = browser.consent_page(&query).await;
    issuer.disable_user().await;
    let answer = browser.press(&query, &page, "approve").await;
    assert_eq!(answer.param("code"), None);
    assert!(browser.get(&query).await.html.contains("Sign in"));
    let again = browser
        .sign_in_as(&query, crate::issuer::USER, crate::issuer::PASSWORD)
        .await;
    assert_eq!(again.status, 200);
    assert!(again.html.contains("User name or password is wrong."));
}
