//! The reference server, `@modelcontextprotocol/server-everything`, behind the gateway: a server that knows
//! nothing of Writ, sessions and all.

use std::process::Command;

use serde_json::json;
use writ_tests::clients::{Sdk, Story};
use writ_tests::deployment::{Deployment, Options};
use writ_tests::mcp::Era;
use writ_tests::process::Process;
use writ_tests::scratch::Scratch;
use writ_tests::wait::PATIENCE;
use writ_tests::{ports, tools};

/// Its `echo` and `get-sum` are allowed, nothing else.
const POLICY: &str = r#"package writ

default call := {"allow": false, "reason": "only echo and get-sum are open here"}

call := {"allow": true} if input.mcp.method != "tools/call"

call := {"allow": true} if input.mcp.tool in {"echo", "get-sum"}

visible := call
"#;

async fn everything(scratch: &Scratch) -> (Process, u16) {
    let port = ports::free().unwrap();
    let server = tools::typescript_clients()
        .unwrap()
        .join("node_modules/@modelcontextprotocol/server-everything/dist/index.js");
    let mut command = Command::new(tools::node().unwrap());
    command
        .arg(server)
        .arg("streamableHttp")
        .env("PORT", port.to_string());
    let mut process = Process::spawn("everything", command, scratch.path()).unwrap();
    process
        .until("the reference server's port", PATIENCE, async |_| {
            tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .ok()
        })
        .await
        .unwrap();
    (process, port)
}

#[tokio::test]
async fn the_reference_server_works_behind_the_gateway() {
    let scratch = Scratch::new("everything-server").unwrap();
    let (_server, port) = everything(&scratch).await;
    let writ = Deployment::start(Options {
        policy: Some(POLICY.to_owned()),
        upstream: Some(port),
        ..Options::named("everything")
    })
    .await
    .unwrap();
    let token = writ.batch_token().await.unwrap();
    let steps = json!([
        { "list": true },
        { "call": "echo", "arguments": { "message": "hello" } },
        { "call": "get-sum", "arguments": { "a": 2, "b": 3 } },
        { "call": "get-env", "arguments": {} },
    ]);
    // It speaks the session era only: the clients of the other one have to find that out through the gateway.
    for sdk in [
        Sdk::TypeScriptV1,
        Sdk::TypeScriptV2(Era::Stateless),
        Sdk::Python(Era::Stateless),
    ] {
        let answers = Story::play(sdk, &writ.url(), Some(&token), &steps)
            .await
            .unwrap();
        assert_eq!(answers.len(), 4, "{sdk:?}: {answers:?}");
        assert_eq!(answers[0]["tools"], json!(["echo", "get-sum"]), "{sdk:?}");
        assert_eq!(
            answers[1]["result"]["content"][0]["text"], "Echo: hello",
            "{sdk:?}: {}",
            answers[1]
        );
        assert_eq!(
            answers[2]["result"]["content"][0]["text"], "The sum of 2 and 3 is 5.",
            "{sdk:?}: {}",
            answers[2]
        );
        assert_eq!(
            answers[3]["error"]["data"]["type"], "policy_denied",
            "{sdk:?}: {}",
            answers[3]
        );
    }
}
