//! A token bound to a key (RFC 9449), from the token endpoint through the gateway to the server.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jwt_simple::prelude::{Ed25519KeyPair, EdDSAKeyPairLike};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use writ_tests::deployment::{Deployment, Options};
use writ_tests::mcp;
use writ_tests::registrations::{BATCH, GATEWAY};

/// A key of a client, and the proofs made with it.
struct Prover(Ed25519KeyPair);

impl Prover {
    fn proof(&self, url: &str, more: &Value) -> String {
        let jwk: Value = serde_json::from_str(&self.0.public_key().to_jwk()).unwrap();
        let mut claims = json!({"jti": uuid::Uuid::now_v7().to_string(), "htm": "POST", "htu": url, "iat": now()});
        let more = more.as_object().unwrap().clone();
        claims.as_object_mut().unwrap().extend(more);
        let header = json!({"typ": "dpop+jwt", "alg": "EdDSA", "jwk": jwk});
        let encode = |json: &Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
        let input = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.0.key_pair().as_ref().sk.sign(input.as_bytes(), None);
        format!(
            "{input}.{}",
            BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref())
        )
    }

    fn proof_for(&self, token: &str, resource: &str) -> String {
        let hash = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(token));
        self.proof(resource, &json!({ "ath": hash }))
    }

    /// A token of the batch agent that is bound to this key.
    async fn token(&self, writ: &Deployment) -> String {
        let endpoint = format!("{}/oauth/token", writ.service.issuer());
        let ask = async |proof: String| {
            let request = writ.http.post(&endpoint).header("DPoP", proof);
            request
                .basic_auth(BATCH, Some(&writ.registered.batch_secret))
                .form(&[
                    ("grant_type", "client_credentials"),
                    ("resource", &writ.registered.resource),
                ])
                .send()
                .await
                .unwrap()
        };
        let first = ask(self.proof(&endpoint, &json!({}))).await;
        let nonce = first.headers()["dpop-nonce"].to_str().unwrap().to_owned();
        let answer = ask(self.proof(&endpoint, &json!({ "nonce": nonce }))).await;
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["token_type"], "DPoP", "{answer}");
        answer["access_token"].as_str().unwrap().to_owned()
    }
}

fn now() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    since.as_secs()
}

async fn call(writ: &Deployment, token: &str, proof: Option<&str>) -> reqwest::Response {
    let mut request = writ
        .post_call(token, "reconcile", &json!({}))
        .build()
        .unwrap();
    if let Some(proof) = proof {
        let headers = request.headers_mut();
        headers.insert("authorization", format!("DPoP {token}").parse().unwrap());
        headers.insert("dpop", proof.parse().unwrap());
    }
    writ.http.execute(request).await.unwrap()
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn a_bound_token_is_good_for_whoever_holds_its_key_and_nobody_else() {
    let writ = Deployment::start(Options::named("dpop")).await.unwrap();
    let prover = Prover(Ed25519KeyPair::generate());
    let token = prover.token(&writ).await;
    let resource = writ.registered.resource.clone();

    let proof = prover.proof_for(&token, &resource);
    let answer = call(&writ, &token, Some(&proof)).await;
    assert_eq!(answer.status(), 200);
    let message = mcp::message_in(&answer.text().await.unwrap()).unwrap();
    assert!(message.get("result").is_some(), "{message}");
    let heard = writ.ledger.tap().last_call("reconcile").unwrap();
    assert!(!heard.headers.contains_key("dpop"));
    let minted = claims(heard.bearer().unwrap());
    let thumbprint = prover.0.public_key().jwk_thumbprint();
    assert_eq!(
        minted["act"],
        json!({"sub": GATEWAY, "act": {"sub": BATCH, "cnf": {"jkt": thumbprint}}})
    );
    assert!(minted.get("cnf").is_none());

    let before = writ.ledger.tap().count();
    let thief = Prover(Ed25519KeyPair::generate());
    for (proof, error) in [
        (Some(proof), "invalid_dpop_proof"),
        (None, "invalid_token"),
        (
            Some(thief.proof_for(&token, &resource)),
            "invalid_dpop_proof",
        ),
        (
            Some(prover.proof_for(&token, "http://127.0.0.1:1/mcp")),
            "invalid_dpop_proof",
        ),
    ] {
        let refused = call(&writ, &token, proof.as_deref()).await;
        assert_eq!(refused.status(), 401);
        let challenge = refused.headers()["www-authenticate"].to_str().unwrap();
        assert!(challenge.starts_with("DPoP algs="), "{challenge}");
        assert!(challenge.contains(error), "{challenge}");
    }
    assert_eq!(
        writ.ledger.tap().count(),
        before,
        "a refused call reached the server"
    );
    let again = prover.proof_for(&token, &resource);
    assert_eq!(call(&writ, &token, Some(&again)).await.status(), 200);
}
