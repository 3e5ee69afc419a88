//! Getting a caller's token from the running service, as the demo and the other tests do.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use writ_tests::oauth::{AgentKey, Client, SignIn, client_credentials};
use writ_tests::registrations::{
    ASSISTANT, PASSWORD, RECONCILER, REDIRECT_URI, Registrations, SCOPES, USER,
};
use writ_tests::scratch::Scratch;
use writ_tests::token_service::{Options, TokenService};

const RESOURCE: &str = "http://127.0.0.1:1/mcp";

async fn service(name: &str) -> (TokenService, Registrations, Scratch) {
    let scratch = Scratch::new(name).unwrap();
    let mut service = TokenService::prepare(&scratch, Options::default()).unwrap();
    let registered = Registrations::make(&service, &scratch, RESOURCE).unwrap();
    service.serve().await.unwrap();
    (service, registered, scratch)
}

fn sign_in<'a>(issuer: &'a str, password: &'a str) -> SignIn<'a> {
    SignIn {
        issuer,
        client_id: ASSISTANT,
        client: None,
        redirect_uri: REDIRECT_URI,
        resource: RESOURCE,
        scope: SCOPES,
        username: USER,
        password,
    }
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a JWT has three parts");
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn a_user_signs_in_in_a_browser() {
    let (service, _, _scratch) = service("oauth-user").await;
    let claims = claims(&sign_in(&service.issuer(), PASSWORD).token().await.unwrap());
    assert_eq!(claims["sub"], USER);
    assert_eq!(claims["client_id"], ASSISTANT);
    assert_eq!(claims["aud"], RESOURCE);
    assert_eq!(claims["groups"], json!(["finance", "treasury"]));
    assert_eq!(claims["subject_type"], "user");
    assert_eq!(claims["agent_authn"], "none");
}

#[tokio::test]
async fn a_wrong_password_signs_nobody_in() {
    let (service, _, _scratch) = service("oauth-wrong").await;
    assert!(sign_in(&service.issuer(), "guess").token().await.is_err());
}

#[tokio::test]
async fn an_agent_signs_in_with_its_own_key_only() {
    let (service, registered, _scratch) = service("oauth-key").await;
    let of_its_own = Client::Key {
        id: RECONCILER,
        key: &registered.key,
    };
    let claims = claims(
        &client_credentials(&service.issuer(), &of_its_own, RESOURCE, SCOPES)
            .await
            .unwrap(),
    );
    assert_eq!(claims["sub"], RECONCILER);
    assert_eq!(claims["subject_type"], "workload");
    assert_eq!(claims["agent_authn"], "key");

    let another = AgentKey::generate();
    let with_another = Client::Key {
        id: RECONCILER,
        key: &another,
    };
    assert!(
        client_credentials(&service.issuer(), &with_another, RESOURCE, SCOPES)
            .await
            .is_err()
    );
}
