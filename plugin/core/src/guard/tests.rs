use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jwt_simple::prelude::{Ed25519KeyPair, EdDSAKeyPairLike as _};
use serde_json::{Value as Json, json};

use super::*;
use crate::message::{SESSION_CLOSE, STREAM_OPEN};
use crate::token::{KeySet, Verifier};

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://issuer.example";
const GUARDED: Guarded<'static> = Guarded {
    server: "ledger",
    audience: "urn:ledger",
    issuer: ISSUER,
};
const CALL: &[u8] = br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"getBalance","arguments":{"account":"4711"}}}"#;
const LIST: &[u8] = br#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#;

struct Issuer {
    key: Ed25519KeyPair,
    verifier: Verifier,
}

impl Issuer {
    fn new() -> Self {
        let key = Ed25519KeyPair::generate();
        let mut jwk: Json = serde_json::from_str(&key.public_key().to_jwk()).unwrap();
        jwk["kid"] = json!("k");
        let mut verifier = Verifier::new(5, 16);
        let keys = KeySet::from_jwks(&json!({"keys": [jwk]})).unwrap();
        verifier.trust(ISSUER, keys, &["at+jwt"]);
        Self { key, verifier }
    }

    fn sign(&self, claims: &Json) -> String {
        let part = |json: &Json| URL_SAFE_NO_PAD.encode(json.to_string());
        let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "k"});
        let input = format!("{}.{}", part(&header), part(claims));
        let signature = self.key.key_pair().as_ref().sk.sign(input.as_bytes(), None);
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn judge(&mut self, headers: &[(&str, &str)], request: Request<'_>) -> Result<Passed, Refusal> {
        let headers = headers
            .iter()
            .map(|(name, value)| (*name, value.as_bytes()));
        let presented = Presented::read(headers);
        let admitted = admit(&presented, &GUARDED, |token| {
            self.verifier.verify(token, NOW)
        })?;
        admitted.check(request)
    }

    /// The kind that `headers` are taken for.
    fn kind(&mut self, headers: &[(&str, &str)]) -> Credential {
        let refusal = self.judge(headers, Request::Message(CALL)).unwrap_err();
        refusal.rogue().unwrap().credential
    }

    fn difference(&mut self, claims: &Json, request: Request<'_>) -> Difference {
        let bearer = format!("Bearer {}", self.sign(claims));
        match self.judge(&[("authorization", &bearer)], request) {
            Err(Refusal::NotForThis { rogue, difference }) => {
                assert_eq!(rogue.owner.unwrap().subject, "alice");
                difference
            }
            other => panic!("{other:?}"),
        }
    }
}

fn claims(order: Json) -> Json {
    json!({"iss": ISSUER, "sub": "alice", "aud": "urn:ledger", "client_id": "assistant", "iat": NOW - 1, "exp": NOW + 30,
        "jti": "j1", "txn": "t1", "act": {"sub": "edge"}, "authorization_details": [order]})
}

fn order(method: &str, target: Option<&str>, body: &[u8]) -> Json {
    let mut order = json!({"type": "mcp_request", "server": "ledger", "method": method,
        "content_digest": content_digest(body)});
    if let Some(target) = target {
        order["target"] = json!(target);
    }
    order
}

fn call() -> Json {
    claims(order("tools/call", Some("getBalance"), CALL))
}

fn discovery() -> Json {
    claims(json!({"type": "mcp_discovery", "server": "ledger"}))
}

#[test]
fn a_minted_token_passes_with_its_message_and_is_to_be_spent() {
    let mut issuer = Issuer::new();
    let bearer = format!("Bearer {}", issuer.sign(&call()));
    let digest = content_digest(CALL);
    for headers in [
        vec![("authorization", bearer.as_str())],
        vec![
            ("authorization", bearer.as_str()),
            ("content-digest", digest.as_str()),
            ("cookie", "a=b"),
        ],
    ] {
        let passed = issuer.judge(&headers, Request::Message(CALL)).unwrap();
        assert_eq!(passed.message.target(), Some("getBalance"));
        assert_eq!(passed.accepted.claims.subject, "alice");
        let spend = Spend {
            token_id: "j1".to_owned(),
            issued: NOW - 1,
            expires: NOW + 30,
        };
        assert_eq!(passed.spend, Some(spend));
    }
}

#[test]
fn a_request_without_a_body_passes_on_a_token_for_it() {
    let mut issuer = Issuer::new();
    let close = claims(order(SESSION_CLOSE, None, b""));
    let bearer = format!("Bearer {}", issuer.sign(&close));
    let passed = issuer.judge(
        &[("authorization", &bearer)],
        Request::Bodiless(SESSION_CLOSE),
    );
    assert!(passed.unwrap().spend.is_some());
    let stream = issuer.difference(&close, Request::Bodiless(STREAM_OPEN));
    assert_eq!(stream, Difference::Method);

    let bearer = format!("Bearer {}", issuer.sign(&discovery()));
    let passed = issuer.judge(
        &[("authorization", &bearer)],
        Request::Bodiless(STREAM_OPEN),
    );
    assert!(passed.unwrap().spend.is_none());
    let closing = issuer.difference(&discovery(), Request::Bodiless(SESSION_CLOSE));
    assert_eq!(closing, Difference::Discovery);
}

