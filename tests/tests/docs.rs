//! Every example in the README and the guides is what it says it is: loaded, run or compiled here.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;
use writ_policy::engine::{CALL, Data, Evaluator, Module, compile};
use writ_policy::{authoring, library};
use writ_tests::binaries::workspace;
use writ_tests::deployment::{self, Deployment, demo_policy};
use writ_tests::docs;
use writ_tests::envoy::{Envoy, Options, Yaml};
use writ_tests::ledger::Ledger;
use writ_tests::process::Process;
use writ_tests::registrations::Registrations;
use writ_tests::scratch::Scratch;
use writ_tests::token_service::{self, TokenService};
use writ_tests::wait::{PATIENCE, until};

/// A key that snapshots could be signed with (RFC 8037 appendix A.3).
const KEY: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";

fn blocks(document: &str, info: &str) -> Vec<String> {
    docs::blocks(document, info).unwrap()
}

/// Runs the blocks of a document with this `writ`; how many lines they are.
fn run(service: &TokenService, document: &str, info: &str) -> usize {
    let path = format!(
        "{}:{}",
        service.binary().parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let mut lines = 0;
    for block in blocks(document, info) {
        let output = std::process::Command::new("sh")
            .args(["-euc", &block])
            .env("PATH", &path)
            .env("WRIT_DATA_DIR", service.data_dir())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{block}\n{told}");
        lines += block.lines().count();
    }
    lines
}

/// An Envoy around one filter, as little as possible.
fn around(filter: &str) -> Yaml {
    let indented: String = filter
        .lines()
        .map(|line| format!("            {line}\n"))
        .collect();
    let wasm = writ_tests::binaries::wasm().unwrap();
    Yaml::text(format!(
        r#"
admin: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: 9901 }} }} }}
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: 10000 }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: docs
          route_config: {{ virtual_hosts: [ {{ name: all, domains: ["*"], routes: [ {{ match: {{ prefix: / }}, direct_response: {{ status: 204 }} }} ] }} ] }}
          http_filters:
{indented}            - name: envoy.filters.http.router
              typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
"#
    ))
    .replace("target/wasm32-wasip1/wasm/writ_plugin.wasm", wasm.to_str().unwrap())
    .unwrap()
}

