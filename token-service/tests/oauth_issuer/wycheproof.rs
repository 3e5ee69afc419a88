//! The JOSE vectors of the Wycheproof project, put to everything here that believes signatures.
//!
//! Their payloads are no claims, so that as tokens none of them may ever be accepted, whatever their signature; that a good
//! signature is told from a bad one is asked of the keys that the verifiers use.

use std::{collections::BTreeMap, path::PathBuf};

use jwt_simple::prelude::{
    ECDSAP256PublicKeyLike as _, ES256PublicKey, NoCustomClaims, RS256PublicKey,
    RSAPublicKeyLike as _,
};
use serde_json::{Value, json};
use writ_core::token::{KeySet, Verifier};
use writ_token_service::{
    audit::Kind,
    oauth::assertion,
    registry::{Agent, AuthMethod},
};

use crate::issuer::{Issuer, RESOURCE, agent};

const FILES: [&str; 4] = [
    "json_web_signature_test.json",
    "json_web_key_test.json",
    "json_web_encryption_test.json",
    "json_web_crypto_test.json",
];

struct Vector {
    name: String,
    /// The public key or keys that the vector comes with; none for symmetric ones.
    keys: Vec<Value>,
    text: String,
    valid: bool,
}

/// All vectors; none, and a word about it, without the folder.
fn vectors() -> Vec<Vector> {
    let Some(folder) = std::env::var_os("WRIT_WYCHEPROOF").map(PathBuf::from) else {
        #[allow(
            clippy::print_stderr,
            reason = "whoever reads the tests' output has to know"
        )]
        {
            eprintln!(
                "did not run: WRIT_WYCHEPROOF does not name the folder of the Wycheproof vectors"
            );
        }
        return Vec::new();
    };
    let mut vectors = Vec::new();
    for file in FILES {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        for group in document["testGroups"].as_array().unwrap() {
            let keys = public_keys(group);
            for test in group["tests"].as_array().unwrap() {
                let text = match test.get("jws").or_else(|| test.get("jwe")).unwrap() {
                    Value::String(compact) => compact.clone(),
                    // The JSON serialisation (RFC 7515 section 7.2).
                    json => json.to_string(),
                };
                vectors.push(Vector {
                    name: format!("{file} {} {}", test["tcId"], test["comment"]),
                    keys: keys.clone(),
                    text,
                    valid: test["result"] == "valid",
                });
            }
        }
    }
    assert!(vectors.len() > 600, "{} vectors", vectors.len());
    vectors
}

fn public_keys(group: &Value) -> Vec<Value> {
    let all = match (&group["public"], &group["private"]["keys"]) {
        (Value::Object(_), _) => vec![group["public"].clone()],
        (_, Value::Array(keys)) => keys.clone(),
        _ => vec![group["private"].clone()],
    };
    let public = all.into_iter().filter(|jwk| jwk["kty"] != "oct");
    public
        .map(|mut jwk| {
            for private in ["d", "p", "q", "dp", "dq", "qi"] {
                jwk.as_object_mut().unwrap().remove(private);
            }
            jwk
        })
        .collect()
}

/// Whether the signature is good, by the keys that the verifiers use: what is wrong with the payload comes after it.
fn signature_verifies(jwk: &Value, text: &str) -> Option<bool> {
    // A header that brings a key is refused before any signature is looked at.
    if jsonwebtoken::decode_header(text).map_or(true, |header| header.jwk.is_some()) {
        return Some(false);
    }
    let key = jwk.to_string();
    let verified = match jwk["alg"].as_str()? {
        "ES256" => ES256PublicKey::from_jwk(&key)
            .ok()?
            .verify_token::<NoCustomClaims>(text, None)
            .map(drop),
        "RS256" => RS256PublicKey::from_jwk(&key)
            .ok()?
            .verify_token::<NoCustomClaims>(text, None)
            .map(drop),
        _ => return None,
    };
    Some(match verified {
        Ok(()) => true,
        Err(error) => error.is::<serde_json::Error>(),
    })
}

#[test]
fn good_signatures_verify_and_bad_ones_never() {
    let (mut good, mut bad) = (0, 0);
    for vector in vectors() {
        let [jwk] = vector.keys.as_slice() else {
            continue;
        };
        // A key that nobody could register is looked at below.
        if assertion::check_jwks(&json!({ "keys": [jwk] })).is_err() {
            continue;
        }
        let Some(verifies) = signature_verifies(jwk, &vector.text) else {
            continue;
        };
        assert_eq!(verifies, vector.valid, "{}", vector.name);
        if vector.valid {
            good += 1;
        } else {
            bad += 1;
        }
    }
    if std::env::var_os("WRIT_WYCHEPROOF").is_some() {
        assert!(good >= 8 && bad >= 200, "{good} good and {bad} bad ones");
    }
}

#[test]
fn no_vector_is_an_access_token() {
    for vector in vectors() {
        let mut verifier = Verifier::new(0, 16);
        if let Ok(keys) = KeySet::from_jwks(&json!({ "keys": vector.keys })) {
            for issuer in ["", "joe", "https://issuer.test"] {
                let keys = KeySet::from_jwks(&json!({ "keys": vector.keys })).unwrap();
                verifier.trust(issuer, keys, &["at+jwt", "jwt", ""]);
            }
            drop(keys);
        }
        assert!(verifier.verify(&vector.text, 0).is_err(), "{}", vector.name);
    }
}

#[tokio::test]
async fn no_vector_proves_who_a_client_is() {
    let vectors = vectors();
    if vectors.is_empty() {
        return;
    }
    let unlimited = "[rate_limits]\nper_address = \"1000000/1m\"\nper_client = \"1000000/1m\"\n";
    let issuer = Issuer::start_from(unlimited, &[]).await;
    let store = &issuer.running.app.store;
    let mut registered: BTreeMap<String, String> = BTreeMap::new();
    let mut asked = 0;
    for vector in vectors {
        let jwks = json!({ "keys": vector.keys });
        if assertion::check_jwks(&jwks).is_err() {
            continue;
        }
        let next = format!("vector-{}", registered.len());
        let known = registered.get(&jwks.to_string()).cloned();
        if known.is_none() {
            let client = Agent {
                jwks: Some(jwks.clone()),
                ..agent(&next, AuthMethod::Key, &[])
            };
            store
                .add_agent(&client, jiff::Timestamp::now())
                .await
                .unwrap();
            registered.insert(jwks.to_string(), next.clone());
        }
        let client_id = known.unwrap_or(next);
        let (status, answer) = issuer
            .token(&[
                ("grant_type", "client_credentials"),
                ("resource", RESOURCE),
                ("client_id", &client_id),
                ("client_assertion_type", assertion::TYPE),
                ("client_assertion", &vector.text),
            ])
            .await;
        assert!(status == 401 || status == 400, "{}: {answer}", vector.name);
        asked += 1;
    }
    assert!(
        asked > 250,
        "{asked} vectors have a key that can be registered"
    );
    let records = issuer.records().await;
    assert!(records.iter().all(|r| r.kind != Kind::TokenIssued));
}
