use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://issuer.example";

fn claims() -> Json {
    json!({"iss": ISSUER, "sub": "alice", "aud": "https://ledger.example/mcp", "client_id": "assistant", "scope": "read write",
        "iat": NOW - 10, "exp": NOW + 60, "jti": "1", "groups": ["finance"], "subject_type": "user",
        "agent_authn": "key", "department": "x"})
}

fn segment(json: &Json) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

fn with_signature(header: &Json, payload: &str, sign: impl FnOnce(&str) -> Vec<u8>) -> String {
    let input = format!("{}.{payload}", segment(header));
    let signature = sign(&input);
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

struct Issuer {
    pair: Ed25519KeyPair,
    verifier: Verifier,
}

impl Issuer {
    fn new() -> Self {
        let pair = Ed25519KeyPair::generate().with_key_id("k1");
        let mut jwk: Json =
            serde_json::from_str(&pair.public_key().with_key_id("k1").to_jwk()).unwrap();
        jwk["kid"] = json!("k1");
        let keys =
            KeySet::from_jwks(&json!({"keys": [jwk, {"kty": "oct", "kid": "x", "k": "AA"}]}))
                .unwrap();
        let mut verifier = Verifier::new(5, 16);
        verifier.trust(ISSUER, keys, &["at+jwt"]);
        Self { pair, verifier }
    }

    /// Signs any header and payload with the raw key, so that tests can make tokens no library would.
    fn sign(&self, header: &Json, payload: &str) -> String {
        with_signature(header, payload, |input| {
            self.pair
                .key_pair()
                .as_ref()
                .sk
                .sign(input.as_bytes(), None)
                .to_vec()
        })
    }

    fn token(&self, claims: &Json) -> String {
        self.sign(
            &json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "k1"}),
            &segment(claims),
        )
    }

    fn refuses(&mut self, token: &str) -> TokenError {
        self.verifier.verify(token, NOW).expect_err(token)
    }
}

fn changed(name: &str, value: Json) -> Json {
    let mut claims = claims();
    claims[name] = value;
    claims
}

#[test]
fn a_good_token_is_accepted_and_remembered() {
    let mut issuer = Issuer::new();
    let token = issuer.token(&claims());
    for _ in 0..3 {
        let accepted = issuer.verifier.verify(&token, NOW).unwrap();
        assert_eq!(accepted.claims.subject, "alice");
        assert_eq!(accepted.claims.groups, ["finance"]);
        assert_eq!(accepted.claims.scopes, ["read", "write"]);
        assert_eq!(accepted.claims.others.get("department"), Some(&json!("x")));
        assert!(accepted.claims.is_for("https://ledger.example/mcp"));
        assert!(!accepted.claims.is_for("https://ledger.example/mcp/"));
        assert!(!accepted.claims.minted);
    }
    assert_eq!(issuer.verifier.cache_use(), (2, 1));
}

#[test]
fn a_remembered_token_still_expires() {
    let mut issuer = Issuer::new();
    let token = issuer.token(&claims());
    assert!(issuer.verifier.verify(&token, NOW).is_ok());
    assert!(
        issuer.verifier.verify(&token, NOW + 64).is_ok(),
        "five seconds of skew"
    );
    assert_eq!(
        issuer.verifier.verify(&token, NOW + 65).unwrap_err(),
        TokenError::Expired
    );
}

#[test]
fn a_remembered_token_is_forgotten_when_the_keys_change() {
    let mut issuer = Issuer::new();
    let token = issuer.token(&claims());
    assert!(issuer.verifier.verify(&token, NOW).is_ok());
    let other = Ed25519KeyPair::generate();
    let mut jwk: Json = serde_json::from_str(&other.public_key().to_jwk()).unwrap();
    jwk["kid"] = json!("k2");
    issuer.verifier.trust(
        ISSUER,
        KeySet::from_jwks(&json!({"keys": [jwk]})).unwrap(),
        &["at+jwt"],
    );
    assert_eq!(issuer.refuses(&token), TokenError::UnknownKey);
}

