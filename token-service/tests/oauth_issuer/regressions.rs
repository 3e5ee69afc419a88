//! What went wrong in other issuers, tried on client assertions and on what a browser sends. Beside these, each where its
//! feature is: an update of a registration judged on what it was before, and a member left out to skip a rule, in
//! `registration`; roles by mapping, and an answer of another provider (mix-up), in `federation`; a code used twice in
//! `code`; a redirect URI that only begins like a registered one in `authorize`.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jwt_simple::prelude::{ES256KeyPair, Ed25519KeyPair};
use serde_json::{Value, json};
use writ_token_service::{
    audit::Kind,
    oauth::assertion,
    registry::{Agent, AuthMethod},
};

use crate::{
    browser::{Browser, Request},
    issuer::{CONFIDENTIAL, Issuer, PUBLIC, RESOURCE, ROBOT, agent},
};

/// Signs any header with the robot's key, or another.
fn signed(key: &Ed25519KeyPair, header: &str, claims: &str) -> String {
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let key = jsonwebtoken::EncodingKey::from_ed_pem(key.to_pem().as_bytes()).unwrap();
    let alg = jsonwebtoken::Algorithm::EdDSA;
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, alg).unwrap();
    format!("{message}.{signature}")
}

fn claims(issuer: &Issuer, client: &str) -> String {
    let now = issuer.now();
    json!({
        "iss": client, "sub": client, "aud": issuer.url, "iat": now, "exp": now + 60,
        "jti": uuid::Uuid::now_v7().to_string(),
    })
    .to_string()
}

async fn presented(issuer: &Issuer, text: &str) -> (u16, Value) {
    issuer
        .token(&[
            ("grant_type", "client_credentials"),
            ("resource", RESOURCE),
            ("client_assertion_type", assertion::TYPE),
            ("client_assertion", text),
        ])
        .await
}

