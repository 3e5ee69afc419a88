use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use jwt_simple::prelude::ES256KeyPair;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use writ_token_service::{
    oauth::assertion,
    registry::{Agent, AuthMethod, ClientMetadata},
};

use crate::{
    browser::{Browser, REDIRECT, Request, VERIFIER},
    issuer::{CONFIDENTIAL, Issuer, LASTING, RESOURCE, ROBOT, SECRET, agent},
    platform::changed,
};

/// A key of a client, that signs proofs with a library which shares no code with the one that checks them.
struct Prover {
    key: EncodingKey,
    jwk: Jwk,
    thumbprint: String,
}

impl Prover {
    fn new() -> Self {
        let pair = ES256KeyPair::generate();
        let key = EncodingKey::from_ec_pem(pair.to_pem().unwrap().as_bytes()).unwrap();
        Self {
            jwk: serde_json::from_str(&pair.public_key().to_jwk()).unwrap(),
            thumbprint: pair.public_key().jwk_thumbprint(),
            key,
        }
    }

    fn proof(&self, issuer: &Issuer, changes: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some("dpop+jwt".to_owned());
        header.jwk = Some(self.jwk.clone());
        let claims = json!({"jti": uuid::Uuid::now_v7().to_string(), "htm": "POST",
            "htu": format!("{}/oauth/token", issuer.url), "iat": issuer.now()});
        jsonwebtoken::encode(&header, &changed(claims, changes), &self.key).unwrap()
    }
}

struct Answer {
    status: u16,
    body: Value,
    nonce: Option<String>,
}

impl Answer {
    fn error(&self) -> &str {
        self.body["error"].as_str().unwrap_or_default()
    }
}

async fn ask(issuer: &Issuer, proofs: &[&str]) -> Answer {
    let form = [("grant_type", "client_credentials"), ("resource", RESOURCE)];
    let secret: String = form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
    let request = token_request(issuer, &form);
    sent(request.basic_auth(CONFIDENTIAL, Some(secret)), proofs).await
}

fn token_request(issuer: &Issuer, form: &[(&str, &str)]) -> RequestBuilder {
    Client::new()
        .post(format!("{}/oauth/token", issuer.url))
        .form(form)
}

async fn sent(mut request: RequestBuilder, proofs: &[&str]) -> Answer {
    for proof in proofs {
        request = request.header("DPoP", *proof);
    }
    let response = request.send().await.unwrap();
    let nonce = response.headers().get("dpop-nonce");
    let nonce = nonce.map(|n| n.to_str().unwrap().to_owned());
    Answer {
        status: response.status().as_u16(),
        nonce,
        body: response.json().await.unwrap(),
    }
}

/// A nonce, as a client gets its first.
async fn nonce(issuer: &Issuer, prover: &Prover) -> String {
    let first = ask(issuer, &[&prover.proof(issuer, &json!({}))]).await;
    assert_eq!((first.status, first.error()), (400, "use_dpop_nonce"));
    first.nonce.unwrap()
}

#[tokio::test]
async fn a_client_with_a_proof_gets_a_token_that_is_bound_to_its_key() {
    let issuer = Issuer::start().await;
    let prover = Prover::new();
    let nonce = nonce(&issuer, &prover).await;
    let good = ask(&issuer, &[&prover.proof(&issuer, &json!({"nonce": nonce}))]).await;
    assert_eq!(good.status, 200, "{}", good.body);
    assert_eq!(good.body["token_type"], "DPoP");
    let claims = issuer
        .claims(good.body["access_token"].as_str().unwrap())
        .await;
    assert_eq!(claims["cnf"], json!({"jkt": prover.thumbprint}));
    // The nonce of the answer is for the next request.
    let next = good.nonce.unwrap();
    let proof = prover.proof(&issuer, &json!({"nonce": next}));
    assert_eq!(ask(&issuer, &[&proof]).await.status, 200);
    // Without a proof it is as ever.
    let plain = ask(&issuer, &[]).await;
    assert_eq!(plain.body["token_type"], "Bearer");
    assert_eq!(plain.nonce, None);
    let claims = issuer
        .claims(plain.body["access_token"].as_str().unwrap())
        .await;
    assert!(claims.get("cnf").is_none());
}

#[tokio::test]
async fn a_proof_is_good_once_with_a_nonce_of_this_issuer_of_some_minutes() {
    let issuer = Issuer::start().await;
    let prover = Prover::new();
    let nonce = nonce(&issuer, &prover).await;
    let proof = prover.proof(&issuer, &json!({"nonce": nonce}));
    assert_eq!(ask(&issuer, &[&proof]).await.status, 200);
    let again = ask(&issuer, &[&proof]).await;
    assert_eq!((again.status, again.error()), (400, "invalid_dpop_proof"));
    let told = again.body["error_description"].as_str().unwrap();
    assert!(told.contains("used before"), "{told}");
    for made_up in ["", "x", &nonce[1..]] {
        let proof = prover.proof(&issuer, &json!({"nonce": made_up}));
        assert_eq!(ask(&issuer, &[&proof]).await.error(), "use_dpop_nonce");
    }
    issuer.pass(301);
    let late = prover.proof(&issuer, &json!({"nonce": nonce}));
    let late = ask(&issuer, &[&late]).await;
    assert_eq!(late.error(), "use_dpop_nonce");
    assert_ne!(late.nonce.unwrap(), nonce);
}

