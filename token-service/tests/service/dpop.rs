//! A caller's token that is bound to a key, at the exchange: the service looks for itself.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use jwt_simple::prelude::Ed25519KeyPair;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use writ_token_service::{clock::unix, secret};

use crate::harness::{Form, OTHER_RESOURCE, RESOURCE, Service, call};

struct Holder {
    key: EncodingKey,
    jwk: Jwk,
    thumbprint: String,
}

impl Holder {
    fn new() -> Self {
        let pair = Ed25519KeyPair::generate();
        Self {
            key: EncodingKey::from_ed_pem(pair.to_pem().as_bytes()).unwrap(),
            jwk: serde_json::from_str(&pair.public_key().to_jwk()).unwrap(),
            thumbprint: pair.public_key().jwk_thumbprint(),
        }
    }

    fn token(&self, service: &Service) -> String {
        let mut claims = service.caller_claims();
        claims["cnf"] = json!({"jkt": self.thumbprint});
        service.sign(&claims)
    }

    fn proof(&self, token: &str, changes: &Value) -> String {
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some("dpop+jwt".to_owned());
        header.jwk = Some(self.jwk.clone());
        let mut claims = json!({"jti": secret::new_id(), "htm": "POST", "htu": RESOURCE,
            "iat": unix(Timestamp::now()), "ath": URL_SAFE_NO_PAD.encode(Sha256::digest(token))});
        let changes = changes.as_object().unwrap().clone();
        claims.as_object_mut().unwrap().extend(changes);
        jsonwebtoken::encode(&header, &claims, &self.key).unwrap()
    }
}

fn form(token: &str, proof: Option<&str>) -> Form {
    let form = Form::new(token, &call("echo"));
    let context = form.0.iter().find(|(name, _)| *name == "mcp_context");
    let mut context: Value = serde_json::from_str(&context.unwrap().1).unwrap();
    context["dpop_proof"] = json!(proof);
    form.with("mcp_context", context.to_string())
}

fn claims_of(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn a_bound_token_gets_its_call_a_token_that_says_which_key_the_agent_proved() {
    let service = Service::start().await;
    let holder = Holder::new();
    let token = holder.token(&service);
    let proof = holder.proof(&token, &json!({}));
    let response = service.exchange(&form(&token, Some(&proof))).await;
    assert_eq!(response.status(), 200);
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["token_type"], "Bearer");
    let claims = claims_of(answer["access_token"].as_str().unwrap());
    assert!(
        claims.get("cnf").is_none(),
        "the server could get no proof of that key"
    );
    assert_eq!(
        claims["act"],
        json!({"sub": "edge", "act": {"sub": "assistant", "cnf": {"jkt": holder.thumbprint}}})
    );
}

#[tokio::test]
async fn a_gateways_credential_and_a_stolen_token_together_mint_nothing() {
    let service = Service::start().await;
    let (holder, thief) = (Holder::new(), Holder::new());
    let token = holder.token(&service);
    let other = holder.token(&service);
    let good = |changes: Value| holder.proof(&token, &changes);
    for (proof, about) in [
        (None, "bound to a key"),
        (Some("x".to_owned()), "DPoP proof"),
        (Some(thief.proof(&token, &json!({}))), "another key"),
        (Some(holder.proof(&other, &json!({}))), "ath"),
        (Some(good(json!({"htm": "GET"}))), "htm"),
        (Some(good(json!({"htu": OTHER_RESOURCE}))), "htu"),
        (
            Some(good(json!({"iat": unix(Timestamp::now()) - 120}))),
            "too old",
        ),
    ] {
        let response = service.exchange(&form(&token, proof.as_deref())).await;
        assert_eq!(response.status(), 400);
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["error"], "invalid_grant");
        let told = answer["error_description"].as_str().unwrap();
        assert!(told.contains(about), "{about}: {told}");
    }
}

#[tokio::test]
async fn a_proof_gets_one_token_from_all_gateways_together() {
    let service = Service::start().await;
    let holder = Holder::new();
    let token = holder.token(&service);
    let proof = holder.proof(&token, &json!({}));
    let form = form(&token, Some(&proof));
    let (one, two) = tokio::join!(service.exchange(&form), service.exchange(&form));
    let mut statuses = [one.status().as_u16(), two.status().as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
}