async fn refuses(issuer: &Issuer, text: &str, why: &str) {
    let (status, answer) = presented(issuer, text).await;
    assert_eq!(status, 401, "{why}: {answer}");
    assert_eq!(answer["error"], "invalid_client", "{why}");
    assert!(!answer["error_description"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn an_assertion_that_is_not_signed_proves_nothing() {
    let issuer = Issuer::start().await;
    let good = signed(
        &issuer.key,
        r#"{"alg":"EdDSA","kid":"k1"}"#,
        &claims(&issuer, ROBOT),
    );
    let answer = presented(&issuer, &good).await;
    assert_eq!(answer.0, 200, "{}", answer.1);
    for alg in ["none", "None", "NONE", "nOnE", "none ", ""] {
        for signature in ["", "AA"] {
            let text = format!(
                "{}.{}.{signature}",
                URL_SAFE_NO_PAD.encode(json!({"alg": alg, "kid": "k1"}).to_string()),
                URL_SAFE_NO_PAD.encode(claims(&issuer, ROBOT)),
            );
            refuses(&issuer, &text, alg).await;
        }
    }
    // Nor does naming the client without one, or naming one that needs none in an assertion.
    let named = [
        ("grant_type", "client_credentials"),
        ("resource", RESOURCE),
        ("client_id", ROBOT),
    ];
    assert_eq!(issuer.token(&named).await.1["error"], "invalid_client");
    for client in [PUBLIC, CONFIDENTIAL] {
        let text = signed(&issuer.key, r#"{"alg":"EdDSA"}"#, &claims(&issuer, client));
        refuses(&issuer, &text, client).await;
    }
}

#[tokio::test]
async fn an_assertion_does_not_choose_the_key_it_is_checked_with() {
    let issuer = Issuer::start().await;
    let theirs = Ed25519KeyPair::generate();
    let jwk: Value = serde_json::from_str(&theirs.public_key().to_jwk()).unwrap();
    for (member, value) in [
        ("jwk", jwk),
        ("jku", json!("https://evil.test/jwks")),
        ("x5u", json!("https://evil.test/chain.pem")),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
    ] {
        let mut header = json!({"alg": "EdDSA", "kid": "k1"});
        header[member] = value;
        let header = header.to_string();
        for key in [&theirs, &issuer.key] {
            let text = signed(key, &header, &claims(&issuer, ROBOT));
            refuses(&issuer, &text, member).await;
        }
    }
    for kid in [
        "",
        "../../dev/null",
        "' OR 1=1 --",
        "https://evil.test/jwks",
        "k1\0",
    ] {
        let header = json!({"alg": "EdDSA", "kid": kid}).to_string();
        let text = signed(&theirs, &header, &claims(&issuer, ROBOT));
        refuses(&issuer, &text, kid).await;
    }
}

#[tokio::test]
async fn an_ecdsa_signature_of_zeros_proves_nothing() {
    let issuer = Issuer::start().await;
    let key = ES256KeyPair::generate();
    let key = key.with_key_id("e1").public_key();
    let jwk: Value = serde_json::from_str(&key.to_jwk()).unwrap();
    let store = &issuer.running.app.store;
    let elliptic = Agent {
        jwks: Some(json!({ "keys": [jwk] })),
        ..agent("elliptic", AuthMethod::Key, &[])
    };
    store
        .add_agent(&elliptic, jiff::Timestamp::now())
        .await
        .unwrap();
    for signature in [
        vec![0; 64],
        vec![],
        vec![0x30, 6, 2, 1, 0, 2, 1, 0],
        vec![0xff; 64],
    ] {
        let text = format!(
            "{}.{}.{}",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","kid":"e1"}"#),
            URL_SAFE_NO_PAD.encode(claims(&issuer, "elliptic")),
            URL_SAFE_NO_PAD.encode(signature)
        );
        refuses(&issuer, &text, "zeros").await;
    }
}

#[tokio::test]
async fn a_member_of_an_assertion_that_comes_twice_is_refused() {
    let issuer = Issuer::start().await;
    let header = r#"{"alg":"EdDSA","kid":"k1"}"#;
    for twice in [
        format!(r#"{{"sub":"{CONFIDENTIAL}","#),
        r#"{"aud":"https://other.test","#.to_owned(),
        r#"{"exp":9999999999,"#.to_owned(),
        r#"{"ji\u0074":"x","jti":"y","#.to_owned(),
    ] {
        let doubled = claims(&issuer, ROBOT).replacen('{', &twice, 1);
        refuses(&issuer, &signed(&issuer.key, header, &doubled), &twice).await;
    }
    let doubled = r#"{"alg":"none","alg":"EdDSA","kid":"k1"}"#;
    let text = signed(&issuer.key, doubled, &claims(&issuer, ROBOT));
    refuses(&issuer, &text, "alg").await;
}

#[tokio::test]
async fn an_encrypted_assertion_or_request_object_skips_no_signature_check() {
    let issuer = Issuer::start().await;
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"dir","enc":"A256GCM","kid":"k1"}"#);
    let jwe = format!("{header}..AAAA.{}.AAAA", URL_SAFE_NO_PAD.encode("{}"));
    refuses(&issuer, &jwe, "JWE").await;
    let browser = Browser::new(&issuer);
    let plain = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let unsigned = format!(
        "{plain}.{}.",
        URL_SAFE_NO_PAD.encode(json!({"client_id": PUBLIC, "scope": "admin"}).to_string())
    );
    for object in [&jwe, &unsigned] {
        let answer = browser
            .get(&Request::new().with("request", object).query())
            .await;
        let refused = answer.param("error").unwrap_or_default();
        assert!(answer.param("code").is_none());
        assert_eq!(refused, "request_not_supported", "{answer:?}");
    }
}

#[tokio::test]
async fn nothing_that_a_request_says_is_markup_in_a_page_or_a_header_of_an_answer() {
    let issuer = Issuer::start().await;
    let browser = Browser::new(&issuer);
    let hostile = [
        "\"><script>alert(1)</script>",
        "'-alert(1)-'",
        "' onmouseover='alert(1)",
        "</style><script>alert(1)</script>",
        "{{7*7}}${7*7}<%= 7*7 %>",
        "javascript:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "\r\nSet-Cookie: pwned=1\r\n\r\n<script>alert(1)</script>",
        "\0",
        "\u{202e}gnp.exe",
        "\u{fffd}\u{ffff}",
        "../../../etc/passwd",
        "' OR 1=1 --",
        "%s%s%n",
    ];
    let long = "A<b>".repeat(4000);
    for name in [
        "client_id",
        "redirect_uri",
        "resource",
        "scope",
        "state",
        "response_type",
        "response_mode",
        "code_challenge",
        "code_challenge_method",
        "prompt",
        "nonce",
        "login_hint",
        "ui_locales",
        "request_uri",
        "unknown",
    ] {
        for value in hostile.iter().copied().chain([long.as_str()]) {
            let answer = browser.get(&Request::new().with(name, value).query()).await;
            let what = format!("{name}={value:.40}: {}", answer.status);
            assert!(answer.status < 500, "{what}");
            for raw in [
                "<script>alert",
                "\"><script",
                "<b>A<b>",
                "' onmouseover='",
                "panicked",
                "stack backtrace",
                ".rs:",
                "SELECT ",
            ] {
                assert!(
                    !answer.html.contains(raw),
                    "{what}: {raw} in {}",
                    answer.html
                );
            }
            let cookies = answer.headers.get_all("set-cookie").iter();
            assert!(
                cookies
                    .into_iter()
                    .all(|c| !c.to_str().unwrap().contains("pwned")),
                "{what}"
            );
            if let Some(location) = &answer.location {
                assert_eq!(location.scheme(), "http", "{what}");
                assert_eq!(location.host_str(), Some("127.0.0.1"), "{what}");
            } else {
                assert!(
                    answer.headers.contains_key("content-security-policy"),
                    "{what}"
                );
                assert_eq!(
                    answer.headers["x-content-type-options"], "nosniff",
                    "{what}"
                );
            }
        }
    }
    let records = issuer.records().await;
    assert!(records.iter().all(|r| r.kind != Kind::TokenIssued));
}
