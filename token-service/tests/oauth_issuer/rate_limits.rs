use serde_json::Value;

use crate::issuer::{CONFIDENTIAL, Issuer, PUBLIC, RESOURCE, SECRET};

const FEW: &str =
    "[rate_limits]\nper_address = \"3/1m\"\n[public]\ntrusted_proxies = [\"127.0.0.0/8\"]\n";

async fn asked(issuer: &Issuer, from: &str) -> reqwest::Response {
    reqwest::Client::new()
        .post(format!("{}/oauth/token", issuer.url))
        .header("x-forwarded-for", from)
        .form(&[("grant_type", "client_credentials")])
        .send()
        .await
        .unwrap()
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back_and_others_are_answered() {
    let issuer = Issuer::start_from(FEW, &[]).await;
    for _ in 0..3 {
        assert_eq!(asked(&issuer, "192.0.2.1").await.status(), 401);
    }
    let refused = asked(&issuer, "192.0.2.1").await;
    assert_eq!(refused.status(), 429);
    let wait: u64 = refused.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=21).contains(&wait), "{wait}");
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["error"], "temporarily_unavailable");
    assert_eq!(asked(&issuer, "192.0.2.2").await.status(), 401);

    issuer.pass(i64::try_from(wait).unwrap());
    assert_eq!(asked(&issuer, "192.0.2.1").await.status(), 401);
}

#[tokio::test]
async fn health_and_servers_that_prove_themselves_are_not_counted() {
    let issuer = Issuer::start_from(FEW, &[]).await;
    let http = reqwest::Client::new();
    for _ in 0..10 {
        let ready = http.get(format!("{}/readyz", issuer.url)).send().await;
        assert_eq!(ready.unwrap().status(), 200);
        let told = http
            .post(format!("{}/oauth/introspect", issuer.url))
            .basic_auth("ledger", Some("server"))
            .form(&[("token", "x")])
            .send()
            .await;
        assert_eq!(told.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_client_has_its_share_and_nobody_else_can_use_it_up() {
    let issuer = Issuer::start_from("[rate_limits]\nper_client = \"3/1m\"\n", &[]).await;
    let own = [("grant_type", "client_credentials"), ("resource", RESOURCE)];
    let stolen = [("grant_type", "client_credentials"), ("client_id", PUBLIC)];
    for _ in 0..3 {
        let wrong = issuer
            .token_with(Some((CONFIDENTIAL, "guessed")), &own)
            .await;
        assert_eq!(wrong.0, 401);
        let right = issuer.token_with(Some((CONFIDENTIAL, SECRET)), &own).await;
        assert_eq!(right.0, 200);
        assert_eq!(issuer.token(&stolen).await.0, 400);
    }
    let (status, answer) = issuer.token_with(Some((CONFIDENTIAL, SECRET)), &own).await;
    assert_eq!(
        (status, answer["error"].as_str()),
        (429, Some("temporarily_unavailable"))
    );
    assert_eq!(
        issuer.token(&stolen).await.0,
        400,
        "a public client's id is no secret"
    );
}
