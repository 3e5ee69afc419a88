use serde_json::{Value, json};

use crate::issuer::Issuer;

async fn metadata(url: &str) -> (u16, Option<Value>) {
    let response = reqwest::get(url).await.unwrap();
    (response.status().as_u16(), response.json().await.ok())
}

#[tokio::test]
async fn a_client_that_knows_the_issuer_finds_the_rest() {
    let issuer = Issuer::start().await;
    let (status, found) = metadata(&format!(
        "{}/.well-known/oauth-authorization-server",
        issuer.url
    ))
    .await;
    let found = found.unwrap();
    assert_eq!(status, 200);
    assert_eq!(found["issuer"], issuer.url);
    assert_eq!(
        found["authorization_endpoint"],
        format!("{}/oauth/authorize", issuer.url)
    );
    assert_eq!(found["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(
        found["authorization_response_iss_parameter_supported"],
        true
    );
    assert_eq!(
        found["token_endpoint_auth_methods_supported"],
        json!([
            "none",
            "client_secret_basic",
            "client_secret_post",
            "private_key_jwt"
        ])
    );
    let jwks = reqwest::get(found["jwks_uri"].as_str().unwrap())
        .await
        .unwrap();
    assert_eq!(jwks.headers()["access-control-allow-origin"], "*");
    let jwks: Value = jwks.json().await.unwrap();
    let keys = jwks["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 3, "one of each algorithm");
}

#[tokio::test]
async fn an_issuer_with_a_path_is_found_below_the_well_known_segment() {
    let issuer = Issuer::start_with(&[("WRIT_ISSUER", "https://id.test/writ")]).await;
    let (status, found) = metadata(&format!(
        "{}/.well-known/oauth-authorization-server/writ",
        issuer.url
    ))
    .await;
    assert_eq!(status, 200);
    assert_eq!(
        found.unwrap()["token_endpoint"],
        "https://id.test/writ/oauth/token"
    );
    let (elsewhere, _) = metadata(&format!(
        "{}/.well-known/oauth-authorization-server",
        issuer.url
    ))
    .await;
    assert_eq!(elsewhere, 404);
    let (jwks, _) = metadata(&format!("{}/writ/oauth/jwks", issuer.url)).await;
    assert_eq!(jwks, 200);
}
