//! Token exchange: what a gateway gets, and what it does not.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use reqwest::StatusCode;
use serde_json::{Value, json};
use writ_core::message::content_digest;
use writ_token_service::{
    audit::{Kind, Verdict},
    keys::Algorithm as SigningAlgorithm,
    store::{Store, audit::Filter},
};

use crate::harness::{AUDIENCE, Form, OTHER_RESOURCE, Service, call, refusal};

/// The claims, checked by an implementation that shares no code with the service, against the published keys.
async fn independently_verified(service: &Service, token: &str, algorithm: Algorithm) -> Value {
    let jwks: JwkSet = service
        .http
        .get(service.public_url("/oauth/jwks"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let header = jsonwebtoken::decode_header(token).unwrap();
    assert_eq!(header.typ.as_deref(), Some("at+jwt"));
    assert_eq!(header.alg, algorithm);
    let key = DecodingKey::from_jwk(jwks.find(header.kid.as_deref().unwrap()).unwrap()).unwrap();
    let mut validation = Validation::new(algorithm);
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[&service.running.app.config.issuer]);
    validation.leeway = 0;
    jsonwebtoken::decode::<Value>(token, &key, &validation)
        .unwrap()
        .claims
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minted_token_is_for_one_message_and_committed_with_its_record() {
    let service = Service::start().await;
    let message = call("echo");
    let (token, answer) = service.mint(&message).await;
    let claims = independently_verified(&service, &token, Algorithm::EdDSA).await;
    assert_eq!(claims["sub"], "alice");
    assert_eq!(claims["client_id"], "assistant");
    assert_eq!(claims["aud"], AUDIENCE);
    assert_eq!(claims["scope"], "ledger:read ledger:write");
    assert_eq!(
        claims["act"],
        json!({"sub": "edge", "act": {"sub": "assistant"}})
    );
    let digest = content_digest(message.to_string().as_bytes());
    assert_eq!(
        claims["authorization_details"],
        json!([{"type": "mcp_request", "server": "ledger", "method": "tools/call", "target": "echo", "content_digest": digest}])
    );
    assert_eq!(
        claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(),
        30
    );
    assert_eq!(
        (&answer["jti"], &answer["txn"]),
        (&claims["jti"], &claims["txn"])
    );
    assert_eq!(answer["expires_in"], 30);

    let records = service.records().await;
    let [record] = records.as_slice() else {
        panic!("{records:?}")
    };
    assert_eq!(
        (record.kind, record.decision),
        (Kind::Mint, Some(Verdict::Allow))
    );
    assert_eq!(record.token_id.as_deref(), claims["jti"].as_str());
    assert_eq!(record.txn.as_deref(), claims["txn"].as_str());
    assert_eq!(record.subject.as_deref(), Some("alice"));
    assert_eq!(record.agent.as_deref(), Some("assistant"));
    assert_eq!(record.gateway.as_deref(), Some("edge"));
    assert_eq!(record.server.as_deref(), Some("ledger"));
    assert_eq!(record.target.as_deref(), Some("echo"));
    assert_eq!(record.reason.as_deref(), Some("echo is for everybody"));
    assert_eq!(record.content_digest.as_deref(), Some(digest.as_str()));
    assert_eq!(record.source_ip.as_deref(), Some("192.0.2.7"));
    assert_eq!(record.gateway_policy.as_deref(), Some("gateway-revision"));
    assert_eq!(
        record.service_policy.as_deref(),
        Some(service.running.app.policy().revision())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_signing_algorithm_is_verified_by_an_independent_implementation() {
    for (ours, theirs) in [
        (SigningAlgorithm::Es256, Algorithm::ES256),
        (SigningAlgorithm::Rs256, Algorithm::RS256),
    ] {
        let service = Service::start_with(|config| config.tokens.signing_alg = ours).await;
        let (token, _) = service.mint(&call("echo")).await;
        independently_verified(&service, &token, theirs).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn obligations_shorten_life_and_scopes_and_never_widen_them() {
    let service = Service::start().await;
    let (_, answer) = service.mint(&call("brief")).await;
    assert_eq!(answer["expires_in"], 5);
    assert_eq!(answer["scope"], "ledger:read");
    let form =
        Form::new(&service.caller_token(), &call("echo")).with("scope", "ledger:write admin");
    let answer: Value = service.exchange(&form).await.json().await.unwrap();
    assert_eq!(answer["scope"], "ledger:write");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minted_token_never_outlives_the_callers() {
    let service = Service::start().await;
    let mut claims = service.caller_claims();
    claims["exp"] = (claims["iat"].as_u64().unwrap() + 10).into();
    let response = service
        .exchange(&Form::new(&service.sign(&claims), &call("echo")))
        .await;
    let answer: Value = response.json().await.unwrap();
    assert!(answer["expires_in"].as_u64().unwrap() <= 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_around_gets_a_discovery_token() {
    let service = Service::start().await;
    let (token, answer) = service
        .mint(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}))
        .await;
    let claims = independently_verified(&service, &token, Algorithm::EdDSA).await;
    assert_eq!(
        claims["authorization_details"],
        json!([{"type": "mcp_discovery", "server": "ledger"}])
    );
    assert_eq!(answer["expires_in"], 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_a_body_name_their_method_in_the_context() {
    let service = Service::start().await;
    let form = |method: &str, details: Value| {
        Form::new(&service.caller_token(), &call("echo"))
            .with("mcp_message", "")
            .with(
                "mcp_context",
                json!({"request_id": "r", "source_ip": "::1", "method": method}).to_string(),
            )
            .with("authorization_details", json!([details]).to_string())
    };
    let stream = form(
        "stream/open",
        json!({"type": "mcp_discovery", "server": "ledger"}),
    );
    assert_eq!(service.exchange(&stream).await.status(), StatusCode::OK);
    let digest = content_digest(b"");
    let close = json!({"type": "mcp_request", "server": "ledger", "method": "session/close", "content_digest": digest});
    assert_eq!(
        service
            .exchange(&form("session/close", close.clone()))
            .await
            .status(),
        StatusCode::OK
    );
    assert_eq!(
        refusal(service.exchange(&form("tools/call", close)).await).await,
        (400, "invalid_request".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_for_want_of_scope_says_which_and_is_on_record() {
    let service = Service::start().await;
    let response = service
        .exchange(&Form::new(&service.caller_token(), &call("personal")))
        .await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let body: Value = response.json().await.unwrap();
    assert_eq!(
        body,
        json!({"error": "insufficient_scope", "error_description": "personal data", "scope": "ledger:read ledger:personal"})
    );
    let records = service.records().await;
    let [record] = records.as_slice() else {
        panic!("{records:?}")
    };
    assert_eq!(
        (record.kind, record.reason.as_deref(), &record.token_id),
        (Kind::Denied, Some("personal data"), &None)
    );
    let detail = record.detail.as_ref().unwrap();
    assert_eq!(
        (&detail["cause"], &detail["scopes"]),
        (&json!("policy"), &json!(["ledger:read", "ledger:personal"]))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_is_on_record_with_the_reason_the_caller_is_shown() {
    let service = Service::start().await;
    let response = service
        .exchange(&Form::new(&service.caller_token(), &call("transfer")))
        .await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let body: Value = response.json().await.unwrap();
    assert_eq!(
        body,
        json!({"error": "access_denied", "error_description": "only echo is allowed"})
    );
    let records = service.records().await;
    let [record] = records.as_slice() else {
        panic!("{records:?}")
    };
    assert_eq!(
        (record.kind, record.decision),
        (Kind::Denied, Some(Verdict::Deny))
    );
    assert_eq!(record.reason.as_deref(), Some("only echo is allowed"));
    assert_eq!(record.target.as_deref(), Some("transfer"));
    assert_eq!(record.token_id, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_gateway_says_is_held_against_the_message() {
    let service = Service::start().await;
    let good = Form::new(&service.caller_token(), &call("echo"));
    let digest = content_digest(call("echo").to_string().as_bytes());
    let details = |server: &str, method: &str, target: &str, digest: &str| {
        json!([{"type": "mcp_request", "server": server, "method": method, "target": target, "content_digest": digest}])
            .to_string()
    };
    let wrong = [
        details("other", "tools/call", "echo", &digest),
        details("ledger", "prompts/get", "echo", &digest),
        details("ledger", "tools/call", "transfer", &digest),
        details("ledger", "tools/call", "echo", &content_digest(b"else")),
        json!([{"type": "mcp_discovery", "server": "ledger"}]).to_string(),
    ];
    for details in &wrong {
        let response = service
            .exchange(&good.clone().with("authorization_details", details))
            .await;
        assert_eq!(
            refusal(response).await,
            (400, "invalid_authorization_details".into()),
            "{details}"
        );
    }
    let records = service.records().await;
    assert_eq!(records.len(), wrong.len());
    assert!(records.iter().all(|r| r.kind == Kind::Denied));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_callers_good_token_for_this_server_is_exchanged() {
    let service = Service::start().await;
    let claims = service.caller_claims();
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        service.sign(&claims)
    };
    let past = claims["iat"].as_u64().unwrap() - 1;
    let (minted, _) = service.mint(&call("echo")).await;
    let tokens = [
        ("expired", with("exp", past.into())),
        ("other issuer", with("iss", "https://elsewhere.test".into())),
        ("other audience", with("aud", OTHER_RESOURCE.into())),
        ("upstream audience", with("aud", AUDIENCE.into())),
        ("not yet valid", with("nbf", (past + 100).into())),
        ("unknown agent", with("client_id", "nobody".into())),
        ("minted", minted),
        (
            "minted, for the resource",
            with("authorization_details", json!([{"type": "mcp_request"}])),
        ),
        (
            "signature cut off",
            claims_without_signature(&service.caller_token()),
        ),
        ("not a token", "hunter2".to_owned()),
        ("very long", "a".repeat(100_000)),
    ];
    for (what, token) in &tokens {
        let response = service.exchange(&Form::new(token, &call("echo"))).await;
        assert_eq!(
            refusal(response).await,
            (400, "invalid_grant".into()),
            "{what}"
        );
    }
}

fn claims_without_signature(token: &str) -> String {
    let (signed, _) = token.rsplit_once('.').unwrap();
    format!("{signed}.")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_mints_for_its_own_servers_only() {
    let service = Service::start().await;
    let mut claims = service.caller_claims();
    claims["aud"] = OTHER_RESOURCE.into();
    let form = Form::new(&service.sign(&claims), &call("echo")).with("resource", OTHER_RESOURCE);
    assert_eq!(
        refusal(service.exchange(&form).await).await,
        (400, "invalid_target".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_its_secret_gets_nothing_and_is_counted() {
    let service = Service::start().await;
    let form = Form::new(&service.caller_token(), &call("echo"));
    for (id, secret) in [
        ("edge", "wrong"),
        ("nobody", service.gateway_secret.as_str()),
        ("ledger", &service.server_secret),
    ] {
        let request = service.http.post(service.gateway_url("/oauth/token"));
        let response = request
            .basic_auth(id, Some(secret))
            .form(&form.0)
            .send()
            .await
            .unwrap();
        assert!(response.headers().contains_key("www-authenticate"));
        assert_eq!(refusal(response).await, (401, "invalid_client".into()));
    }
    let place = service.running.app.config.place();
    service.running.stop().await;
    let store = Store::open(&place).await.unwrap();
    let filter = Filter {
        kind: Some(Kind::Unauthenticated),
        ..Filter::default()
    };
    let records = store.newest_records(&filter, 10).await.unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].record.reason.as_deref(), Some("invalid_gateway"));
    assert_eq!(records[0].record.detail.as_ref().unwrap()["count"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_refused_and_say_why() {
    let service = Service::start().await;
    let good = Form::new(&service.caller_token(), &call("echo"));
    let cases = [
        (
            good.clone().with("grant_type", "client_credentials"),
            "unsupported_grant_type",
        ),
        (good.clone().without("subject_token"), "invalid_request"),
        (
            good.clone()
                .with("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
            "invalid_request",
        ),
        (good.clone().with("mcp_message", "%%%"), "invalid_request"),
        (good.clone().with("mcp_message", "e30"), "invalid_request"),
        (good.clone().with("mcp_context", "{}"), "invalid_request"),
        (
            good.clone()
                .with("mcp_context", "{\"request_id\":\"r\",\"more\":1}"),
            "invalid_request",
        ),
        (
            good.clone().with(
                "mcp_context",
                format!("{{\"request_id\":\"{}\"}}", "x".repeat(100_000)),
            ),
            "invalid_request",
        ),
        (
            good.clone().with("authorization_details", "[]"),
            "invalid_authorization_details",
        ),
        (good.clone().with("actor_token", "x"), "invalid_request"),
    ];
    for (form, error) in cases {
        assert_eq!(
            refusal(service.exchange(&form).await).await,
            (400, error.to_owned())
        );
    }
    assert_eq!(service.exchange(&good).await.status(), StatusCode::OK);
}
