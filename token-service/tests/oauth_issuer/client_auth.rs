use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::collections::BTreeSet;

use jiff::Timestamp;
use writ_token_service::{
    oauth::{assertion, password::PasswordHash},
    registry::AuthMethod,
    store::{StoreError, registrations::Registered, users},
};

use crate::issuer::{CONFIDENTIAL, Issuer, PASSWORD, PUBLIC, RESOURCE, ROBOT, SECRET, USER, agent};

async fn with_assertion(issuer: &Issuer, text: &str) -> (u16, Value) {
    issuer
        .token(&[
            ("grant_type", "client_credentials"),
            ("resource", RESOURCE),
            ("client_assertion_type", assertion::TYPE),
            ("client_assertion", text),
        ])
        .await
}

fn is_invalid_client((status, answer): (u16, Value)) -> bool {
    status == 401 && answer["error"] == "invalid_client"
}

#[tokio::test]
async fn an_agent_with_a_key_gets_a_token_for_itself() {
    let issuer = Issuer::start().await;
    let (status, answer) = with_assertion(&issuer, &issuer.assertion(&json!({}))).await;
    assert_eq!(status, 200, "{answer}");
    let claims = issuer
        .claims(answer["access_token"].as_str().unwrap())
        .await;
    assert_eq!(claims["sub"], ROBOT);
    assert_eq!(claims["client_id"], ROBOT);
    assert_eq!(claims["aud"], RESOURCE);
    assert_eq!(claims["subject_type"], "workload");
    assert_eq!(claims["agent_authn"], "key");
    assert!(claims.get("groups").is_none());
}

#[tokio::test]
async fn each_signing_algorithm_can_be_chosen() {
    for alg in ["ES256", "RS256"] {
        let issuer = Issuer::start_with(&[("WRIT_TOKENS__SIGNING_ALG", alg)]).await;
        let (_, answer) = with_assertion(&issuer, &issuer.assertion(&json!({}))).await;
        let token = answer["access_token"].as_str().unwrap();
        assert_eq!(
            format!("{:?}", jsonwebtoken::decode_header(token).unwrap().alg),
            alg
        );
        assert_eq!(issuer.claims(token).await["sub"], ROBOT);
    }
}

#[tokio::test]
async fn an_assertion_is_good_once() {
    let issuer = Issuer::start().await;
    let text = issuer.assertion(&json!({}));
    assert_eq!(with_assertion(&issuer, &text).await.0, 200);
    let (status, answer) = with_assertion(&issuer, &text).await;
    assert_eq!(
        (status, answer["error"].as_str()),
        (401, Some("invalid_client"))
    );
    assert!(
        answer["error_description"]
            .as_str()
            .unwrap()
            .contains("used before")
    );
    let same_jti = json!({"jti": "mine"});
    assert_eq!(
        with_assertion(&issuer, &issuer.assertion(&same_jti))
            .await
            .0,
        200
    );
    assert!(is_invalid_client(
        with_assertion(&issuer, &issuer.assertion(&same_jti)).await
    ));
    let at_once = issuer.assertion(&json!({}));
    let (one, two) = tokio::join!(
        with_assertion(&issuer, &at_once),
        with_assertion(&issuer, &at_once)
    );
    assert_eq!(one.0 + two.0, 200 + 401);
}

#[tokio::test]
async fn an_assertion_for_somebody_else_is_refused() {
    let issuer = Issuer::start().await;
    let token_endpoint = format!("{}/oauth/token", issuer.url);
    for changes in [
        json!({"aud": token_endpoint}),
        json!({"aud": [issuer.url, "https://other.test"]}),
        json!({"aud": "https://other.test"}),
        json!({"iss": PUBLIC}),
        json!({"sub": CONFIDENTIAL}),
        json!({"sub": PUBLIC, "iss": PUBLIC}),
        json!({"exp": issuer.now() - 60}),
        json!({"exp": issuer.now() + 86400}),
        json!({"exp": null}),
        json!({"jti": null}),
    ] {
        let answer = with_assertion(&issuer, &issuer.assertion(&changes)).await;
        assert!(is_invalid_client(answer.clone()), "{changes}: {answer:?}");
    }
}