#[test]
fn a_discovery_token_is_good_for_looking_around_only() {
    let mut issuer = Issuer::new();
    let bearer = format!("Bearer {}", issuer.sign(&discovery()));
    for _ in 0..3 {
        let passed = issuer.judge(&[("authorization", &bearer)], Request::Message(LIST));
        assert!(passed.unwrap().spend.is_none());
    }
    let called = issuer.difference(&discovery(), Request::Message(CALL));
    assert_eq!(called, Difference::Discovery);
}

#[test]
fn a_changed_body_is_refused_to_the_byte() {
    let mut issuer = Issuer::new();
    for at in 0..CALL.len() {
        let mut body = CALL.to_vec();
        body[at] ^= 1;
        let difference = issuer.difference(&call(), Request::Message(&body));
        assert_eq!(difference, Difference::Body, "{at}");
    }
    let longer = [CALL, b" "].concat();
    let longer = issuer.difference(&call(), Request::Message(&longer));
    assert_eq!(longer, Difference::Body);
    let none = issuer.difference(&call(), Request::Bodiless(STREAM_OPEN));
    assert_eq!(none, Difference::Body);
}

#[test]
fn a_token_for_another_method_target_or_server_is_refused() {
    let mut issuer = Issuer::new();
    let with = |change: &dyn Fn(&mut Json)| {
        let mut claims = call();
        change(&mut claims);
        claims
    };
    let details = |name: &'static str, value: Json| {
        with(&move |claims| claims["authorization_details"][0][name] = value.clone())
    };
    let cases = [
        (
            with(&|claims| claims["aud"] = json!("urn:other")),
            Difference::Server,
        ),
        (
            with(&|claims| claims["aud"] = json!(["urn:ledger", "urn:other"])),
            Difference::Server,
        ),
        (details("server", json!("other")), Difference::Server),
        (details("method", json!("prompts/get")), Difference::Method),
        (details("target", json!("getPayroll")), Difference::Target),
        (details("target", Json::Null), Difference::Target),
        (
            details("content_digest", json!(content_digest(LIST))),
            Difference::Body,
        ),
        (details("content_digest", json!("")), Difference::Body),
        (details("content_digest", json!(1)), Difference::Details),
        (details("more", json!(1)), Difference::Details),
        (
            with(&|claims| claims["authorization_details"] = json!([])),
            Difference::Details,
        ),
        (
            with(&|claims| {
                let order = claims["authorization_details"][0].clone();
                claims["authorization_details"] = json!([order, order]);
            }),
            Difference::Details,
        ),
        (
            with(&|claims| {
                claims
                    .as_object_mut()
                    .unwrap()
                    .remove("authorization_details");
            }),
            Difference::Details,
        ),
        (
            with(&|claims| {
                claims.as_object_mut().unwrap().remove("jti");
            }),
            Difference::Details,
        ),
        (
            with(&|claims| {
                claims.as_object_mut().unwrap().remove("iat");
            }),
            Difference::Details,
        ),
        (
            with(&|claims| claims["cnf"] = json!({"jkt": "x"})),
            Difference::Details,
        ),
    ];
    for (claims, expected) in cases {
        let difference = issuer.difference(&claims, Request::Message(CALL));
        assert_eq!(difference, expected, "{claims}");
    }
}

#[test]
fn a_content_digest_that_says_otherwise_is_refused() {
    let mut issuer = Issuer::new();
    let (call, look) = (issuer.sign(&call()), issuer.sign(&discovery()));
    let (call, look) = (format!("Bearer {call}"), format!("Bearer {look}"));
    let (of_call, of_list) = (content_digest(CALL), content_digest(LIST));
    let both = format!("{of_call}, sha-512=:AA==:");
    for (token, body, digests) in [
        (&call, CALL, vec![of_list.as_str()]),
        (&call, CALL, vec![of_call.as_str(), of_call.as_str()]),
        (&call, CALL, vec![both.as_str()]),
        (&look, LIST, vec![of_call.as_str()]),
    ] {
        let mut headers = vec![("authorization", token.as_str())];
        headers.extend(digests.iter().map(|digest| ("content-digest", *digest)));
        let refusal = issuer.judge(&headers, Request::Message(body)).unwrap_err();
        let Refusal::NotForThis { difference, .. } = refusal else {
            panic!("{refusal:?}")
        };
        assert_eq!(difference, Difference::DigestHeader);
    }
}

#[test]
fn a_signed_body_that_is_no_message_is_refused_without_suspicion() {
    let mut issuer = Issuer::new();
    for body in [b"[]".as_slice(), b"{\"a\":1,\"a\":1}", b""] {
        let claims = claims(order("tools/call", None, body));
        let bearer = format!("Bearer {}", issuer.sign(&claims));
        let refusal = issuer
            .judge(&[("authorization", &bearer)], Request::Message(body))
            .unwrap_err();
        assert!(matches!(refusal, Refusal::Message(_)), "{refusal:?}");
        assert_eq!(refusal.rogue(), None);
    }
}

