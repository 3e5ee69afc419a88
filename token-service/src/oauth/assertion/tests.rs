use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, Header};
use jwt_simple::prelude::{ES256KeyPair, Ed25519KeyPair, RS256KeyPair};
use serde_json::json;

use super::*;

const ISSUER: &str = "https://writ.test";
const CLIENT: &str = "robot";
const NOW: i64 = 1_800_000_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn claims() -> Value {
    json!({"iss": CLIENT, "sub": CLIENT, "aud": ISSUER, "exp": NOW + 60, "iat": NOW, "jti": "one"})
}

/// Verifies an assertion of a client with these registered keys.
fn verify(
    assertion: &str,
    client_id: &str,
    jwks: &Value,
    issuer: &str,
    now: Timestamp,
) -> Result<VerifiedAssertion, AssertionError> {
    read(assertion, client_id, issuer, now)?.verify(keys_of(jwks), now)
}

/// What the client holds: an Ed25519 key as PEM, and its public set.
struct Client {
    pem: String,
    jwks: Value,
}

impl Client {
    fn new() -> Self {
        let pair = Ed25519KeyPair::generate().with_key_id("k1");
        let jwk: Value = serde_json::from_str(&pair.public_key().to_jwk()).unwrap();
        Self {
            pem: pair.to_pem(),
            jwks: json!({ "keys": [jwk] }),
        }
    }

    /// Signed by a library that shares no code with the one that verifies.
    fn sign(&self, header: &Value, claims: &Value) -> String {
        let encode = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
        self.sign_text(&format!("{}.{}", encode(header), encode(claims)))
    }

    fn sign_text(&self, text: &str) -> String {
        let key = EncodingKey::from_ed_pem(self.pem.as_bytes()).unwrap();
        let signature =
            jsonwebtoken::crypto::sign(text.as_bytes(), &key, jsonwebtoken::Algorithm::EdDSA)
                .unwrap();
        format!("{text}.{signature}")
    }

    fn check(&self, header: &Value, claims: &Value) -> Result<VerifiedAssertion, AssertionError> {
        verify(
            &self.sign(header, claims),
            CLIENT,
            &self.jwks,
            ISSUER,
            now(),
        )
    }
}