#[tokio::test]
async fn an_assertion_that_nobody_signed_is_refused() {
    let issuer = Issuer::start().await;
    let encode = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
    let good = issuer.assertion(&json!({}));
    let claims = good.split('.').nth(1).unwrap();
    for alg in ["none", "None", "NONE"] {
        let unsigned = format!("{}.{claims}.", encode(&json!({"alg": alg})));
        assert!(
            is_invalid_client(with_assertion(&issuer, &unsigned).await),
            "{alg}"
        );
    }
    // The public key, which anybody knows, as an HMAC secret: in each form it is published in.
    let jwk = issuer.key.public_key().to_jwk();
    for secret in [
        issuer.key.public_key().to_bytes(),
        issuer.key.public_key().to_pem().into_bytes(),
        jwk.into_bytes(),
    ] {
        let now = issuer.now();
        let claims =
            json!({"iss": ROBOT, "sub": ROBOT, "aud": issuer.url, "exp": now + 60, "jti": "h"});
        let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
        let forged = jsonwebtoken::encode(
            &header,
            &claims,
            &jsonwebtoken::EncodingKey::from_secret(&secret),
        )
        .unwrap();
        assert!(is_invalid_client(with_assertion(&issuer, &forged).await));
    }
    let (signed, _) = good.rsplit_once('.').unwrap();
    assert!(is_invalid_client(
        with_assertion(&issuer, &format!("{signed}.AAAA")).await
    ));
}

#[tokio::test]
async fn a_secret_works_where_a_secret_is_registered() {
    let issuer = Issuer::start().await;
    let form = [
        ("grant_type", "client_credentials"),
        ("resource", RESOURCE),
        ("scope", "accounts:read"),
    ];
    let (status, answer) = issuer.token_with(Some((CONFIDENTIAL, SECRET)), &form).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["scope"], "accounts:read");
    let claims = issuer
        .claims(answer["access_token"].as_str().unwrap())
        .await;
    assert_eq!(
        (claims["sub"].as_str(), claims["agent_authn"].as_str()),
        (Some(CONFIDENTIAL), Some("secret"))
    );
    for (id, secret) in [
        (CONFIDENTIAL, "wrong"),
        (CONFIDENTIAL, ""),
        ("nobody", SECRET),
        (ROBOT, SECRET),
        (PUBLIC, ""),
    ] {
        assert!(
            is_invalid_client(issuer.token_with(Some((id, secret)), &form).await),
            "{id}"
        );
    }
}

#[tokio::test]
async fn a_refused_client_is_told_how_to_authenticate() {
    let issuer = Issuer::start().await;
    let response = reqwest::Client::new()
        .post(format!("{}/oauth/token", issuer.url))
        .form(&[("grant_type", "client_credentials")])
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 401);
    assert!(
        response.headers()["www-authenticate"]
            .to_str()
            .unwrap()
            .starts_with("Basic ")
    );
}

#[tokio::test]
async fn one_way_to_authenticate_at_a_time_and_in_the_body_only_if_registered_so() {
    let issuer = Issuer::start().await;
    let text = issuer.assertion(&json!({}));
    let both = [
        ("grant_type", "client_credentials"),
        ("resource", RESOURCE),
        ("client_assertion_type", assertion::TYPE),
        ("client_assertion", text.as_str()),
    ];
    let (_, answer) = issuer.token_with(Some((CONFIDENTIAL, SECRET)), &both).await;
    assert_eq!(answer["error"], "invalid_request");
    let post = [
        ("grant_type", "client_credentials"),
        ("client_id", CONFIDENTIAL),
        ("client_secret", SECRET),
    ];
    assert!(is_invalid_client(issuer.token(&post).await));
    let (_, answer) = issuer.token_with(Some((CONFIDENTIAL, SECRET)), &post).await;
    assert_eq!(answer["error"], "invalid_request");
    let form = [
        ("grant_type", "client_credentials"),
        ("resource", RESOURCE),
        ("client_id", PUBLIC),
    ];
    let (_, answer) = issuer.token_with(Some((CONFIDENTIAL, SECRET)), &form).await;
    assert_eq!(
        answer["error"], "invalid_client",
        "the client named is not the one that authenticated"
    );
}

