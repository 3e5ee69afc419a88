//! The running service does what its OpenAPI document says, whatever it is sent: schemathesis makes up requests from the
//! document, good and bad, always the same ones.

use std::process::Command;

use writ_tests::scratch::Scratch;
use writ_tests::token_service::{self, TokenService};
use writ_tests::tools;

/// What must hold of every answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";

/// Runs schemathesis on some of the operations, for at most nine seconds.
fn conforms(document: &std::path::Path, url: &str, arguments: &[&str]) {
    let output = Command::new(tools::schemathesis().unwrap())
        .arg("run")
        .arg(document)
        .args(["--url", url, "--checks", CHECKS, "--seed", "20261124"])
        .args(["--phases", "coverage,fuzzing", "--max-examples", "12"])
        .args(["--max-time", "9", "--request-timeout", "5", "--no-shrink"])
        .args(["--warnings", "off", "--suppress-health-check", "all"])
        .args(arguments)
        .current_dir(document.parent().unwrap())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_answers_as_its_document_says() {
    let scratch = Scratch::new("openapi").unwrap();
    let unlimited = "[rate_limits]\nper_address = \"1000000/1m\"\nper_client = \"1000000/1m\"\n";
    let options = token_service::Options {
        config: Some(format!("{unlimited}[registration]\nopen = true\n")),
        ..token_service::Options::default()
    };
    let service = TokenService::start(&scratch, options).await.unwrap();
    let resource = [
        "--resource",
        "http://127.0.0.1/mcp",
        "--audience",
        "urn:ledger",
    ];
    let server = ["server", "add", "ledger", "--enforcement", "introspect"];
    let server = service
        .cli_secret(&[server.as_slice(), &resource].concat())
        .unwrap();
    let gateway = service
        .cli_secret(&["gateway", "add", "edge", "--server", "ledger"])
        .unwrap();
    let agent = service
        .cli_secret(&[
            "agent", "add", "robot", "--name", "Robot", "--auth", "secret",
        ])
        .unwrap();

    let document = service.output(&["openapi"]).unwrap();
    let document = scratch.write("openapi.json", document.stdout).unwrap();
    let public = service.issuer();
    let at_gateways = format!("http://127.0.0.1:{}", service.gateway_port());
    let (as_server, as_gateway, as_agent) = (
        format!("ledger:{server}"),
        format!("edge:{gateway}"),
        format!("robot:{agent}"),
    );
    let no_gateway = ["--exclude-path-regex", "^/gateway/"];
    conforms(&document, &public, &no_gateway);
    let oauth = ["--include-path-regex", "^/oauth/(token|revoke)$"];
    conforms(
        &document,
        &public,
        &[&oauth[..], &["--auth", &as_agent]].concat(),
    );
    let introspect = ["--include-path", "/oauth/introspect", "--auth", &as_server];
    conforms(&document, &public, &introspect);
    let access = ["--include-path-regex", "^/access/", "--auth", &as_server];
    conforms(&document, &public, &access);
    let gateway = ["--include-path-regex", "^/gateway/|^/oauth/token$"];
    conforms(
        &document,
        &at_gateways,
        &[&gateway[..], &["--auth", &as_gateway]].concat(),
    );
}
