use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::{Value, json};

use super::{Algorithm, KeyError, Keys};

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Verifies with a library that shares no code with the one that signs.
fn verified(token: &str, jwks: &Value) -> (jsonwebtoken::Header, Value) {
    let header = jsonwebtoken::decode_header(token).unwrap();
    let jwk = jwks["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|k| k["kid"].as_str() == header.kid.as_deref())
        .unwrap();
    let jwk: Jwk = serde_json::from_value(jwk.clone()).unwrap();
    let mut validation = Validation::new(header.alg);
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let key = DecodingKey::from_jwk(&jwk).unwrap();
    let claims = jsonwebtoken::decode::<Value>(token, &key, &validation).unwrap();
    (header, claims.claims)
}

#[test]
fn each_algorithm_signs_tokens_that_an_independent_library_verifies() {
    for algorithm in Algorithm::ALL {
        let home = tempfile::tempdir().unwrap();
        let keys = Keys::open(&home.path().join("keys"), algorithm).unwrap();
        let claims = json!({"iss": "https://issuer.test", "aud": "x", "exp": 4_000_000_000_u64});
        let (header, read) = verified(&keys.sign(&claims).unwrap(), keys.jwks());
        assert_eq!(read, claims);
        assert_eq!(header.typ.as_deref(), Some("at+jwt"));
        assert_eq!(format!("{:?}", header.alg), algorithm.name());
        assert_eq!(header.kid.as_deref(), Some(keys.kid()));
    }
}

#[test]
fn the_kid_is_the_thumbprint_of_rfc_7638() {
    let home = tempfile::tempdir().unwrap();
    let keys = Keys::open(home.path(), Algorithm::EdDsa).unwrap();
    let jwk: Jwk = serde_json::from_value(keys.jwks()["keys"][0].clone()).unwrap();
    let thumbprint = jwk
        .thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256)
        .unwrap();
    assert_eq!(keys.kid(), thumbprint);
}

#[test]
fn the_published_set_has_no_private_part() {
    for algorithm in Algorithm::ALL {
        let home = tempfile::tempdir().unwrap();
        let keys = Keys::open(home.path(), algorithm).unwrap();
        let key = keys.jwks()["keys"][0].as_object().unwrap();
        for private in ["d", "p", "q", "dp", "dq", "qi"] {
            assert!(
                !key.contains_key(private),
                "{algorithm} publishes {private}"
            );
        }
        assert_eq!(key["use"], "sig");
        assert_eq!(key["alg"], algorithm.name());
    }
}

#[test]
fn keys_are_made_once_and_for_their_owner_only() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("data/keys");
    let first = Keys::open(&directory, Algorithm::EdDsa).unwrap();
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("eddsa.pem")), 0o600);
    let again = Keys::open(&directory, Algorithm::EdDsa).unwrap();
    assert_eq!(first.kid(), again.kid());
    assert_eq!(
        fs::read_dir(&directory).unwrap().count(),
        1,
        "no unfinished file is left"
    );
}

#[test]
fn a_key_that_others_can_read_is_refused_by_name() {
    let home = tempfile::tempdir().unwrap();
    Keys::open(home.path(), Algorithm::EdDsa).unwrap();
    let file = home.path().join("eddsa.pem");
    for open_mode in [0o640, 0o604, 0o660] {
        fs::set_permissions(&file, fs::Permissions::from_mode(open_mode)).unwrap();
        let error = Keys::open(home.path(), Algorithm::EdDsa).unwrap_err();
        assert!(matches!(error, KeyError::Exposed { .. }));
        assert!(error.to_string().contains("eddsa.pem"), "{error}");
    }
}

#[test]
fn a_damaged_key_stops_the_service_instead_of_being_replaced() {
    let home = tempfile::tempdir().unwrap();
    Keys::open(home.path(), Algorithm::Es256).unwrap();
    let file = home.path().join("es256.pem");
    fs::write(&file, "-----BEGIN PRIVATE KEY-----\n").unwrap();
    let error = Keys::open(home.path(), Algorithm::Es256).unwrap_err();
    assert!(matches!(error, KeyError::Malformed { .. }), "{error}");
}

#[test]
fn after_a_change_of_algorithm_the_old_key_stays_published() {
    let home = tempfile::tempdir().unwrap();
    let old = Keys::open(home.path(), Algorithm::EdDsa).unwrap();
    let token = old.sign(&json!({"sub": "alice"})).unwrap();
    let new = Keys::open(home.path(), Algorithm::Es256).unwrap();
    assert_eq!(new.algorithm(), Algorithm::Es256);
    assert_eq!(verified(&token, new.jwks()).1["sub"], "alice");
}