#[test]
fn wrong_times_are_refused() {
    let mut issuer = Issuer::new();
    for (claims, error) in [
        (changed("exp", json!(NOW - 5)), TokenError::Expired),
        (changed("nbf", json!(NOW + 6)), TokenError::NotYetValid),
        (changed("iat", json!(NOW + 6)), TokenError::NotYetValid),
        (
            changed("exp", json!("never")),
            TokenError::Malformed("a time is not a number"),
        ),
        (
            changed("exp", json!(-1)),
            TokenError::Malformed("a time is out of range"),
        ),
        (
            changed("exp", Json::Null),
            TokenError::Malformed("a time is not a number"),
        ),
    ] {
        let token = issuer.token(&claims);
        assert_eq!(issuer.refuses(&token), error, "{claims}");
    }
}

#[test]
fn headers_that_lead_astray_are_refused() {
    let mut issuer = Issuer::new();
    let payload = segment(&claims());
    let header = |name: &str, value: Json| {
        let mut header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "k1"});
        header[name] = value;
        header
    };
    for (name, value, error) in [
        ("alg", json!("none"), TokenError::Algorithm),
        ("alg", json!("None"), TokenError::Algorithm),
        ("alg", json!("nOnE"), TokenError::Algorithm),
        ("alg", json!(""), TokenError::Algorithm),
        ("alg", json!("HS256"), TokenError::Algorithm),
        ("alg", json!("ES256"), TokenError::Signature),
        ("alg", json!("RS256"), TokenError::Signature),
        ("alg", json!(["EdDSA"]), TokenError::Algorithm),
        ("typ", json!("JWT"), TokenError::Type),
        ("typ", json!("id+jwt"), TokenError::Type),
        ("typ", json!(null), TokenError::Type),
        ("kid", json!("k2"), TokenError::UnknownKey),
        ("kid", json!("x"), TokenError::UnknownKey),
        ("kid", json!("../../k1"), TokenError::UnknownKey),
        ("kid", json!(1), TokenError::UnknownKey),
        (
            "jwk",
            json!({"kty": "OKP"}),
            TokenError::Malformed("its header brings its own key"),
        ),
        (
            "jku",
            json!("https://evil.example"),
            TokenError::Malformed("its header brings its own key"),
        ),
        (
            "x5u",
            json!("https://evil.example"),
            TokenError::Malformed("its header brings its own key"),
        ),
        (
            "x5c",
            json!(["AA"]),
            TokenError::Malformed("its header brings its own key"),
        ),
        (
            "crit",
            json!(["exp"]),
            TokenError::Malformed("its header has critical extensions"),
        ),
    ] {
        let token = issuer.sign(&header(name, value.clone()), &payload);
        assert_eq!(issuer.refuses(&token), error, "{name}: {value}");
    }
    let accepted = issuer.sign(&header("typ", json!("application/AT+JWT")), &payload);
    assert!(issuer.verifier.verify(&accepted, NOW).is_ok());
}

#[test]
fn hs256_with_the_public_key_as_secret_is_refused() {
    let mut issuer = Issuer::new();
    let key = HS256Key::from_bytes(&issuer.pair.public_key().to_bytes()).with_key_id("k1");
    let claims = jwt_simple::claims::Claims::create(Duration::from_secs(60)).with_issuer(ISSUER);
    let options = HeaderOptions {
        content_type: None,
        signature_type: Some("at+jwt".to_owned()),
    };
    let token = key.authenticate_with_options(claims, &options).unwrap();
    assert_eq!(issuer.refuses(&token), TokenError::Algorithm);
}

#[test]
fn tokens_that_are_not_what_they_seem_are_refused() {
    let mut issuer = Issuer::new();
    let good = issuer.token(&claims());
    let parts: Vec<_> = good.split('.').collect();
    let forged = format!(
        "{}.{}.{}",
        parts[0],
        segment(&changed("sub", json!("mallory"))),
        parts[2]
    );
    assert_eq!(issuer.refuses(&forged), TokenError::Signature);
    assert_eq!(
        issuer.refuses(&format!("{}.{}.", parts[0], parts[1])),
        TokenError::Signature
    );
    assert!(matches!(
        issuer.refuses(&format!("{good}.x")),
        TokenError::Malformed(_)
    ));
    assert!(matches!(
        issuer.refuses(&format!("{}=.{}.{}", parts[0], parts[1], parts[2])),
        TokenError::Malformed(_)
    ));
    assert!(matches!(issuer.refuses(""), TokenError::Malformed(_)));
    assert!(matches!(
        issuer.refuses("ghp_0123456789abcdef"),
        TokenError::Malformed(_)
    ));
    assert_eq!(
        issuer.refuses(&"a".repeat(MAX_TOKEN + 1)),
        TokenError::TooLong
    );

    let token = issuer.token(&changed("iss", json!("https://issuer.example/")));
    assert_eq!(issuer.refuses(&token), TokenError::Issuer);
    for name in ["iss", "sub", "client_id", "exp"] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        let token = issuer.token(&claims);
        assert!(
            matches!(issuer.refuses(&token), TokenError::Malformed(_)),
            "{name}"
        );
    }
    let twice = claims()
        .to_string()
        .replacen("\"sub\":", "\"sub\":\"mallory\",\"sub\":", 1);
    let token = issuer.sign(
        &json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "k1"}),
        &URL_SAFE_NO_PAD.encode(twice),
    );
    assert!(matches!(issuer.refuses(&token), TokenError::Malformed(_)));
}