#[tokio::test]
async fn an_agent_gets_no_more_than_it_is_registered_for() {
    let issuer = Issuer::start().await;
    let public = [
        ("grant_type", "client_credentials"),
        ("resource", RESOURCE),
        ("client_id", PUBLIC),
    ];
    assert_eq!(
        issuer.token(&public).await.1["error"],
        "unauthorized_client"
    );
    let secret = Some((CONFIDENTIAL, SECRET));
    let ask = |resource: &'static str, scope: &'static str| {
        [
            ("grant_type", "client_credentials"),
            ("resource", resource),
            ("scope", scope),
        ]
    };
    for (resource, scope, error) in [
        ("", "", "invalid_target"),
        ("https://unknown.test", "", "invalid_target"),
        ("urn:ledger", "", "invalid_target"),
        (RESOURCE, "admin", "invalid_scope"),
        (RESOURCE, "accounts:read  admin", "invalid_scope"),
    ] {
        let (status, answer) = issuer.token_with(secret, &ask(resource, scope)).await;
        assert_eq!(
            (status, answer["error"].as_str()),
            (400, Some(error)),
            "{resource} {scope}"
        );
    }
    let robot = issuer.assertion(&json!({}));
    let (_, answer) = issuer
        .token(&[
            ("grant_type", "authorization_code"),
            ("code", "x"),
            ("code_verifier", "x"),
            ("client_assertion_type", assertion::TYPE),
            ("client_assertion", &robot),
        ])
        .await;
    assert_eq!(answer["error"], "unauthorized_client");
    let exchange = [
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("subject_token", "x"),
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:access_token",
        ),
        ("resource", RESOURCE),
    ];
    assert_eq!(
        issuer.token_with(secret, &exchange).await.1["error"],
        "unauthorized_client"
    );
}

#[tokio::test]
async fn a_disabled_agent_is_refused_at_once() {
    let issuer = Issuer::start().await;
    assert_eq!(
        with_assertion(&issuer, &issuer.assertion(&json!({})))
            .await
            .0,
        200
    );
    issuer.disable(Registered::Agent, ROBOT).await;
    assert!(is_invalid_client(
        with_assertion(&issuer, &issuer.assertion(&json!({}))).await
    ));
    issuer.disable(Registered::Server, "ledger").await;
    let form = [("grant_type", "client_credentials"), ("resource", RESOURCE)];
    let (_, answer) = issuer.token_with(Some((CONFIDENTIAL, SECRET)), &form).await;
    assert_eq!(answer["error"], "invalid_target");
}

#[tokio::test]
async fn a_workload_never_has_the_name_of_a_person() {
    let issuer = Issuer::start().await;
    let store = &issuer.running.app.store;
    let namesake = agent(USER, AuthMethod::Secret, &[]);
    let refused = store.add_agent(&namesake, Timestamp::now()).await;
    assert!(
        matches!(refused, Err(StoreError::Conflict(_))),
        "{refused:?}"
    );
    let hash = PasswordHash::new(PASSWORD).unwrap();
    let mut tx = store.write().await.unwrap();
    let robot = ROBOT.parse().unwrap();
    let refused = users::add(tx.conn(), &robot, &hash, &BTreeSet::new(), Timestamp::now()).await;
    assert!(
        matches!(refused, Err(StoreError::Conflict(_))),
        "{refused:?}"
    );
}