fn header() -> Value {
    json!({"alg": "EdDSA", "kid": "k1", "typ": "JWT"})
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

fn without(mut object: Value, name: &str) -> Value {
    object.as_object_mut().unwrap().remove(name);
    object
}

#[test]
fn an_assertion_signed_with_the_registered_key_is_taken() {
    let client = Client::new();
    let verified = client.check(&header(), &claims()).unwrap();
    assert_eq!(verified.expires_at.as_second(), NOW + 65);
    assert!(client.check(&without(header(), "kid"), &claims()).is_ok());
    assert!(
        client
            .check(&header(), &with(claims(), "aud", json!([ISSUER])))
            .is_ok()
    );
    assert_eq!(
        claimed_client(&client.sign(&header(), &claims())).as_deref(),
        Some(CLIENT)
    );
}

#[test]
fn eddsa_may_be_called_by_its_curve() {
    let client = Client::new();
    let rfc_9864 = with(header(), "alg", json!("Ed25519"));
    assert!(client.check(&rfc_9864, &claims()).is_ok());
}

#[test]
fn every_algorithm_works_with_a_key_of_its_own_type() {
    let es = ES256KeyPair::generate();
    let rs = RS256KeyPair::generate(2048).unwrap();
    let keys = [es.public_key().to_jwk(), rs.public_key().to_jwk()];
    let keys: Vec<Value> = keys
        .iter()
        .map(|k| serde_json::from_str(k).unwrap())
        .collect();
    let jwks = json!({ "keys": keys });
    check_jwks(&jwks).unwrap();
    let es_key = EncodingKey::from_ec_pem(es.to_pem().unwrap().as_bytes()).unwrap();
    let rs_key = EncodingKey::from_rsa_pem(rs.to_pem().unwrap().as_bytes()).unwrap();
    for (algorithm, key) in [
        (jsonwebtoken::Algorithm::ES256, es_key),
        (jsonwebtoken::Algorithm::RS256, rs_key),
    ] {
        let assertion = jsonwebtoken::encode(&Header::new(algorithm), &claims(), &key).unwrap();
        assert!(
            verify(&assertion, CLIENT, &jwks, ISSUER, now()).is_ok(),
            "{algorithm:?}"
        );
    }
}

#[test]
fn no_algorithm_but_the_three_is_taken() {
    let client = Client::new();
    for alg in [
        "none", "None", "NONE", "nOnE", "HS256", "PS256", "ES384", "ed25519", "eddsa", "",
    ] {
        let refused = client.check(&with(header(), "alg", json!(alg)), &claims());
        assert_eq!(refused, Err(AssertionError::Algorithm), "{alg}");
    }
    let unsigned = client.sign(&header(), &claims());
    let unsigned = unsigned.rsplit_once('.').unwrap().0.to_owned() + ".";
    assert_eq!(
        verify(&unsigned, CLIENT, &client.jwks, ISSUER, now()),
        Err(AssertionError::Signature)
    );
}

#[test]
fn the_public_key_is_no_shared_secret() {
    let rs = RS256KeyPair::generate(2048).unwrap();
    let jwk: Value = serde_json::from_str(&rs.public_key().to_jwk()).unwrap();
    let jwks = json!({ "keys": [jwk] });
    let secret = EncodingKey::from_secret(rs.public_key().to_pem().unwrap().as_bytes());
    let forged = jsonwebtoken::encode(
        &Header::new(jsonwebtoken::Algorithm::HS256),
        &claims(),
        &secret,
    )
    .unwrap();
    assert_eq!(
        verify(&forged, CLIENT, &jwks, ISSUER, now()),
        Err(AssertionError::Algorithm)
    );
}

#[test]
fn an_algorithm_does_not_work_with_a_key_of_another_type() {
    let client = Client::new();
    for alg in ["ES256", "RS256"] {
        let refused = client.check(&with(header(), "alg", json!(alg)), &claims());
        assert_eq!(refused, Err(AssertionError::Signature), "{alg}");
    }
}

#[test]
fn an_assertion_cannot_bring_its_own_key_or_rules() {
    let client = Client::new();
    let attacks = [
        ("jku", json!("https://evil.test/jwks")),
        ("x5u", json!("https://evil.test/cert")),
        ("jwk", client.jwks["keys"][0].clone()),
        ("x5c", json!(["AAAA"])),
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
        ("typ", json!("dpop+jwt")),
        ("typ", json!("at+jwt")),
        ("kid", json!(7)),
    ];
    for (name, value) in attacks {
        let refused = client.check(&with(header(), name, value), &claims());
        assert_eq!(refused, Err(AssertionError::Header), "{name}");
    }
}

#[test]
fn a_kid_that_is_not_registered_finds_no_key() {
    let client = Client::new();
    for kid in ["k2", "../k1", "k1' OR '1'='1", ""] {
        let refused = client.check(&with(header(), "kid", json!(kid)), &claims());
        assert_eq!(refused, Err(AssertionError::Signature), "{kid}");
    }
}

#[test]
fn issuer_subject_and_audience_are_exact() {
    let client = Client::new();
    for name in ["iss", "sub"] {
        let other = client.check(&header(), &with(claims(), name, json!("other")));
        assert_eq!(other, Err(AssertionError::Subject), "{name}");
        assert_eq!(
            client.check(&header(), &without(claims(), name)),
            Err(AssertionError::Subject)
        );
    }
    for aud in [
        json!("https://writ.test/"),
        json!("https://writ.test/oauth/token"),
        json!([ISSUER, "https://other.test"]),
        json!([ISSUER, ISSUER]),
        json!([]),
        json!(null),
    ] {
        let refused = client.check(&header(), &with(claims(), "aud", aud.clone()));
        assert_eq!(refused, Err(AssertionError::Audience), "{aud}");
    }
}

#[test]
fn an_assertion_lives_minutes_and_has_a_jti() {
    let client = Client::new();
    for (name, value) in [
        ("exp", json!(NOW - 5)),
        ("exp", json!(NOW + 3700)),
        ("exp", json!("soon")),
        ("exp", json!(-1)),
        ("nbf", json!(NOW + 60)),
        ("iat", json!(NOW + 60)),
    ] {
        let refused = client.check(&header(), &with(claims(), name, value.clone()));
        assert_eq!(refused, Err(AssertionError::Time), "{name} = {value}");
    }
    assert_eq!(
        client.check(&header(), &without(claims(), "exp")),
        Err(AssertionError::Time)
    );
    for jti in [json!(""), json!(5), json!("x".repeat(257))] {
        let refused = client.check(&header(), &with(claims(), "jti", jti));
        assert_eq!(refused, Err(AssertionError::Jti));
    }
    assert_eq!(
        client.check(&header(), &without(claims(), "jti")),
        Err(AssertionError::Jti)
    );
}

#[test]
fn repeated_names_and_other_shapes_are_refused() {
    let client = Client::new();
    let encode = |v: &str| URL_SAFE_NO_PAD.encode(v);
    let twice = r#"{"iss":"robot","sub":"robot","sub":"robot","aud":"https://writ.test","exp":1800000060,"jti":"x"}"#;
    let text = format!("{}.{}", encode(&header().to_string()), encode(twice));
    let refused = verify(
        &client.sign_text(&text),
        CLIENT,
        &client.jwks,
        ISSUER,
        now(),
    );
    assert_eq!(refused, Err(AssertionError::NotAJwt));
    let good = client.sign(&header(), &claims());
    for bad in [
        String::new(),
        "a.b".into(),
        format!("{good}.x"),
        good.replace('.', ".."),
        "x".repeat(9000),
    ] {
        assert_eq!(
            verify(&bad, CLIENT, &client.jwks, ISSUER, now()),
            Err(AssertionError::NotAJwt)
        );
    }
}

#[test]
fn only_public_keys_of_the_three_kinds_can_be_registered() {
    let private: Value = serde_json::from_str(&Ed25519KeyPair::generate().to_jwk()).unwrap();
    for bad in [
        json!({}),
        json!({"keys": []}),
        json!({"keys": [private]}),
        json!({"keys": [{"kty": "oct", "k": "AAAA"}]}),
        json!({"keys": vec![Client::new().jwks["keys"][0].clone(); 17]}),
    ] {
        assert!(check_jwks(&bad).is_err(), "{bad}");
    }
    check_jwks(&Client::new().jwks).unwrap();
}

#[test]
fn the_digest_keeps_clients_apart() {
    assert_ne!(digest("a", "b"), digest("b", "a"));
    assert_ne!(digest("a", "b"), digest("ab", ""));
}