#[test]
fn a_minted_token_is_recognised() {
    let mut issuer = Issuer::new();
    for details in [
        json!([{"type": "mcp_request"}]),
        json!([{"type": "x"}, {"type": "mcp_discovery"}]),
    ] {
        let token = issuer.token(&changed("authorization_details", details));
        assert!(issuer.verifier.verify(&token, NOW).unwrap().claims.minted);
    }
    let mut acting = changed("act", json!({"sub": "edge"}));
    acting["txn"] = json!("t");
    let token = issuer.token(&acting);
    assert!(issuer.verifier.verify(&token, NOW).unwrap().claims.minted);
}

#[test]
fn a_token_of_a_server_that_calls_the_next_one_is_a_callers_but_never_a_minted_one_in_its_clothes()
{
    let mut issuer = Issuer::new();
    let mut claims = changed("act", json!({"sub": "ledger", "act": {"sub": "edge"}}));
    claims["txn"] = json!("t");
    claims["chain"] = json!({"hops": 1});
    let token = issuer.token(&claims);
    assert!(!issuer.verifier.verify(&token, NOW).unwrap().claims.minted);
    claims["authorization_details"] = json!([{"type": "mcp_request", "server": "ledger"}]);
    let token = issuer.token(&claims);
    assert!(issuer.verifier.verify(&token, NOW).unwrap().claims.minted);
}

#[test]
fn es256_and_rs256_verify_too() {
    let es = ES256KeyPair::generate().with_key_id("es");
    let rs = RS256KeyPair::generate(2048).unwrap().with_key_id("rs");
    let jwk = |text: String, kid: &str| {
        let mut jwk: Json = serde_json::from_str(&text).unwrap();
        jwk["kid"] = json!(kid);
        jwk
    };
    let keys =
        json!({"keys": [jwk(es.public_key().to_jwk(), "es"), jwk(rs.public_key().to_jwk(), "rs")]});
    let mut verifier = Verifier::new(5, 16);
    verifier.trust(ISSUER, KeySet::from_jwks(&keys).unwrap(), &["at+jwt"]);
    let mut custom = claims();
    for name in ["iss", "sub", "aud", "iat", "exp", "jti"] {
        custom.as_object_mut().unwrap().remove(name);
    }
    let build = || {
        let mut built =
            jwt_simple::claims::Claims::with_custom_claims(custom.clone(), Duration::from_secs(60))
                .with_issuer(ISSUER)
                .with_subject("alice");
        built.issued_at = Some(Duration::from_secs(NOW));
        built.expires_at = Some(Duration::from_secs(NOW + 60));
        built
    };
    let options = HeaderOptions {
        content_type: None,
        signature_type: Some("at+jwt".to_owned()),
    };
    let token = es.sign_with_options(build(), &options).unwrap();
    assert!(verifier.verify(&token, NOW).is_ok());
    let token = rs.sign_with_options(build(), &options).unwrap();
    assert!(verifier.verify(&token, NOW).is_ok());
}

#[test]
fn a_key_set_that_cannot_be_used_is_refused() {
    for (jwks, wanted) in [
        (json!({}), "an array `keys`"),
        (json!({"keys": []}), "no signature key"),
        (
            json!({"keys": [{"kty": "oct", "kid": "a", "k": "AA"}]}),
            "no signature key",
        ),
        (
            json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "AA"}]}),
            "unusable",
        ),
    ] {
        let message = KeySet::from_jwks(&jwks).unwrap_err().to_string();
        assert!(message.contains(wanted), "{message}");
    }
}
