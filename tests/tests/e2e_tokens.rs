//! What reaches a server: a token minted for this call alone, and nothing of the caller's.

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use writ_tests::deployment::{Deployment, Options};
use writ_tests::mcp;
use writ_tests::registrations::{AUDIENCE, BATCH, GATEWAY, SERVER};

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a JWT has three parts");
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn a_call_travels_on_a_token_bound_to_its_bytes() {
    let writ = Deployment::start(Options::named("tokens")).await.unwrap();
    let token = writ.batch_token().await.unwrap();
    let answer = writ
        .post_call(&token, "reconcile", &json!({}))
        .header("Cookie", "session=the-callers")
        .header("X-Api-Key", "the-callers-too")
        .header("Content-Digest", "sha-256=:AAAA:")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let message = mcp::message_in(&answer.text().await.unwrap()).unwrap();
    assert!(message.get("result").is_some(), "{message}");

    let heard = writ.ledger.tap().last_call("reconcile").unwrap();
    let digest = format!(
        "sha-256=:{}:",
        BASE64_STANDARD.encode(Sha256::digest(&heard.body))
    );
    assert_ne!(
        heard.bearer(),
        Some(token.as_str()),
        "the caller's token went upstream"
    );
    assert!(!heard.headers.contains_key("cookie"));
    assert!(!heard.headers.contains_key("x-api-key"));
    assert_eq!(
        heard
            .headers
            .get_all("content-digest")
            .iter()
            .collect::<Vec<_>>(),
        [digest.as_str()]
    );

    let (caller, minted) = (claims(&token), claims(heard.bearer().unwrap()));
    assert_eq!(minted["iss"], json!(writ.service.issuer()));
    assert_eq!(minted["aud"], AUDIENCE);
    assert_eq!(minted["sub"], BATCH);
    assert_eq!(minted["client_id"], BATCH);
    assert_eq!(
        minted["act"],
        json!({ "sub": GATEWAY, "act": { "sub": BATCH } })
    );
    assert_eq!(
        minted["authorization_details"],
        json!([{
            "type": "mcp_request",
            "server": SERVER,
            "method": "tools/call",
            "target": "reconcile",
            "content_digest": digest,
        }])
    );
    let life = minted["exp"].as_i64().unwrap() - minted["iat"].as_i64().unwrap();
    assert!((1..=60).contains(&life), "lives {life} s");
    assert_ne!(minted["jti"], caller["jti"]);
}

#[tokio::test]
async fn a_mint_and_its_outcome_are_on_record() {
    let writ = Deployment::start(Options::named("record")).await.unwrap();
    let token = writ.batch_token().await.unwrap();
    let answer = writ
        .post_call(&token, "reconcile", &json!({}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    answer.bytes().await.unwrap();
    let minted = claims(
        writ.ledger
            .tap()
            .last_call("reconcile")
            .unwrap()
            .bearer()
            .unwrap(),
    );

    // The mint is on record before the call is answered: no waiting.
    let records = writ.service.audit().unwrap();
    let mint = records
        .iter()
        .find(|record| record["kind"] == "mint" && record["token_id"] == minted["jti"])
        .expect("the mint is not on record");
    assert_eq!(mint["subject"], BATCH);
    assert_eq!(mint["agent"], BATCH);
    assert_eq!(mint["server"], SERVER);
    assert_eq!(mint["target"], "reconcile");
    assert_eq!(mint["decision"], "allow");
    assert_eq!(mint["subject_token_id"], claims(&token)["jti"]);
    assert_eq!(mint["gateway_policy"], mint["service_policy"]);

    let outcome = writ
        .audit_record("the outcome", |record| {
            record["kind"] == "outcome" && record["token_id"] == minted["jti"]
        })
        .await
        .unwrap();
    assert_eq!(outcome["request_id"], mint["request_id"]);
}

#[tokio::test]
async fn a_denial_is_on_record_before_it_is_answered() {
    let writ = Deployment::start(Options::named("denial")).await.unwrap();
    let token = writ.batch_token().await.unwrap();
    let before = writ.ledger.tap().count();
    let answer = writ
        .post_call(&token, "transfer", &json!({ "amount": 1 }))
        .send()
        .await
        .unwrap();
    let message = mcp::message_in(&answer.text().await.unwrap()).unwrap();
    assert_eq!(
        message["error"]["data"]["type"], "policy_denied",
        "{message}"
    );

    let records = writ.service.audit().unwrap();
    let denial = records
        .iter()
        .find(|record| record["kind"] == "denied" && record["target"] == "transfer")
        .expect("the denial is not on record");
    assert_eq!(denial["subject"], BATCH);
    assert_eq!(denial["reason"], message["error"]["message"]);
    assert_eq!(
        writ.ledger.tap().count(),
        before,
        "a refused call reached the server"
    );
}