#[test]
fn what_was_not_minted_is_named_for_what_it_looks_like() {
    let mut issuer = Issuer::new();
    let foreign = {
        let mut claims = call();
        claims["iss"] = json!("https://idp.example");
        format!("Bearer {}", issuer.sign(&claims))
    };
    let expired = {
        let mut claims = call();
        claims["exp"] = json!(NOW - 5);
        format!("Bearer {}", issuer.sign(&claims))
    };
    let early = {
        let mut claims = call();
        claims["nbf"] = json!(NOW + 6);
        format!("Bearer {}", issuer.sign(&claims))
    };
    let own = {
        let mut claims = call();
        let all = claims.as_object_mut().unwrap();
        for name in ["authorization_details", "act", "txn"] {
            all.remove(name);
        }
        claims["aud"] = json!("https://gateway.example/ledger/mcp");
        issuer.sign(&claims)
    };
    let (own_bearer, own_dpop) = (format!("Bearer {own}"), format!("DPoP {own}"));
    let minted = issuer.sign(&call());
    let forged = format!("Bearer {}x", &minted[..minted.len() - 1]);
    let (dpop, twice) = (format!("DPoP {minted}"), format!("Bearer {minted}"));
    let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    let (password, pat) = (basic("alice:hunter2"), basic("alice:ghp_abc"));
    let sigv4 = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00";
    let cases: &[(&[(&str, &str)], Credential)] = &[
        (&[("authorization", &foreign)], Credential::Jwt),
        (&[("authorization", &expired)], Credential::Expired),
        (&[("authorization", &early)], Credential::Forged),
        (&[("authorization", &forged)], Credential::Forged),
        (&[("authorization", &own_bearer)], Credential::CallerToken),
        (&[("authorization", &own_dpop)], Credential::CallerToken),
        (&[("authorization", &dpop)], Credential::WrongBinding),
        (
            &[("authorization", &twice), ("authorization", "Bearer x")],
            Credential::Opaque,
        ),
        (
            &[("authorization", &twice), (":path", "/mcp?access_token=x")],
            Credential::Opaque,
        ),
        (
            &[("authorization", "Bearer github_pat_a")],
            Credential::GitHub,
        ),
        (&[("authorization", "token ghp_a")], Credential::GitHub),
        (&[("authorization", "bearer glpat-a")], Credential::GitLab),
        (&[("authorization", "ghs_a")], Credential::GitHub),
        (&[("authorization", "Bearer xoxb-1")], Credential::Slack),
        (&[("authorization", "Bearer npm_a")], Credential::Npm),
        (
            &[("authorization", "Bearer sk-proj-a")],
            Credential::SecretKey,
        ),
        (
            &[("x-api-key", "sk-ant-api03-a"), ("cookie", "a=b")],
            Credential::Anthropic,
        ),
        (&[("private-token", "glpat-a")], Credential::GitLab),
        (&[("authorization", sigv4)], Credential::Aws),
        (&[("authorization", &password)], Credential::Basic),
        (&[("authorization", &pat)], Credential::GitHub),
        (&[("authorization", "Bearer hunter2")], Credential::Opaque),
        (&[("authorization", "Negotiate YII=")], Credential::Opaque),
        (&[("authorization", "")], Credential::Opaque),
        (&[("cookie", "a=b")], Credential::Cookie),
        (&[(":path", "/mcp?access_token=x")], Credential::Opaque),
        (&[], Credential::None),
    ];
    for (headers, expected) in cases {
        assert_eq!(issuer.kind(headers), *expected, "{headers:?}");
    }
}

#[test]
fn a_rogue_says_whose_it_is_and_never_what_it_is() {
    let mut issuer = Issuer::new();
    let secret = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";
    let bearer = format!("Bearer {secret}");
    let refusal = issuer
        .judge(&[("authorization", &bearer)], Request::Message(CALL))
        .unwrap_err();
    let told = format!("{refusal} {refusal:?}");
    assert!(!told.contains(&secret[..12]), "{told}");

    let mut foreign = call();
    foreign["iss"] = json!("ü".repeat(1000));
    foreign["sub"] = json!("mallory");
    let token = issuer.sign(&foreign);
    let bearer = format!("Bearer {token}");
    let refusal = issuer
        .judge(&[("authorization", &bearer)], Request::Message(CALL))
        .unwrap_err();
    let rogue = refusal.rogue().unwrap();
    assert_eq!(rogue.owner, None, "nobody has checked whose it is");
    assert_eq!(rogue.issuer.as_ref().unwrap().len(), 256);
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let presented = Presented::read([("authorization", b"Bearer \xff".as_slice())]);
    let refusal = admit(&presented, &GUARDED, |_| panic!("nothing to verify")).unwrap_err();
    let kind = refusal.rogue().unwrap().credential;
    assert_eq!(kind, Credential::Opaque);
}
