//! What went wrong in other issuers, tried on access tokens at this one: where a gateway exchanges them and where a server
//! asks about them. Beside these: a user or agent who is disabled is refused in `staleness`, a provider that is switched off
//! in the issuer's `federation`, a server that the gateway may not mint for in `exchange`.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use jwt_simple::prelude::Ed25519KeyPair;
use serde_json::{Value, json};
use writ_token_service::{
    audit::Kind,
    keys,
    store::keys::{KeyRow, Private},
};

use crate::harness::{Form, RESOURCE, Service, call, refusal};

/// A service whose private keys the test knows.
struct Known {
    service: Service,
    rows: Vec<KeyRow>,
}

impl Known {
    async fn start() -> Self {
        let service = Service::start().await;
        let rows = service.store().signing_keys().await.unwrap();
        Self { service, rows }
    }

    fn row(&self, alg: keys::Algorithm) -> (&str, &str) {
        let row = self.rows.iter().find(|row| row.alg == alg).unwrap();
        let Private::Clear(pem) = &row.private else {
            panic!("it is encrypted")
        };
        (&row.kid, pem)
    }

    /// Signs any header and any claims with the service's own key.
    fn signed(&self, header: &str, claims: &str) -> String {
        let (_, pem) = self.row(keys::Algorithm::EdDsa);
        let key = EncodingKey::from_ed_pem(pem.as_bytes()).unwrap();
        signed_by(&key, Algorithm::EdDSA, header, claims)
    }

    fn kid(&self) -> &str {
        self.row(keys::Algorithm::EdDsa).0
    }

    fn claims(&self) -> String {
        self.service.caller_claims().to_string()
    }

    /// Neither a gateway nor a server gets anything for it.
    async fn refuses(&self, token: &str, why: &str) {
        let form = Form::new(token, &call("echo"));
        let answer = refusal(self.service.exchange(&form).await).await;
        assert_eq!(answer, (400, "invalid_grant".to_owned()), "{why}");
        let said = self.service.introspect(&[("token", token)]).await;
        assert_eq!(said, json!({"active": false}), "{why}");
        let records = self.service.records().await;
        assert!(records.iter().all(|r| r.kind != Kind::Mint), "{why}");
    }

    async fn accepts(&self, token: &str) {
        let form = Form::new(token, &call("echo"));
        let response = self.service.exchange(&form).await;
        assert_eq!(response.status(), 200, "{:?}", response.text().await);
    }
}

fn signed_by(key: &EncodingKey, alg: Algorithm, header: &str, claims: &str) -> String {
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let signature = crypto::sign(message.as_bytes(), key, alg).unwrap();
    format!("{message}.{signature}")
}

