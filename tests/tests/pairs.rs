//! Every SDK as a client before every SDK as a server, in both eras, through one Envoy with two workers: what an
//! application does works as it would without the gateway.

#[path = "pairs/rmcp_client.rs"]
mod rmcp_client;

use serde_json::{Value, json};
use writ_tests::clients::{Sdk, Story};
use writ_tests::deployment::{Deployment, Options};
use writ_tests::mcp::Era;
use writ_tests::reference::Reference;
use writ_tests::scratch::Scratch;
use writ_tests::servers::Server;

const ALLOW_ALL: &str =
    "package writ\n\ncall := {\"allow\": true}\n\nvisible := {\"allow\": true}\n";

#[derive(Clone, Copy, Debug)]
enum Client {
    Script(Sdk),
    Rmcp(Era),
}

const CLIENTS: [Client; 7] = [
    Client::Script(Sdk::TypeScriptV1),
    Client::Script(Sdk::TypeScriptV2(Era::Sessions)),
    Client::Script(Sdk::TypeScriptV2(Era::Stateless)),
    Client::Script(Sdk::Python(Era::Sessions)),
    Client::Script(Sdk::Python(Era::Stateless)),
    Client::Rmcp(Era::Sessions),
    Client::Rmcp(Era::Stateless),
];

impl Client {
    fn era(self) -> Era {
        match self {
            Self::Script(Sdk::TypeScriptV1) => Era::Sessions,
            Self::Script(Sdk::TypeScriptV2(era) | Sdk::Python(era)) | Self::Rmcp(era) => era,
        }
    }

    async fn play(self, url: &str, token: &str, steps: &[Value]) -> Vec<Value> {
        match self {
            Self::Script(sdk) => Story::play(sdk, url, Some(token), &json!(steps))
                .await
                .unwrap(),
            Self::Rmcp(era) => rmcp_client::play(url, token, era, steps).await,
        }
    }
}

/// What is done, where in its line the outcome is, and what it must be: itself, or for a list one of its entries.
fn table(era: Era) -> Vec<(Value, &'static str, Value)> {
    const TEXT: &str = "/result/content/0/text";
    let call = |tool: &str| json!({ "call": tool, "arguments": {} });
    let mut table = vec![
        (json!({ "list": true }), "/tools", json!("test_simple_text")),
        (
            call("test_simple_text"),
            TEXT,
            json!("This is a simple text response for testing."),
        ),
        (call("test_error_handling"), "/result/isError", json!(true)),
        (
            json!({ "call": "test_tool_with_progress", "arguments": {}, "progress": true }),
            "/result/content/0/type",
            json!("text"),
        ),
        // Up to 2025-11-25 the server asks on a stream and is answered by a request of its own, on any worker; after
        // that it is asked again, with the answer.
        (
            call("test_input_required_result_elicitation"),
            TEXT,
            json!("Hello, Ada!"),
        ),
        (
            call("test_input_required_result_sampling"),
            TEXT,
            json!("Sampling response: Paris"),
        ),
        (
            json!({ "prompts": true }),
            "/prompts",
            json!("test_prompt_with_arguments"),
        ),
        (
            json!({ "prompt": "test_prompt_with_arguments", "arguments": { "arg1": "a", "arg2": "b" } }),
            "/text",
            json!("Prompt with arguments: arg1='a', arg2='b'"),
        ),
        (
            json!({ "resources": true }),
            "/templates",
            json!("test://template/{id}/data"),
        ),
        (
            json!({ "read": "test://static-text" }),
            "/text",
            json!("This is the content of the static text resource."),
        ),
        (
            json!({ "complete": "gr", "argument": "arg1", "of": "test_prompt_with_arguments" }),
            "/values",
            json!("green"),
        ),
    ];
    if era == Era::Stateless {
        table.push((
            json!({ "listen": "test_trigger_tool_change" }),
            "/changed",
            json!(true),
        ));
    }
    table
}

/// What is wrong with how this client got on.
async fn problems(client: Client, url: &str, token: &str) -> Vec<String> {
    let table = table(client.era());
    let steps: Vec<Value> = table.iter().map(|(step, _, _)| step.clone()).collect();
    let lines = client.play(url, token, &steps).await;
    let (progress, lines): (Vec<Value>, Vec<Value>) = lines
        .into_iter()
        .partition(|line| line.get("progress").is_some());
    let mut found = Vec::new();
    if progress.len() != 3 {
        found.push(format!("heard of progress: {progress:?}"));
    }
    for (index, (step, at, wanted)) in table.iter().enumerate() {
        let line = lines.get(index).cloned().unwrap_or_default();
        let got = line.pointer(at);
        let is_there = match got {
            Some(Value::Array(entries)) => entries.contains(wanted),
            got => got == Some(wanted),
        };
        if !is_there {
            found.push(format!("{step} got {line}"));
        }
    }
    found
}

/// Two more servers behind the gateway, each under a path of its own.
fn more_servers(python: u16, rmcp: u16) -> Vec<(String, String)> {
    const LAST_ROUTE: &str = "                        # RFC 9728: the filter answers";
    const FIRST_CLUSTER: &str = "    # The MCP server.\n";
    let servers = [("python", python), ("rmcp", rmcp)];
    let routes = servers.map(|(name, _)| {
        format!(
            "                        - match: {{ path: /{name} }}
                          metadata: {{ filter_metadata: {{ writ: {{ server: ledger }} }} }}
                          route: {{ cluster: {name}, prefix_rewrite: /mcp, timeout: 0s }}\n"
        )
    });
    let clusters = servers.map(|(name, port)| {
        format!(
            "    - name: {name}
      type: STATIC
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {{ http_protocol_options: {{}} }}
          common_http_protocol_options: {{ idle_timeout: 4s }}
      load_assignment:
        cluster_name: {name}
        endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }} }}] }}]\n"
        )
    });
    vec![
        (LAST_ROUTE.to_owned(), routes.concat() + LAST_ROUTE),
        (FIRST_CLUSTER.to_owned(), clusters.concat() + FIRST_CLUSTER),
    ]
}

#[tokio::test]
async fn every_sdk_gets_on_with_every_other_in_both_eras() {
    let scratch = Scratch::new("pairs-servers").unwrap();
    let (typescript, python, rmcp) = tokio::join!(
        Server::typescript_reference(&scratch),
        Server::python_reference(&scratch),
        Reference::start()
    );
    let (typescript, python, rmcp) = (typescript.unwrap(), python.unwrap(), rmcp.unwrap());
    let writ = Deployment::start(Options {
        policy: Some(ALLOW_ALL.to_owned()),
        upstream: Some(typescript.port()),
        workers: 2,
        yaml: more_servers(python.port(), rmcp.port()),
        ..Options::named("pairs")
    })
    .await
    .unwrap();
    let token = writ.batch_token().await.unwrap();
    let with_all = async |server: &'static str, path: &str| {
        let (url, mut found) = (writ.envoy.url(path), Vec::new());
        for client in CLIENTS {
            let problems = problems(client, &url, &token).await;
            found.extend(
                problems
                    .iter()
                    .map(|what| format!("{client:?} before {server}: {what}")),
            );
        }
        found
    };
    let (first, second, third) = tokio::join!(
        with_all("TypeScript", "/mcp"),
        with_all("Python", "/python"),
        with_all("rmcp", "/rmcp")
    );
    let found = [first, second, third].concat();
    assert!(found.is_empty(), "{}", found.join("\n"));
}
