//! Tokens that are none of a caller's: 401 `invalid_token`, every time.

mod bad;

use bad::{Post, TOOL, a_good_call_succeeds, assert_nothing_reached, deployment_and_signer};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use writ_tests::deployment::Deployment;
use writ_tests::registrations::{AUDIENCE, BATCH, SCOPES};
use writ_tests::signer::{ACCESS_TOKEN, Signer, sign_hs256, unix_now, workload_claims};

/// Claims that would do, but for what a test changes.
fn claims(deployment: &Deployment, changes: &Value) -> Value {
    let mut claims = workload_claims(
        &deployment.service.issuer(),
        BATCH,
        &deployment.url(),
        SCOPES,
        300,
    );
    let map = claims.as_object_mut().expect("claims are an object");
    for (name, value) in changes.as_object().expect("changes are an object") {
        if value.is_null() {
            map.remove(name);
        } else {
            map.insert(name.clone(), value.clone());
        }
    }
    claims
}

/// A token with any header and no signature worth the name.
fn unsigned(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}

async fn minted_token(deployment: &Deployment) -> String {
    a_good_call_succeeds(deployment).await;
    let call = deployment
        .ledger
        .tap()
        .last_call(TOOL)
        .expect("the good call reached the server");
    let token = call.bearer().expect("with a token").to_owned();
    deployment.ledger.tap().clear();
    token
}

/// With the issuer's own key, so that nothing but the named defect can be the reason.
fn wrong_claims(deployment: &Deployment, signer: &Signer) -> Vec<(&'static str, String)> {
    let now = unix_now();
    let with = |changes: Value| {
        signer
            .sign(ACCESS_TOKEN, &claims(deployment, &changes))
            .unwrap()
    };
    vec![
        (
            "expired",
            with(json!({ "iat": now - 700, "exp": now - 100 })),
        ),
        ("without an end", with(json!({ "exp": null }))),
        ("not yet valid", with(json!({ "nbf": now + 100 }))),
        (
            "of another issuer",
            with(json!({ "iss": "https://other.example" })),
        ),
        ("without an issuer", with(json!({ "iss": null }))),
        (
            "for another audience",
            with(json!({ "aud": "http://127.0.0.1:1/mcp" })),
        ),
        (
            "for the server's own audience",
            with(json!({ "aud": AUDIENCE })),
        ),
        ("without an audience", with(json!({ "aud": null }))),
        ("without a subject", with(json!({ "sub": null }))),
        ("without an agent", with(json!({ "client_id": null }))),
        (
            "an ID token",
            signer
                .sign(
                    "JWT",
                    &claims(deployment, &json!({ "aud": BATCH, "nonce": "n" })),
                )
                .unwrap(),
        ),
        (
            "an ID token for the server",
            signer.sign("JWT", &claims(deployment, &json!({}))).unwrap(),
        ),
        (
            "with what minted tokens have",
            with(json!({
                "act": { "sub": "edge", "act": { "sub": BATCH } },
                "authorization_details": [{ "type": "mcp_discovery", "server": "ledger" }],
            })),
        ),
    ]
}

fn wrong_signatures(deployment: &Deployment, signer: &Signer) -> Vec<(&'static str, String)> {
    let good = claims(deployment, &json!({}));
    let kid = signer.jwks().unwrap()["keys"][0]["kid"]
        .as_str()
        .expect("a kid")
        .to_owned();
    let signed = signer.sign(ACCESS_TOKEN, &good).unwrap();
    let (unprotected, signature) = signed.rsplit_once('.').expect("three parts");
    let header = |alg: &str| json!({ "alg": alg, "typ": ACCESS_TOKEN, "kid": kid });
    let swapped = signature.chars().rev().collect::<String>();
    vec![
        ("alg none", unsigned(&header("none"), &good, "")),
        ("alg None", unsigned(&header("None"), &good, "")),
        (
            "alg none with a signature",
            unsigned(&header("none"), &good, signature),
        ),
        (
            "no alg",
            unsigned(
                &json!({ "typ": ACCESS_TOKEN, "kid": kid }),
                &good,
                signature,
            ),
        ),
        (
            "HS256 with the public key",
            sign_hs256(&signer.public_bytes(), &kid, &good).unwrap(),
        ),
        (
            "an unknown kid",
            signer
                .clone()
                .under_kid("nobody")
                .sign(ACCESS_TOKEN, &good)
                .unwrap(),
        ),
        (
            "another key under the known kid",
            Signer::generate()
                .under_kid(&kid)
                .sign(ACCESS_TOKEN, &good)
                .unwrap(),
        ),
        (
            "another key",
            Signer::generate().sign(ACCESS_TOKEN, &good).unwrap(),
        ),
        ("a damaged signature", format!("{unprotected}.{swapped}")),
        ("no signature", format!("{unprotected}.")),
        ("two parts", unprotected.to_owned()),
        ("four parts", format!("{signed}.{signature}")),
        ("padding", format!("{signed}=")),
        (
            "not a JWT",
            "ghp_1234567890abcdefghij1234567890abcdefgh".to_owned(),
        ),
        ("dots", "..".to_owned()),
    ]
}

#[tokio::test]
async fn tokens_that_are_none_of_a_callers_get_401_invalid_token() {
    let (deployment, signer) = deployment_and_signer("bad-tokens").await;
    let mut cases = wrong_claims(&deployment, &signer);
    cases.extend(wrong_signatures(&deployment, &signer));
    cases.push(("a minted upstream token", minted_token(&deployment).await));
    for (name, token) in cases {
        let answer = Post::good(&token).send(deployment.envoy.listener()).await;
        assert_eq!(answer.status, 401, "{name}: {answer}");
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        assert!(
            challenge.contains(r#"error="invalid_token""#),
            "{name}: {answer}"
        );
        assert!(challenge.contains("resource_metadata="), "{name}: {answer}");
        assert!(
            !answer.to_string().contains(&token) || token.len() < 3,
            "{name}: the answer repeats the token"
        );
        assert_nothing_reached(&deployment, name);
    }
    a_good_call_succeeds(&deployment).await;
}

#[tokio::test]
async fn a_token_signed_like_these_but_without_a_defect_is_accepted() {
    let (deployment, signer) = deployment_and_signer("good-token").await;
    let token = signer
        .sign(ACCESS_TOKEN, &claims(&deployment, &json!({})))
        .unwrap();
    let answer = Post::good(&token).send(deployment.envoy.listener()).await;
    assert_eq!(
        answer.status, 200,
        "the tests above would pass for the wrong reason: {answer}"
    );
}