fn unsigned(header: &Value, claims: &str, signature: &[u8]) -> String {
    format!(
        "{}.{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims),
        URL_SAFE_NO_PAD.encode(signature)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forged_below_would_be_good_if_it_were_not() {
    let known = Known::start().await;
    let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": known.kid()});
    let token = known.signed(&header.to_string(), &known.claims());
    known.accepts(&token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alg_none_is_no_signature_however_it_is_spelled() {
    let known = Known::start().await;
    for alg in [
        "none",
        "None",
        "NONE",
        "nOnE",
        "nonE",
        "none ",
        " none",
        "none\0",
        "n\u{043e}ne",
        "",
    ] {
        let header = json!({"alg": alg, "typ": "at+jwt", "kid": known.kid()});
        for signature in [&b""[..], b"x", &[0; 64]] {
            let token = unsigned(&header, &known.claims(), signature);
            known.refuses(&token, alg).await;
        }
    }
    for alg in [Value::Null, json!(["none"]), json!(0), json!({"none": 1})] {
        let header = json!({"alg": alg, "typ": "at+jwt", "kid": known.kid()});
        known
            .refuses(&unsigned(&header, &known.claims(), b""), "no text")
            .await;
    }
    let header = json!({"typ": "at+jwt", "kid": known.kid()});
    known
        .refuses(&unsigned(&header, &known.claims(), b""), "absent")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_key_is_no_hmac_secret() {
    let known = Known::start().await;
    let jwks = known.service.running.app.keys.jwks();
    for jwk in jwks["keys"].as_array().unwrap() {
        let texts = ["x", "n", "kid"]
            .into_iter()
            .filter_map(|m| jwk[m].as_str());
        let mut secrets: Vec<Vec<u8>> = vec![jwk.to_string().into_bytes()];
        for text in texts {
            secrets.push(text.as_bytes().to_vec());
            secrets.extend(URL_SAFE_NO_PAD.decode(text));
        }
        for secret in secrets {
            for alg in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
                let header = json!({"alg": format!("{alg:?}"), "typ": "at+jwt", "kid": jwk["kid"]});
                let key = EncodingKey::from_secret(&secret);
                let token = signed_by(&key, alg, &header.to_string(), &known.claims());
                known.refuses(&token, &format!("{alg:?}")).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_does_not_choose_the_key_it_is_checked_with() {
    let known = Known::start().await;
    let theirs = Ed25519KeyPair::generate().with_key_id("theirs");
    let key = EncodingKey::from_ed_pem(theirs.to_pem().as_bytes()).unwrap();
    let jwk: Value = serde_json::from_str(&theirs.public_key().to_jwk()).unwrap();
    for (member, value) in [
        ("jwk", jwk.clone()),
        ("jku", json!("https://evil.test/jwks")),
        ("x5u", json!("https://evil.test/chain.pem")),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
    ] {
        for kid in ["theirs", known.kid()] {
            let mut header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": kid});
            header[member] = value.clone();
            let header = header.to_string();
            let token = signed_by(&key, Algorithm::EdDSA, &header, &known.claims());
            known.refuses(&token, member).await;
            // Not even with a good signature: somebody may look at the header first.
            let ours = known.signed(&header, &known.claims());
            known.refuses(&ours, member).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kid_is_a_name_and_nothing_else() {
    let known = Known::start().await;
    let long = "k".repeat(4000);
    for kid in [
        "",
        "../../../../dev/null",
        "/dev/null",
        "' OR 1=1 --",
        "x' UNION SELECT 'secret",
        "https://evil.test/jwks",
        "file:///etc/passwd",
        "| cat /etc/passwd",
        "\0",
        &long,
    ] {
        let header = json!({"alg": "HS256", "typ": "at+jwt", "kid": kid}).to_string();
        let empty = EncodingKey::from_secret(b"");
        let token = signed_by(&empty, Algorithm::HS256, &header, &known.claims());
        known.refuses(&token, kid).await;
        let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": kid}).to_string();
        let token = known.signed(&header, &known.claims());
        known.refuses(&token, kid).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ecdsa_signature_of_zeros_signs_nothing() {
    let known = Known::start().await;
    let (kid, _) = known.row(keys::Algorithm::Es256);
    let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": kid});
    let order = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let (zero, mut one) = ([0; 32], [0; 32]);
    one[31] = 1;
    for (r, s) in [
        (zero, zero),
        (zero, one),
        (one, zero),
        (order, order),
        (order, zero),
        (zero, order),
    ] {
        let token = unsigned(&header, &known.claims(), &[r, s].concat());
        known.refuses(&token, "r and s").await;
    }
    for signature in [&b""[..], &[0x30, 0x06, 0x02, 0x01, 0, 0x02, 0x01, 0]] {
        let token = unsigned(&header, &known.claims(), signature);
        known.refuses(&token, "no 64 bytes").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_comes_twice_is_no_member() {
    let known = Known::start().await;
    let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": known.kid()}).to_string();
    let claims = known.claims();
    for twice in [
        r#"{"sub":"root","#,
        r#"{"aud":"urn:anything","#,
        r#"{"exp":9999999999,"#,
        r#"{"client_id":"helper","#,
        r#"{"groups":["admins"],"#,
        r#"{"su\u0062":"root","#,
    ] {
        let doubled = claims.replacen('{', twice, 1);
        known.refuses(&known.signed(&header, &doubled), twice).await;
    }
    let doubled = header.replacen('{', r#"{"alg":"none","#, 1);
    known.refuses(&known.signed(&doubled, &claims), "alg").await;
    let doubled = header.replacen('{', r#"{"typ":"JWT","#, 1);
    known.refuses(&known.signed(&doubled, &claims), "typ").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_or_anything_else_that_we_signed_is_no_access_token() {
    let known = Known::start().await;
    for typ in [
        "JWT",
        "jwt",
        "",
        "at+jwt ",
        "id_token",
        "logout+jwt",
        "dpop+jwt",
        "token-introspection+jwt",
        "secevent+jwt",
        "at+jwt+x",
    ] {
        let header = json!({"alg": "EdDSA", "typ": typ, "kid": known.kid()});
        let token = known.signed(&header.to_string(), &known.claims());
        known.refuses(&token, typ).await;
    }
    let untyped = json!({"alg": "EdDSA", "kid": known.kid()});
    let token = known.signed(&untyped.to_string(), &known.claims());
    known.refuses(&token, "no typ").await;
    // An ID token (OpenID Connect Core section 2): for the client, not for a server.
    let mut id_token = known.service.caller_claims();
    id_token["aud"] = json!("assistant");
    id_token["nonce"] = json!("n");
    let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": known.kid()});
    let token = known.signed(&header.to_string(), &id_token.to_string());
    known.refuses(&token, "an ID token").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_token_is_not_taken_for_a_signed_one() {
    let known = Known::start().await;
    let header = json!({"alg": "dir", "enc": "A256GCM", "typ": "at+jwt", "kid": known.kid()});
    let (header, claims) = (
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(known.claims()),
    );
    for token in [
        format!("{header}..{claims}.{claims}."),
        format!("{header}.{claims}.{claims}.{claims}.{claims}"),
        format!("{header}.{claims}.{claims}."),
        format!("{header}.{claims}"),
    ] {
        known.refuses(&token, "JWE").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_out_of_an_exchange_skips_no_check() {
    let service = Service::start().await;
    let good = Form::new(&service.caller_token(), &call("echo"));
    for name in [
        "grant_type",
        "subject_token",
        "subject_token_type",
        "resource",
        "authorization_details",
        "mcp_message",
        "mcp_context",
    ] {
        for form in [good.clone().without(name), good.clone().with(name, "")] {
            let (status, error) = refusal(service.exchange(&form).await).await;
            assert_eq!(status, 400, "{name}: {error}");
        }
    }
    let records = service.records().await;
    assert!(records.iter().all(|r| r.kind != Kind::Mint));
    // Nor does a claim that is left out of a token.
    for claim in ["sub", "aud", "client_id", "exp", "iss"] {
        let mut claims = service.caller_claims();
        claims.as_object_mut().unwrap().remove(claim);
        let form = Form::new(&service.sign(&claims), &call("echo"));
        let (status, _) = refusal(service.exchange(&form).await).await;
        assert_eq!(status, 400, "{claim}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_its_whole_name_and_not_how_it_begins() {
    let service = Service::start().await;
    for resource in [
        format!("{RESOURCE}/"),
        format!("{RESOURCE}2"),
        format!("{RESOURCE}?x"),
        RESOURCE.trim_end_matches("p").to_owned(),
        RESOURCE.to_uppercase(),
    ] {
        let mut claims = service.caller_claims();
        claims["aud"] = json!(resource);
        let form = Form::new(&service.sign(&claims), &call("echo"));
        let (status, _) = refusal(service.exchange(&form).await).await;
        assert_eq!(status, 400, "aud {resource}");
        let form =
            Form::new(&service.caller_token(), &call("echo")).with("resource", resource.as_str());
        let (status, _) = refusal(service.exchange(&form).await).await;
        assert_eq!(status, 400, "resource {resource}");
    }
}
