//! A token service that is down, slow, talks nonsense or mints the wrong token: 503 with a JSON-RPC error and
//! `Retry-After`, and nothing is forwarded.

mod bad;

use std::time::{Duration, Instant};

use bad::faulty::{Fault, Faulty};
use bad::{
    Answer, Post, TOOL, a_good_call_succeeds, assert_nothing_reached, deployment,
    deployment_and_signer, good_message, jsonrpc_error,
};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use writ_tests::deployment::{Deployment, gateway_yaml};
use writ_tests::envoy::{self, Envoy};
use writ_tests::registrations::{AUDIENCE, BATCH, GATEWAY, SERVER};
use writ_tests::signer::{ACCESS_TOKEN, Signer, unix_now};
use writ_tests::wait::{PATIENCE, until};

/// The shipped timeout is 1 s: an answer has to come soon after.
const SOON: Duration = Duration::from_secs(5);

fn assert_unavailable(answer: &Answer, case: &str) {
    assert_eq!(answer.status, 503, "{case}: {answer}");
    jsonrpc_error(answer, case);
    let retry_after = answer
        .header("retry-after")
        .and_then(|seconds| seconds.parse::<u32>().ok());
    assert!(
        retry_after.is_some_and(|seconds| seconds > 0),
        "{case}: no Retry-After in {answer}"
    );
}

