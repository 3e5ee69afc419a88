//! What is good once is good once at two services on one database.

use serde_json::{Value, json};
use writ_token_service::serve::Running;

use crate::{
    browser::{Browser, REDIRECT, Request, VERIFIER},
    issuer::{Issuer, LASTING, RESOURCE, ROBOT},
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
