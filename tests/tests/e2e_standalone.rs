//! The filter by itself: `envoy/standalone.yaml`, with a policy and an issuer's key in the file and no token service.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use writ_tests::envoy::{Envoy, Options, Yaml};
use writ_tests::ledger::Ledger;
use writ_tests::mcp::{self, Era};
use writ_tests::scratch::Scratch;
use writ_tests::signer::{ACCESS_TOKEN, Signer, workload_claims};

const ISSUER: &str = "https://idp.example.com";
/// The key in the shipped file.
const SHIPPED_KEY: &str = "Ct2YJG3rMmNv5-pHDZN-M0ZfUw-Fe-QR7TODZf99qXo";

struct World {
    envoy: Envoy,
    ledger: Ledger,
    signer: Signer,
    http: reqwest::Client,
    _scratch: Scratch,
}

impl World {
    /// The shipped file with another key, and with `getAccount` in the place of `echo`.
    async fn start(name: &str, replace: &[(&str, &str)]) -> Self {
        let scratch = Scratch::new(name).unwrap();
        let signer = Signer::generate().under_kid("example");
        let ledger = Ledger::start_open(Ledger::bind().await.unwrap())
            .await
            .unwrap();
        let mut yaml = Yaml::shipped("standalone.yaml")
            .unwrap()
            .port(8080, ledger.address().port())
            .unwrap()
            .replace(
                SHIPPED_KEY,
                &BASE64_URL_SAFE_NO_PAD.encode(signer.public_bytes()),
            )
            .unwrap()
            .replace("`echo`", "`getAccount`")
            .unwrap();
        for (from, to) in replace {
            yaml = yaml.replace(from, to).unwrap();
        }
        let envoy = Envoy::start(&scratch, yaml, Options::default())
            .await
            .unwrap();
        Self {
            envoy,
            ledger,
            signer,
            http: reqwest::Client::new(),
            _scratch: scratch,
        }
    }

    fn token(&self) -> String {
        let claims = workload_claims(ISSUER, "agent", &self.envoy.url("/mcp"), "", 60);
        self.signer.sign(ACCESS_TOKEN, &claims).unwrap()
    }

    async fn call(&self, token: &str, tool: &str) -> reqwest::Response {
        let arguments = json!({ "account": "ops" });
        mcp::post_call(&self.http, &self.envoy.url("/mcp"), token, tool, &arguments)
            .send()
            .await
            .unwrap()
    }
}

async fn message(answer: reqwest::Response) -> Value {
    mcp::message_in(&answer.text().await.unwrap()).unwrap()
}

#[tokio::test]
async fn the_policy_in_the_file_decides() {
    let world = World::start("standalone", &[]).await;
    let token = world.token();
    for era in Era::ALL {
        let client = mcp::connect(&world.envoy.url("/mcp"), &token, era)
            .await
            .unwrap();
        let tools = client.list_all_tools().await.unwrap();
        let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_ref()).collect();
        assert_eq!(names, ["getAccount"], "{era:?}");
        let answer = mcp::call(&client, "getAccount", json!({ "account": "ops" }))
            .await
            .unwrap();
        assert_eq!(answer.structured_content.unwrap()["id"], "ops", "{era:?}");
        let refused = mcp::call(&client, "transfer", json!({})).await.unwrap_err();
        assert!(
            refused.to_string().contains("only echo may be called here"),
            "{era:?}: {refused}"
        );
    }
    assert!(
        world.ledger.tap().last_call("transfer").is_none(),
        "a refused call reached the server"
    );
}

#[tokio::test]
async fn the_callers_token_stays_here_unless_told_otherwise() {
    let stripping = World::start("standalone-strip", &[]).await;
    assert_eq!(
        stripping
            .call(&stripping.token(), "getAccount")
            .await
            .status(),
        200
    );
    let heard = stripping.ledger.tap().last_call("getAccount").unwrap();
    assert!(!heard.headers.contains_key("authorization"));

    let keeping = World::start(
        "standalone-keep",
        &[("\"caller_token\": \"strip\"", "\"caller_token\": \"keep\"")],
    )
    .await;
    let token = keeping.token();
    assert_eq!(keeping.call(&token, "getAccount").await.status(), 200);
    assert_eq!(
        keeping
            .ledger
            .tap()
            .last_call("getAccount")
            .unwrap()
            .bearer(),
        Some(token.as_str())
    );
}

#[tokio::test]
async fn without_a_good_token_there_is_a_challenge() {
    let world = World::start("standalone-challenge", &[]).await;
    let by_another = Signer::generate().under_kid("example");
    let forged = by_another
        .sign(
            ACCESS_TOKEN,
            &workload_claims(ISSUER, "agent", &world.envoy.url("/mcp"), "", 60),
        )
        .unwrap();
    for token in ["nonsense", &forged] {
        let answer = world.call(token, "getAccount").await;
        assert_eq!(answer.status(), 401);
        let challenge = answer.headers()["www-authenticate"]
            .to_str()
            .unwrap()
            .to_owned();
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    }
    assert_eq!(world.ledger.tap().count(), 0);

    let well_known = world.envoy.url("/.well-known/oauth-protected-resource/mcp");
    let metadata: Value = world
        .http
        .get(well_known)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(metadata["resource"], world.envoy.url("/mcp"));
    assert_eq!(metadata["authorization_servers"], json!([ISSUER]));
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_not_forwarded() {
    let world = World::start("standalone-bad", &[]).await;
    let answer = mcp::post_call(
        &world.http,
        &world.envoy.url("/mcp"),
        &world.token(),
        "getAccount",
        &json!({}),
    )
    .body(r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","method":"ping"}"#)
    .send()
    .await
    .unwrap();
    assert_eq!(answer.status(), 400);
    assert!(message(answer).await.get("error").is_some());
    assert_eq!(world.ledger.tap().count(), 0);
}
