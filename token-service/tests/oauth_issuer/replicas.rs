//! What is good once is good once at two services on one database, and what may be done so often may be so at both together.

use serde_json::{Value, json};
use writ_token_service::serve::Running;

use crate::{
    browser::{Browser, REDIRECT, Request, VERIFIER},
    issuer::{CONFIDENTIAL, Issuer, LASTING, PASSWORD, RESOURCE, ROBOT, SECRET, USER, encoded},
};

type Form<'a> = Vec<(&'a str, String)>;

/// The statuses that the two services answer the same form with at once.
async fn at_both(issuer: &Issuer, other: &Running, form: &Form<'_>) -> [u16; 2] {
    let ask = |at: String| async move {
        let request = reqwest::Client::new().post(format!("{at}/oauth/token"));
        let response = request.form(form).send().await.unwrap();
        response.status().as_u16()
    };
    let there = format!("http://{}", other.public);
    let (one, two) = tokio::join!(ask(issuer.url.clone()), ask(there));
    let mut told = [one, two];
    told.sort_unstable();
    told
}

fn of_code(code: String) -> Form<'static> {
    vec![
        ("grant_type", "authorization_code".to_owned()),
        ("client_id", LASTING.to_owned()),
        ("code", code),
        ("redirect_uri", REDIRECT.to_owned()),
        ("code_verifier", VERIFIER.to_owned()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_a_refresh_token_and_an_assertion_are_each_good_once() {
    let issuer = Issuer::start().await;
    let other = issuer.beside().await;
    let request = Request::new().with("client_id", LASTING);
    for _ in 0..5 {
        let code = Browser::new(&issuer).code(&request).await;
        let told = at_both(&issuer, &other, &of_code(code)).await;
        assert_eq!(told, [200, 400], "a code");

        let code = Browser::new(&issuer).code(&request).await;
        let response = reqwest::Client::new()
            .post(format!("http://{}/oauth/token", other.public))
            .form(&of_code(code));
        let granted: Value = response.send().await.unwrap().json().await.unwrap();
        let refresh = vec![
            ("grant_type", "refresh_token".to_owned()),
            ("client_id", LASTING.to_owned()),
            (
                "refresh_token",
                granted["refresh_token"].as_str().unwrap().to_owned(),
            ),
        ];
        let told = at_both(&issuer, &other, &refresh).await;
        assert_eq!(told, [200, 400], "a refresh token");

        let assertion = vec![
            ("grant_type", "client_credentials".to_owned()),
            ("client_id", ROBOT.to_owned()),
            (
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned(),
            ),
            ("client_assertion", issuer.assertion(&json!({}))),
            ("resource", RESOURCE.to_owned()),
        ];
        let told = at_both(&issuer, &other, &assertion).await;
        assert_eq!(told[0], 200, "an assertion");
        assert!([400, 401].contains(&told[1]), "{told:?}");
    }
    other.stop().await;
}

/// How a service answers one who asks from an address, as this client if it is one.
async fn asked(at: &str, from: &str, client: Option<(&str, &str)>) -> (u16, Option<u64>) {
    let mut request = reqwest::Client::new()
        .post(format!("{at}/oauth/token"))
        .header("x-forwarded-for", from)
        .form(&[("grant_type", "client_credentials"), ("resource", RESOURCE)]);
    if let Some((id, secret)) = client {
        request = request.basic_auth(encoded(id), Some(encoded(secret)));
    }
    let response = request.send().await.unwrap();
    let wait = response.headers().get("retry-after");
    let wait = wait.map(|seconds| seconds.to_str().unwrap().parse().unwrap());
    (response.status().as_u16(), wait)
}

/// Two services with a limit, which believe who they are asked by, and where the second is.
async fn two_with(limit: &str) -> (Issuer, Running, String) {
    let configuration =
        format!("[public]\ntrusted_proxies = [\"127.0.0.0/8\"]\n[rate_limits]\n{limit}\n");
    let issuer = Issuer::start_from(&configuration, &[]).await;
    let other = issuer.beside().await;
    let there = format!("http://{}", other.public);
    (issuer, other, there)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_one_share_wherever_it_asks() {
    let (issuer, other, there) = two_with("per_address = \"6/1h\"").await;

    let all_at_once = (0..40).map(|n| {
        let at = [&issuer.url, &there][n % 2].clone();
        tokio::spawn(async move { asked(&at, "192.0.2.1", None).await.0 })
    });
    let mut told = Vec::new();
    for answer in all_at_once.collect::<Vec<_>>() {
        told.push(answer.await.unwrap());
    }
    let answered = told.iter().filter(|status| **status == 401).count();
    assert_eq!(answered, 6, "{told:?}");
    assert!(told.iter().all(|status| [401, 429].contains(status)));

    for at in [&issuer.url, &there] {
        let (status, wait) = asked(at, "192.0.2.1", None).await;
        assert_eq!(status, 429);
        assert!(
            wait.is_some_and(|wait| (500..=600).contains(&wait)),
            "{wait:?}"
        );
        assert_eq!(asked(at, "192.0.2.2", None).await.0, 401);
    }
    issuer.pass(600);
    assert_eq!(asked(&there, "192.0.2.1", None).await.0, 401);
    assert_eq!(asked(&issuer.url, "192.0.2.1", None).await.0, 429);
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_one_share_wherever_it_asks() {
    let (issuer, other, there) = two_with("per_client = \"4/1h\"").await;
    let client = Some((CONFIDENTIAL, SECRET));
    for at in [&issuer.url, &there, &there, &issuer.url] {
        assert_eq!(asked(at, "192.0.2.1", client).await.0, 200);
    }
    for at in [&issuer.url, &there] {
        let (status, wait) = asked(at, "192.0.2.9", client).await;
        assert_eq!(status, 429);
        assert!(
            wait.is_some_and(|wait| (800..=900).contains(&wait)),
            "{wait:?}"
        );
    }
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_guessed_no_faster_at_two_services() {
    let issuer = Issuer::start().await;
    let other = issuer.beside().await;
    let there = format!("http://{}", other.public);
    let both = [Browser::at(&issuer.url), Browser::at(&there)];
    let query = Request::new().query();
    for n in 0..10 {
        let wrong = both[n % 2].sign_in_as(&query, USER, "wrong").await;
        assert_eq!(wrong.status, 200);
    }
    for browser in &both {
        let right = browser.sign_in_as(&query, USER, PASSWORD).await;
        assert_eq!(right.status, 429);
        assert!(
            right.html.contains("Wait 1 minute, then try again."),
            "{}",
            right.html
        );
    }
    issuer.pass(60);
    assert_eq!(both[1].sign_in_as(&query, USER, PASSWORD).await.status, 303);
    other.stop().await;
}