#[tokio::test]
async fn the_ten_lines_of_the_readme_govern_a_server() {
    let lines = blocks("README.md", "yaml").remove(0);
    let scratch = Scratch::new("readme").unwrap();
    let envoy = Envoy::start(&scratch, around(&lines), Options::default())
        .await
        .unwrap();
    let metadata: Value = reqwest::get(envoy.url("/.well-known/oauth-protected-resource/mcp"))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(metadata["resource"], "https://mcp.example.com/mcp");
    let answer = reqwest::Client::new()
        .post(envoy.url("/mcp"))
        .json(&serde_json::json!({}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 401);
    let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
    assert!(
        challenge.contains("https://mcp.example.com/.well-known/oauth-protected-resource/mcp"),
        "{challenge}"
    );
}

#[tokio::test]
async fn the_filter_configurations_start_a_filter() {
    let documents = ["docs/configuration.md", "docs/guard.md", "docs/rogue.md"];
    let all = documents.map(|document| blocks(document, "json filter"));
    for (n, json) in all.into_iter().flatten().enumerate() {
        let scratch = Scratch::new(&format!("filter-{n}")).unwrap();
        let indented: String = json
            .lines()
            .map(|line| format!("          {line}\n"))
            .collect();
        let filter = format!(
            "- name: writ\n  typed_config:\n    \"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm\n    \
             config:\n      allow_on_headers_stop_iteration: true\n      vm_config:\n        runtime: envoy.wasm.runtime.v8\n        \
             code: {{ local: {{ filename: target/wasm32-wasip1/wasm/writ_plugin.wasm }} }}\n        \
             environment_variables: {{ key_values: {{ WRIT_GATEWAY_SECRET: s.{KEY} }} }}\n      configuration:\n        \
             \"@type\": type.googleapis.com/google.protobuf.StringValue\n        value: |\n{indented}"
        );
        Envoy::start(&scratch, around(&filter), Options::default())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn the_page_about_the_audit_trail_can_be_followed() {
    let scratch = Scratch::new("audit-page").unwrap();
    let kept = scratch.path().join("writ-checkpoints");
    for directory in [&kept, &scratch.path().join("writ-archives")] {
        std::fs::create_dir(directory).unwrap();
    }
    let here = |text: String| text.replace("/var/lib", &scratch.path().display().to_string());
    let config = blocks("docs/audit.md", "toml").into_iter().take(2);
    let options = token_service::Options {
        config: Some(here(config.collect::<Vec<_>>().join("\n"))),
        ..token_service::Options::default()
    };
    let service = TokenService::start(&scratch, options).await.unwrap();
    Registrations::make(&service, &scratch, "http://127.0.0.1:1/mcp").unwrap();
    until("a checkpoint", PATIENCE, async || {
        service.cli(&["audit", "checkpoint"]).ok()
    })
    .await
    .unwrap();
    let path = format!(
        "{}:{}",
        service.binary().parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    for info in [
        "sh",
        "sh access",
        "sh keep",
        "sh verify",
        "sh erase",
        "sh verify",
        "sh archive",
    ] {
        for commands in blocks("docs/audit.md", info) {
            let commands = here(commands);
            let output = tokio::process::Command::new("sh")
                .args(["-euc", &commands])
                .env("PATH", &path)
                .env("WRIT_DATA_DIR", service.data_dir())
                .current_dir(scratch.path())
                .output()
                .await
                .unwrap();
            let (told, errors) = (
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr),
            );
            assert!(output.status.success(), "{commands}\n{told}{errors}");
            if info == "sh verify" {
                assert_eq!(told.matches("intact: ").count(), 2, "{told}");
            }
        }
    }
    let files = std::fs::read_dir(&kept).unwrap().map(Result::unwrap);
    let checkpoints: Vec<_> = files.map(|file| file.file_name()).collect();
    assert!(!checkpoints.is_empty());
    for name in checkpoints {
        assert!(name.to_str().unwrap().ends_with(".checkpoint"), "{name:?}");
    }
}

#[tokio::test]
async fn the_guide_to_servers_on_standard_streams_can_be_followed() {
    let scratch = Scratch::new("guide-connect").unwrap();
    let service = TokenService::start(&scratch, token_service::Options::default())
        .await
        .unwrap();
    let mut secret = String::new();
    for line in blocks("docs/connect.md", "sh").remove(0).lines() {
        let words: Vec<_> = line.split_whitespace().skip(1).collect();
        let printed = service.cli(&words).unwrap().remove(0);
        secret = printed["secret"].as_str().unwrap().to_owned();
    }
    let command = blocks("docs/connect.md", "sh connect").remove(0);
    let command = command.replace("SECRET=…", &format!("SECRET={secret}"));
    let mut connect = connect_as_written(&command, &service, &scratch);
    connect
        .until("`writ connect` as in the guide", PATIENCE, is_ready)
        .await
        .unwrap();
    assert!(connect.terminate(PATIENCE).await.unwrap().success());
    service.cli(&["server", "remove", "everything"]).unwrap();

    let add = [
        "registration",
        "token",
        "add",
        "--count",
        "1",
        "--owner",
        "platform team",
    ];
    let written = blocks("docs/connect.md", "sh token").remove(0);
    assert_eq!(written.replace('"', ""), format!("writ {}", add.join(" ")));
    let token = service.cli_secret(&add).unwrap();
    let command = blocks("docs/connect.md", "sh register").remove(0);
    let command = command
        .replace("TOKEN=…", &format!("TOKEN={token}"))
        .replace(
            "everything.json",
            &scratch.path().join("everything.json").to_string_lossy(),
        )
        .replace("http://127.0.0.1:8181", &service.issuer());
    let mut connect = connect_as_written(&command, &service, &scratch);
    connect
        .until(
            "a server that waits for a person",
            PATIENCE,
            async |process| process.log().contains("waits for a person").then_some(()),
        )
        .await
        .unwrap();
    let servers = service.cli(&["server", "list"]).unwrap();
    let id = servers[0]["id"].as_str().unwrap();
    service.cli(&["server", "approve", id]).unwrap();
    connect
        .until("its approval", PATIENCE, is_ready)
        .await
        .unwrap();
    assert!(connect.terminate(PATIENCE).await.unwrap().success());
}

async fn is_ready(process: &Process) -> Option<()> {
    let lines = process
        .log()
        .lines()
        .filter(|line| *line == "ready")
        .count();
    (lines > 0).then_some(())
}

/// Runs a command of the guide, with the package as it is installed here, and ports that are free.
fn connect_as_written(command: &str, service: &TokenService, scratch: &Scratch) -> Process {
    let listener = format!("--service http://127.0.0.1:{}", service.gateway_port());
    let command = command
        .replace(
            "npx -y @modelcontextprotocol/server-everything",
            "npx --no-install mcp-server-everything",
        )
        .replace(
            "--listen 127.0.0.1:8080",
            &format!("--listen 127.0.0.1:0 {listener}"),
        )
        .replace(
            " writ connect",
            &format!(" exec {} connect", service.binary().display()),
        );
    let mut shell = std::process::Command::new("sh");
    let path = std::env::var("PATH").unwrap_or_default();
    shell
        .args(["-euc", &command])
        .current_dir(writ_tests::tools::typescript_clients().unwrap())
        .env(
            "PATH",
            format!("{path}:{}", workspace().join(".venv/bin").display()),
        );
    let name = format!(
        "connect-{}",
        if command.contains("--register") {
            "register"
        } else {
            "guide"
        }
    );
    Process::spawn(&name, shell, scratch.path()).unwrap()
}

#[tokio::test]
async fn the_gateway_guide_can_be_followed() {
    let scratch = Scratch::new("guide").unwrap();
    let config = blocks("docs/gateway.md", "toml").remove(0);
    std::fs::write(
        scratch.path().join("writ.toml"),
        config.replace(
            "\"policies\"",
            &format!("{:?}", workspace().join("policies")),
        ),
    )
    .unwrap();
    let mut service = TokenService::prepare(&scratch, token_service::Options::default()).unwrap();
    let path = format!(
        "{}:{}",
        service.binary().parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    for commands in blocks("docs/gateway.md", "sh") {
        let output = std::process::Command::new("sh")
            .args(["-euc", &commands])
            .current_dir(scratch.path())
            .env("PATH", &path)
            .env("WRIT_DATA_DIR", service.data_dir())
            .env("WRIT_CONFIG", scratch.path().join("writ.toml"))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{commands}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let kinds = service.audit().unwrap();
    assert_eq!(
        kinds.len(),
        6,
        "one record for each registration and change: {kinds:?}"
    );
    service.serve().await.unwrap();
}

#[test]
fn the_guards_guide_can_be_followed() {
    let scratch = Scratch::new("guard-guide").unwrap();
    let service = TokenService::prepare(&scratch, token_service::Options::default()).unwrap();
    for command in blocks("docs/guard.md", "sh")
        .iter()
        .flat_map(|block| block.lines())
    {
        let arguments: Vec<&str> = command.split_whitespace().skip(1).collect();
        service.cli(&arguments).unwrap();
    }
    let servers = service.cli(&["server", "list"]).unwrap();
    assert_eq!(servers[0]["enforcement"], "guard");
}

#[tokio::test]
async fn a_shadow_server_is_registered_as_the_page_says() {
    let scratch = Scratch::new("rogue-page").unwrap();
    let options = token_service::Options::default();
    let service = TokenService::start(&scratch, options).await.unwrap();
    let setup = blocks("docs/rogue.md", "sh setup").remove(0);
    let arguments: Vec<&str> = setup.split_whitespace().skip(1).collect();
    let secret = service.cli_secret(&arguments).unwrap();
    let seen = |host: &str| {
        serde_json::json!({"type": "shadow_server", "host": host, "path": "/mcp", "method": "tools/list",
            "refused": false, "source_ip": "192.0.2.1", "request_id": host, "first": "", "last": "", "count": 3})
    };
    let hosts = ["mcp.example.com", "weather.example.com"].map(seen);
    let port = service.gateway_port();
    let answer = reqwest::Client::new()
        .post(format!("http://127.0.0.1:{port}/gateway/v1/events"))
        .basic_auth("egress", Some(&secret))
        .json(&serde_json::json!({"events": hosts}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 204);
    for info in ["sh", "sh adopt"] {
        run(&service, "docs/rogue.md", info);
    }
    let servers = service.cli(&["rogue", "servers", "--all"]).unwrap();
    let fates: Vec<_> = servers.iter().map(|server| &server["fate"]).collect();
    assert_eq!(fates, ["adopted", "dismissed"]);
}

#[test]
fn the_kill_switch_works_as_its_page_says() {
    let scratch = Scratch::new("kill-switch-page").unwrap();
    let service = TokenService::prepare(&scratch, token_service::Options::default()).unwrap();
    Registrations::make(&service, &scratch, "http://127.0.0.1:1/mcp").unwrap();
    let commands = run(&service, "docs/kill-switch.md", "sh");
    let records = service.audit().unwrap();
    let stopped = records.iter().filter(|record| {
        let reason = record["reason"].as_str();
        reason.is_some_and(|reason| reason.starts_with("INC-42"))
    });
    assert_eq!(
        stopped.count(),
        commands,
        "each is on record with its reason"
    );
}

#[tokio::test]
async fn tools_are_pinned_as_the_page_says() {
    let ledger = Ledger::start_open(Ledger::bind().await.unwrap())
        .await
        .unwrap();
    let scratch = Scratch::new("pins-page").unwrap();
    let service = TokenService::prepare(&scratch, token_service::Options::default()).unwrap();
    Registrations::make(&service, &scratch, "http://127.0.0.1:1/mcp").unwrap();
    let path = format!(
        "{}:{}",
        service.binary().parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let list = blocks("docs/pins.md", "sh list").remove(0);
    let list = list.replace("http://ledger.internal:8080/mcp", &ledger.url());
    for block in [list].into_iter().chain(blocks("docs/pins.md", "sh")) {
        let output = tokio::process::Command::new("sh")
            .args(["-euc", &block])
            .env("PATH", &path)
            .env("USER", "ada")
            .env("WRIT_DATA_DIR", service.data_dir())
            .current_dir(scratch.path())
            .output()
            .await
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{block}\n{told}");
    }
    let pins = service.cli(&["server", "pins", "ledger"]).unwrap();
    assert_eq!(pins.len(), 5, "{pins:?}");
    assert_eq!(pins[0]["by"], "ada");

    let mut modules = library::modules();
    modules.push(Module {
        path: "pinned.rego".to_owned(),
        text: blocks("docs/pins.md", "rego").remove(0),
    });
    let data = Data::from_json(library::example_data()).unwrap();
    let mut evaluator = Evaluator::new(&compile(&modules).unwrap(), &data).unwrap();
    let question = |pinned: bool| {
        let mut input = blocks("docs/library.md", "json question").remove(0);
        input = input.replace("\"tool\": \"transfer\"", "\"tool\": \"listAccounts\"");
        input = input.replace("\"pinned\": false", &format!("\"pinned\": {pinned}"));
        let mut input: Value = serde_json::from_str(&input).unwrap();
        input["server"]["labels"]["pinned"] = "true".into();
        input
    };
    let mut allowed = |pinned| -> Value {
        let answer: Value = evaluator.judge(CALL, &question(pinned)).unwrap();
        answer["allow"].clone()
    };
    assert_eq!((allowed(true), allowed(false)), (true.into(), false.into()));
}

#[tokio::test]
async fn the_policy_is_asked_from_elsewhere_as_the_page_says() {
    let scratch = Scratch::new("authzen-page").unwrap();
    let options = token_service::Options {
        policy: Some(demo_policy(&scratch).unwrap()),
        ..token_service::Options::default()
    };
    let mut service = TokenService::prepare(&scratch, options).unwrap();
    let registered = Registrations::make(&service, &scratch, "http://127.0.0.1:1/mcp").unwrap();
    service.serve().await.unwrap();
    let command = blocks("docs/authzen.md", "sh").remove(0);
    assert!(command.contains("http://127.0.0.1:8181/"));
    let output = std::process::Command::new("sh")
        .args([
            "-euc",
            &command.replace("http://127.0.0.1:8181", &service.issuer()),
        ])
        .env("SECRET", &registered.server_secret)
        .output()
        .unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut expected: Value =
        serde_json::from_str(&blocks("docs/authzen.md", "json").remove(0)).unwrap();
    // The revision and the record are others each time.
    let admin = &answer["context"]["reason_admin"]["403"];
    let told = admin.as_str().unwrap();
    assert!(told.starts_with("cause: policy; policy: "), "{told}");
    let record = told.rsplit(' ').next().unwrap();
    let records = service.audit().unwrap();
    assert!(
        records
            .iter()
            .any(|r| r["id"] == record && r["kind"] == "evaluation")
    );
    expected["context"]["reason_admin"]["403"] = admin.clone();
    assert_eq!(answer, expected);
}

#[test]
fn the_service_configuration_is_accepted() {
    let scratch = Scratch::new("service-config").unwrap();
    let file = scratch.path().join("writ.toml");
    let config = blocks("docs/configuration.md", "toml").remove(0);
    std::fs::write(
        &file,
        config.replace("\"writ-data\"", "\"data\"").replace(
            "\"policies\"",
            &format!("{:?}", workspace().join("policies")),
        ),
    )
    .unwrap();
    let output = std::process::Command::new(writ_tests::binaries::writ().unwrap())
        .args(["--config", file.to_str().unwrap(), "server", "list"])
        .current_dir(scratch.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn what_is_kept_of_arguments_is_configured_as_the_page_says() {
    let scratch = Scratch::new("arguments").unwrap();
    let run = |arguments: &[&str]| {
        let mut writ = std::process::Command::new(writ_tests::binaries::writ().unwrap());
        writ.args(arguments)
            .current_dir(scratch.path())
            .output()
            .unwrap()
    };
    let config = blocks("docs/audit.md", "toml arguments").remove(0);
    scratch.write("writ.toml", &config).unwrap();
    let key = run(&["keys", "generate-encryption-key"]).stdout;
    let seal = scratch
        .write("seal", String::from_utf8(key).unwrap())
        .unwrap();
    std::fs::set_permissions(seal, Permissions::from_mode(0o600)).unwrap();
    let output = run(&["--config", "writ.toml", "server", "list"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}

#[test]
fn who_sees_the_log_is_configured_as_the_page_says() {
    for (info, told) in [
        ("toml witnessed", "/audit+"),
        ("toml witness", "witness.example.com+"),
        ("toml endpoint", "/audit+"),
    ] {
        let scratch = Scratch::new("witness").unwrap();
        let file = scratch.write("writ.toml", blocks("docs/audit.md", info).remove(0));
        let witness = ["--witness"].iter().filter(|_| info.ends_with("witness"));
        let output = std::process::Command::new(writ_tests::binaries::writ().unwrap())
            .args(["--config", file.unwrap().to_str().unwrap(), "audit", "key"])
            .args(witness)
            .current_dir(scratch.path())
            .output()
            .unwrap();
        let (key, errors) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(key.contains(told), "{key}{errors}");
    }
}

#[test]
fn the_guide_to_workloads_can_be_followed() {
    let scratch = Scratch::new("workloads").unwrap();
    let file = scratch.path().join("writ.toml");
    std::fs::write(&file, blocks("docs/workloads.md", "toml").join("\n")).unwrap();
    let writ = writ_tests::binaries::writ().unwrap();
    let path = format!(
        "{}:{}",
        writ.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    for commands in blocks("docs/workloads.md", "sh") {
        let output = std::process::Command::new("sh")
            .args(["-euc", &commands])
            .current_dir(scratch.path())
            .env("PATH", &path)
            .env("WRIT_CONFIG", &file)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{commands}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn the_registration_guide_can_be_followed() {
    let scratch = Scratch::new("registration").unwrap();
    let file = scratch.path().join("writ.toml");
    let config = blocks("docs/registration.md", "toml").remove(0);
    std::fs::write(&file, config).unwrap();
    let binary = writ_tests::binaries::writ().unwrap();
    let path = format!(
        "{}:{}",
        binary.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    for commands in blocks("docs/registration.md", "sh") {
        let output = std::process::Command::new("sh")
            .args(["-euc", &commands])
            .current_dir(scratch.path())
            .env("PATH", &path)
            .env("WRIT_DATA_DIR", scratch.path().join("data"))
            .env("WRIT_CONFIG", &file)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{commands}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    for json in blocks("docs/registration.md", "json") {
        let _: Value = serde_json::from_str(&json).unwrap();
    }
}

#[test]
fn the_guide_to_signing_in_is_a_configuration() {
    let scratch = Scratch::new("sign-in").unwrap();
    let config = scratch
        .write("writ.toml", blocks("docs/sign-in.md", "toml").remove(0))
        .unwrap();
    scratch.write("corp.svg", "<svg/>").unwrap();
    scratch.write("corp.secret", "secret\n").unwrap();
    let output = std::process::Command::new(writ_tests::binaries::writ().unwrap())
        .args(["--config", config.to_str().unwrap(), "provider", "list"])
        .current_dir(scratch.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_policy_examples_compile_and_load() {
    for rego in blocks("docs/policies.md", "rego") {
        compile(&[Module {
            path: "docs/policies.md".to_owned(),
            text: rego,
        }])
        .unwrap();
    }
    let program = compile(&library::modules()).unwrap();
    for data in blocks("docs/policies.md", "json data") {
        Evaluator::new(&program, &Data::from_json(&data).unwrap()).unwrap();
    }
    for (document, info) in [
        ("docs/policies.md", "json"),
        ("docs/verifying.md", "json claims"),
        ("docs/tasks.md", "json task"),
    ] {
        for json in blocks(document, info) {
            let _: Value = serde_json::from_str(&json).unwrap();
        }
    }
}

#[test]
fn the_guide_to_policies_can_be_followed() {
    let scratch = Scratch::new("policies").unwrap();
    for entry in std::fs::read_dir(workspace().join("policies")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.ends_with(".rego") || name == "data.json" {
            let text = std::fs::read_to_string(&path).unwrap();
            scratch.write(&format!("policies/{name}"), &text).unwrap();
            let more = format!("{text}\n");
            scratch.write(&format!("candidate/{name}"), more).unwrap();
        }
    }
    let input = blocks("docs/policies.md", "json").remove(0);
    scratch.write("input.json", input).unwrap();
    let service = TokenService::prepare(&scratch, token_service::Options::default()).unwrap();
    Registrations::make(&service, &scratch, "http://127.0.0.1:1/mcp").unwrap();
    let path = format!(
        "{}:{}",
        service.binary().parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    for commands in blocks("docs/policies.md", "sh") {
        let output = std::process::Command::new("sh")
            .args(["-euc", &commands])
            .current_dir(scratch.path())
            .env("PATH", &path)
            .env("WRIT_DATA_DIR", service.data_dir())
            .env("USER", "ada")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{commands}\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[tokio::test]
async fn recorded_decisions_are_replayed_and_explained_as_the_guide_says() {
    let demo = Deployment::start(deployment::Options::named("replay"))
        .await
        .unwrap();
    for entry in std::fs::read_dir(demo.scratch.path().join("policy")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let text = match name {
            "data.json" => text.replacen('{', r#"{"read_only": {"agents": {"batch": true}},"#, 1),
            _ => text,
        };
        demo.scratch
            .write(&format!("candidate/{name}"), text)
            .unwrap();
    }
    let token = demo.batch_token().await.unwrap();
    for tool in ["reconcile", "transfer"] {
        let call = demo.post_call(&token, tool, &serde_json::json!({}));
        assert_eq!(call.send().await.unwrap().status(), 200, "{tool}");
    }
    let denied = |record: &Value| record["kind"] == "denied" && record["target"] == "transfer";
    let denied = demo.audit_record("the denial", denied).await.unwrap();
    let run = |commands: &str| {
        let binary = demo.service.binary().parent().unwrap();
        let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
        let output = std::process::Command::new("sh")
            .args(["-euc", commands])
            .current_dir(demo.scratch.path())
            .env("PATH", path)
            .env("WRIT_DATA_DIR", demo.service.data_dir())
            .env("WRIT_POLICY__DIR", demo.scratch.path().join("policy"))
            .output()
            .unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code().unwrap(), said)
    };

    let (status, said) = run(&blocks("docs/policies.md", "sh replay").remove(0));
    assert_eq!(status, 1, "{said}");
    for part in [
        "1 would flip",
        "allow → deny",
        "tools/call reconcile",
        "batch may only read",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }

    let explain = blocks("docs/policies.md", "sh explain").remove(0);
    let (command, _) = explain.rsplit_once(' ').unwrap();
    let (status, said) = run(&format!("{command} {}", denied["id"].as_str().unwrap()));
    assert_eq!(status, 0, "{said}");
    for part in [
        "denied by the gateway",
        "its registration does not name this",
        "agents.rego:",
        "did not hold, and came no further than this:",
        "read_only.rego:28          data.writ.read_only.objections  line 29: only_reads",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
}

/// Which of these data keep to the schemas of the policy library.
fn as_the_schemas_say(all: &[String]) -> Vec<bool> {
    let script = r#"
import json, pathlib, sys
from jsonschema import Draft202012Validator
folder = pathlib.Path(sys.argv[1])
schemas = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
for schema in schemas.values():
    Draft202012Validator.check_schema(schema)
validators = {name: Draft202012Validator(schema) for name, schema in schemas.items()}
def is_valid(data):
    missing = set(data) - set(schemas)
    assert not missing, f"no schema for {missing}"
    return all(validators[name].is_valid(part) for name, part in data.items())
json.dump([is_valid(json.loads(data)) for data in json.loads(sys.argv[2])], sys.stdout)
"#;
    let output = std::process::Command::new(writ_tests::tools::python().unwrap())
        .args(["-c", script])
        .arg(workspace().join("policies/schemas/writ"))
        .arg(serde_json::to_string(all).unwrap())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_librarys_data_is_as_its_schemas_say_and_mistakes_are_not() {
    let mut modules = library::modules();
    modules.push(Module {
        path: "result.rego".to_owned(),
        text: std::fs::read_to_string(workspace().join("policies/result.rego")).unwrap(),
    });
    let is_taken = |data: &str| {
        let data: Value = serde_json::from_str(data).unwrap();
        authoring::data::misfits(&modules, data.as_object().unwrap()).is_empty()
    };
    let mut examples = blocks("docs/library.md", "json data");
    examples.extend(blocks("docs/policies.md", "json data"));
    examples.push(library::example_data().to_owned());
    let said = as_the_schemas_say(&examples);
    assert_eq!(said.len(), examples.len());
    for (data, is_so) in examples.iter().zip(said) {
        assert!(is_so, "{data}");
        assert!(is_taken(data), "{data}");
    }
    let mistakes = [
        r#"{"access":{"ledger":{"tool":{"transfer":{"finance":true}}}}}"#,
        r#"{"access":{"ledger":{"tools":{"transfer":{"finance":"true"}}}}}"#,
        r#"{"roles":{"cfo":"treasurer"}}"#,
        r#"{"labels":{"ledger":{"requires":{"*":{"agent":{"team":{"red":true}}}}}}}"#,
        r#"{"labels":{"ledger":{"grant":{"*":{}}}}}"#,
        r#"{"limits":{"ledger":{"transfer":{"amount":{"maximum":5}}}}}"#,
        r#"{"limits":{"ledger":5}}"#,
        r#"{"hours":{"ledger":{"transfer":{"zone":"UTC","days":["Mon"],"from":8,"until":18}}}}"#,
        r#"{"budgets":{"ledger":{"transfer":{"calls":"20"}}}}"#,
        r#"{"duties":{"ledger":{"approve":{}}}}"#,
        r#"{"classification":{"levels":{"personal":{"scopes":["a"]}}}}"#,
        r#"{"classification":{"levels":{"personal":{"scopes":{"a b":true}}}}}"#,
        r#"{"environments":{"production":{"tickets":{}}}}"#,
        r#"{"read_only":{"agents":["reporter"]}}"#,
        r#"{"risk":{"ledger":{"low":["listAccounts"]}}}"#,
    ]
    .map(str::to_owned);
    let said = as_the_schemas_say(&mistakes);
    assert_eq!(said.len(), mistakes.len());
    for (mistake, is_so) in mistakes.iter().zip(said) {
        assert!(!is_so, "{mistake}");
        assert!(!is_taken(mistake), "{mistake}");
    }
}

#[test]
fn no_link_leads_nowhere() {
    let mut documents = vec!["README.md".to_owned()];
    for entry in std::fs::read_dir(workspace().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") {
            documents.push(format!("docs/{name}"));
        }
    }
    for document in documents {
        let text = std::fs::read_to_string(workspace().join(&document)).unwrap();
        let folder = Path::new(&document).parent().unwrap();
        for link in text
            .split("](")
            .skip(1)
            .map(|rest| rest.split(')').next().unwrap())
        {
            if link.starts_with("https://") {
                continue;
            }
            let (file, section) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => workspace().join(&document),
                file => workspace().join(folder).join(file),
            };
            let exists = target.exists() && (section.is_empty() || has_section(&target, section));
            assert!(exists, "{document} links to {link}, which is not there");
        }
    }
}

/// Whether a document has a heading that links name so: in lower case, with hyphens for spaces, without punctuation.
fn has_section(document: &Path, section: &str) -> bool {
    std::fs::read_to_string(document)
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .any(|heading| {
            let name: String = (heading
                .trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars())
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
            name == section
        })
}
