//! What the bad-input tests share: a client that sends what no client would, and what an answer must be.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod faulty;
pub mod raw;

use serde_json::Value;
use writ_tests::deployment::{Deployment, Options};
use writ_tests::mcp;
use writ_tests::signer::Signer;

pub use raw::{Answer, Post};

/// A tool that the batch agent may use, and good arguments for it.
pub const TOOL: &str = "getAccount";

/// A good message for [`TOOL`].
pub fn good_message() -> String {
    mcp::call_message(TOOL, &serde_json::json!({ "account": "ops" })).to_string()
}

/// A whole Writ on one Envoy worker, before a server that believes everybody and remembers what reached it.
pub async fn deployment(name: &str) -> Deployment {
    start(name, None).await
}

/// The same, and the key that its tokens are signed with.
pub async fn deployment_and_signer(name: &str) -> (Deployment, Signer) {
    let signer = Signer::generate();
    (start(name, Some(signer.clone())).await, signer)
}

async fn start(name: &str, signer: Option<Signer>) -> Deployment {
    let options = Options {
        signer,
        workers: 1,
        open_ledger: true,
        ..Options::named(name)
    };
    Deployment::start(options).await.expect("everything starts")
}

/// The worker that was sent all that still serves: a good call gets its result.
pub async fn a_good_call_succeeds(deployment: &Deployment) {
    let token = deployment
        .batch_token()
        .await
        .expect("the batch agent gets a token");
    let request = deployment.post_call(&token, TOOL, &serde_json::json!({ "account": "ops" }));
    let response = request.send().await.expect("Envoy answers");
    let status = response.status();
    let body = response.text().await.expect("a whole answer");
    assert_eq!(
        status,
        200,
        "after all that, a good call got {body}\n{}",
        deployment.envoy.process().tail()
    );
    let message = mcp::message_in(&body).expect("a JSON-RPC message");
    assert!(
        message.get("result").is_some(),
        "after all that, a good call got {message}"
    );
}

/// Nothing has reached the server.
pub fn assert_nothing_reached(deployment: &Deployment, case: &str) {
    let heard = deployment.ledger.tap().heard();
    assert!(heard.is_empty(), "{case}: reached the server: {heard:#?}");
}

/// The answer is a JSON-RPC error; returns its code.
pub fn jsonrpc_error(answer: &Answer, case: &str) -> i64 {
    let message = answer.json(case);
    assert_eq!(message["jsonrpc"], "2.0", "{case}: {message}");
    let text = message["error"]["message"].as_str().unwrap_or_default();
    assert!(!text.is_empty(), "{case}: no message in {message}");
    message["error"]["code"]
        .as_i64()
        .unwrap_or_else(|| panic!("{case}: no code in {message}"))
}

/// The id an answer is for; null where the request's could not be read.
pub fn answered_id(answer: &Answer, case: &str) -> Value {
    answer.json(case)["id"].clone()
}