/// A second gateway whose token service goes wrong when told to.
async fn gateway_with_faults(deployment: &Deployment) -> (Envoy, Faulty) {
    let faulty = Faulty::before(deployment.service.gateway_port()).await;
    // The server is registered with the address of the first gateway.
    let yaml = gateway_yaml(deployment.ledger.address().port(), faulty.address.port())
        .and_then(|yaml| {
            let skew = r#""clock_skew": "5s""#;
            yaml.replace(skew, &format!(r#""allowed_hosts": ["*"], {skew}"#))
        })
        .unwrap();
    let options = envoy::Options {
        name: "envoy-faulty".to_owned(),
        env: vec![(
            "WRIT_GATEWAY_SECRET".to_owned(),
            deployment.registered.gateway_secret.clone(),
        )],
        ..envoy::Options::default()
    };
    let envoy = Envoy::start(&deployment.scratch, yaml, options)
        .await
        .unwrap();
    let http = deployment.http.clone();
    let metadata = envoy.url("/.well-known/oauth-protected-resource/mcp");
    until("the second gateway's snapshot", PATIENCE, async || {
        let answer = http.get(&metadata).send().await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await
    .unwrap();
    (envoy, faulty)
}

/// The claims of the token the service would mint for the good message.
fn minted_claims(deployment: &Deployment, changes: &Value) -> Value {
    let digest = BASE64_STANDARD.encode(Sha256::digest(good_message()));
    let now = unix_now();
    let mut claims = json!({
        "iss": deployment.service.issuer(), "sub": BATCH, "aud": AUDIENCE, "client_id": BATCH, "scope": "ledger:read",
        "jti": uuid::Uuid::now_v7().to_string(), "txn": uuid::Uuid::now_v7().to_string(), "iat": now, "exp": now + 30,
        "act": { "sub": GATEWAY, "act": { "sub": BATCH } },
        "authorization_details": [{
            "type": "mcp_request", "server": SERVER, "method": "tools/call", "target": TOOL,
            "content_digest": format!("sha-256=:{digest}:"),
        }],
    });
    let map = claims.as_object_mut().expect("claims are an object");
    map.extend(changes.as_object().expect("changes are an object").clone());
    claims
}

fn token_answer(token: &str) -> Fault {
    let body = json!({
        "access_token": token, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "token_type": "Bearer", "expires_in": 30, "scope": "ledger:read", "txn": "t", "jti": "j",
    });
    Fault::Answer {
        status: 200,
        content_type: "application/json",
        body: body.to_string().into_bytes(),
    }
}

fn garbage() -> Vec<(&'static str, Fault)> {
    let answer = |status, content_type, body: &[u8]| Fault::Answer {
        status,
        content_type,
        body: body.to_vec(),
    };
    vec![
        ("no body", answer(200, "application/json", b"")),
        ("not JSON", answer(200, "text/html", b"<html>hello</html>")),
        ("a list", answer(200, "application/json", b"[]")),
        (
            "no token",
            answer(200, "application/json", br#"{"token_type":"Bearer"}"#),
        ),
        (
            "a token that is a number",
            answer(
                200,
                "application/json",
                br#"{"access_token":1,"token_type":"Bearer"}"#,
            ),
        ),
        (
            "not UTF-8",
            answer(200, "application/json", b"{\"access_token\":\"\xff\xfe\"}"),
        ),
        ("an empty token", token_answer("")),
        ("a token with a line break", token_answer("a\r\nx-evil: 1")),
        ("not a JWT", token_answer("opaque")),
        ("a very long token", token_answer(&"x".repeat(100_000))),
        ("an error without a body", answer(500, "text/plain", b"")),
        (
            "an error page",
            answer(502, "text/html", b"<html>bad gateway</html>"),
        ),
        ("a redirect", answer(302, "text/plain", b"")),
        (
            "an unknown error",
            answer(400, "application/json", br#"{"error":"what_is_this"}"#),
        ),
        (
            "the gateway is unknown",
            answer(401, "application/json", br#"{"error":"invalid_client"}"#),
        ),
        (
            "the audit is full",
            answer(
                503,
                "application/json",
                br#"{"error":"temporarily_unavailable"}"#,
            ),
        ),
    ]
}

fn wrong_tokens(deployment: &Deployment, signer: &Signer) -> Vec<(&'static str, Fault)> {
    let with = |changes: Value| {
        signer
            .sign(ACCESS_TOKEN, &minted_claims(deployment, &changes))
            .unwrap()
    };
    let details = |changes: Value| {
        let mut claims = minted_claims(deployment, &json!({}));
        let details = claims["authorization_details"][0]
            .as_object_mut()
            .expect("details are an object");
        details.extend(changes.as_object().expect("changes are an object").clone());
        with(json!({ "authorization_details": claims["authorization_details"] }))
    };
    vec![
        (
            "for another server's audience",
            token_answer(&with(json!({ "aud": "urn:example:payroll" }))),
        ),
        (
            "for the public resource",
            token_answer(&with(json!({ "aud": deployment.url() }))),
        ),
        (
            "for another server",
            token_answer(&details(json!({ "server": "payroll" }))),
        ),
        (
            "for another tool",
            token_answer(&details(json!({ "target": "transfer" }))),
        ),
        (
            "for other arguments",
            token_answer(&details(json!({ "content_digest": "sha-256=:AAAA:" }))),
        ),
        (
            "for another user",
            token_answer(&with(json!({ "sub": "mallory" }))),
        ),
    ]
}

#[tokio::test]
async fn an_answer_that_is_not_the_token_asked_for_is_503_and_goes_nowhere() {
    let (deployment, signer) = deployment_and_signer("bad-service").await;
    let (envoy, faulty) = gateway_with_faults(&deployment).await;
    let token = deployment.batch_token().await.unwrap();
    for (name, fault) in garbage()
        .into_iter()
        .chain(wrong_tokens(&deployment, &signer))
    {
        faulty.go_wrong(fault);
        let answer = Post::good(&token).send(envoy.listener()).await;
        assert_unavailable(&answer, name);
        assert_nothing_reached(&deployment, name);
    }
    faulty.go_wrong(Fault::None);
    let answer = Post::good(&token).send(envoy.listener()).await;
    assert_eq!(
        answer.status, 200,
        "the same worker, with a good answer again: {answer}"
    );
    a_good_call_succeeds(&deployment).await;
}

#[tokio::test]
async fn a_forged_answer_without_a_defect_is_forwarded() {
    let (deployment, signer) = deployment_and_signer("good-service").await;
    let (envoy, faulty) = gateway_with_faults(&deployment).await;
    let minted = signer
        .sign(ACCESS_TOKEN, &minted_claims(&deployment, &json!({})))
        .unwrap();
    faulty.go_wrong(token_answer(&minted));
    let token = deployment.batch_token().await.unwrap();
    let answer = Post::good(&token).send(envoy.listener()).await;
    assert_eq!(
        answer.status, 200,
        "the test above would pass for the wrong reason: {answer}"
    );
    let reached = deployment
        .ledger
        .tap()
        .last_call(TOOL)
        .expect("the call reached the server");
    assert_eq!(reached.bearer(), Some(minted.as_str()));
}

#[tokio::test]
async fn a_token_service_that_says_nothing_is_503_soon() {
    let deployment = deployment("bad-slow").await;
    let (envoy, faulty) = gateway_with_faults(&deployment).await;
    let token = deployment.batch_token().await.unwrap();
    faulty.go_wrong(Fault::Silence);
    let start = Instant::now();
    let answer = Post::good(&token).send(envoy.listener()).await;
    assert_unavailable(&answer, "silence");
    assert!(start.elapsed() < SOON, "it took {:?}", start.elapsed());
    assert_nothing_reached(&deployment, "silence");
    faulty.go_wrong(Fault::None);
    let answer = Post::good(&token).send(envoy.listener()).await;
    assert_eq!(
        answer.status, 200,
        "the same worker, with an answer again: {answer}"
    );
}

#[tokio::test]
async fn a_token_service_that_is_down_is_503_until_it_is_back() {
    let mut deployment = deployment("bad-down").await;
    let token = deployment.batch_token().await.unwrap();
    deployment.service.stop();
    let start = Instant::now();
    let answer = Post::good(&token).send(deployment.envoy.listener()).await;
    assert_unavailable(&answer, "down");
    assert!(start.elapsed() < SOON, "it took {:?}", start.elapsed());
    assert_nothing_reached(&deployment, "down");
    deployment.service.serve().await.unwrap();
    until("a good answer again", PATIENCE, async || {
        let answer = Post::good(&token).send(deployment.envoy.listener()).await;
        (answer.status == 200).then_some(())
    })
    .await
    .unwrap();
    a_good_call_succeeds(&deployment).await;
}