#[tokio::test]
async fn what_is_no_proof_for_this_request_is_refused() {
    let issuer = Issuer::start().await;
    let prover = Prover::new();
    let nonce = nonce(&issuer, &prover).await;
    for mut changes in [
        json!({"htm": "GET"}),
        json!({"htu": format!("{}/oauth/introspect", issuer.url)}),
        json!({"htu": "https://other.test/oauth/token"}),
        json!({"iat": issuer.now() - 120}),
        json!({"iat": issuer.now() + 60}),
        json!({"iat": null}),
        json!({"jti": null}),
    ] {
        changes["nonce"] = json!(nonce);
        let proof = prover.proof(&issuer, &changes);
        let refused = ask(&issuer, &[&proof]).await;
        assert_eq!(refused.error(), "invalid_dpop_proof", "{changes}");
        assert_eq!(refused.status, 400);
    }
    let proof = |n| prover.proof(&issuer, &json!({"nonce": nonce, "jti": n}));
    let twice = ask(&issuer, &[&proof("a"), &proof("b")]).await;
    assert_eq!(twice.error(), "invalid_dpop_proof");
    assert_eq!(ask(&issuer, &["x"]).await.error(), "invalid_dpop_proof");
}

#[tokio::test]
async fn a_client_that_only_uses_dpop_gets_nothing_without_it() {
    let issuer = Issuer::start().await;
    let strict = Agent {
        metadata: ClientMetadata {
            dpop_bound_access_tokens: true,
            ..ClientMetadata::default()
        },
        ..agent("strict", AuthMethod::Secret, &[])
    };
    issuer.add(&strict).await.unwrap();
    let form = [("grant_type", "client_credentials"), ("resource", RESOURCE)];
    let (status, answer) = issuer.token_with(Some(("strict", SECRET)), &form).await;
    assert_eq!(
        (status, answer["error"].as_str()),
        (400, Some("invalid_dpop_proof"))
    );
}

#[tokio::test]
async fn a_client_assertion_is_not_used_up_by_asking_for_a_nonce() {
    let issuer = Issuer::start().await;
    let prover = Prover::new();
    let text = issuer.assertion(&json!({}));
    let form = [
        ("grant_type", "client_credentials"),
        ("resource", RESOURCE),
        ("client_assertion_type", assertion::TYPE),
        ("client_assertion", text.as_str()),
    ];
    let send = async |proof: String| {
        let request = Client::new()
            .post(format!("{}/oauth/token", issuer.url))
            .form(&form)
            .header("DPoP", proof);
        request.send().await.unwrap()
    };
    let first = send(prover.proof(&issuer, &json!({}))).await;
    let nonce = first.headers()["dpop-nonce"].to_str().unwrap().to_owned();
    let second = send(prover.proof(&issuer, &json!({"nonce": nonce}))).await;
    assert_eq!(second.status(), 200);
    let body: Value = second.json().await.unwrap();
    let claims = issuer.claims(body["access_token"].as_str().unwrap()).await;
    assert_eq!(claims["client_id"], ROBOT);
    assert_eq!(claims["cnf"]["jkt"], json!(prover.thumbprint));
}

#[tokio::test]
async fn the_metadata_name_the_algorithms_of_proofs() {
    let issuer = Issuer::start().await;
    let url = format!("{}/.well-known/oauth-authorization-server", issuer.url);
    let metadata: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    assert_eq!(
        metadata["dpop_signing_alg_values_supported"],
        json!(["ES256", "EdDSA"])
    );
}

#[tokio::test]
async fn a_public_clients_refresh_token_is_good_with_the_key_it_was_given_to_only() {
    let issuer = Issuer::start().await;
    let (holder, thief) = (Prover::new(), Prover::new());
    let nonce = nonce(&issuer, &holder).await;
    let proof = |prover: &Prover| prover.proof(&issuer, &json!({"nonce": nonce}));
    let code = Browser::new(&issuer)
        .code(&Request::new().with("client_id", LASTING))
        .await;
    let redeem = [
        ("grant_type", "authorization_code"),
        ("client_id", LASTING),
        ("code", code.as_str()),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
    ];
    let first = sent(token_request(&issuer, &redeem), &[&proof(&holder)]).await;
    assert_eq!(first.status, 200, "{}", first.body);
    let refresh = [
        ("grant_type", "refresh_token"),
        ("client_id", LASTING),
        (
            "refresh_token",
            first.body["refresh_token"].as_str().unwrap(),
        ),
    ];
    let (stolen, bare) = (proof(&thief), token_request(&issuer, &refresh));
    assert_eq!(sent(bare, &[]).await.status, 400, "without a proof");
    let by_thief = sent(token_request(&issuer, &refresh), &[&stolen]).await;
    assert_eq!(
        (by_thief.status, by_thief.error()),
        (400, "invalid_dpop_proof")
    );
    // Neither spoiled it for its holder.
    let again = sent(token_request(&issuer, &refresh), &[&proof(&holder)]).await;
    assert_eq!(again.status, 200, "{}", again.body);
    assert_eq!(again.body["token_type"], "DPoP");
    let claims = issuer
        .claims(again.body["access_token"].as_str().unwrap())
        .await;
    assert_eq!(claims["cnf"]["jkt"], holder.thumbprint.as_str());
}
