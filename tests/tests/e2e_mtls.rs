//! A gateway on another machine: the guide's `[gateway.tls]` and Envoy's side of it, with certificates on both sides and
//! no secret anywhere (RFC 8705).

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use serde_json::json;
use writ_tests::binaries::workspace;
use writ_tests::deployment::{demo_policy, gateway_yaml, verifying_ledger};
use writ_tests::envoy::{Envoy, Options, Yaml};
use writ_tests::ledger::Ledger;
use writ_tests::oauth::{Client, client_credentials};
use writ_tests::registrations::{BATCH, GATEWAY, Registrations, SCOPES, SERVER};
use writ_tests::scratch::Scratch;
use writ_tests::token_service::{self, TokenService};
use writ_tests::wait::{PATIENCE, until};
use writ_tests::{mcp, ports};

const NAME: &str = "spiffe://example.com/gateway/far";

/// Writes an authority, the service's certificate, and a gateway's under `name`.
fn certificates(scratch: &Scratch, name: &str) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    // Another name than what it signs, or that passes for self-signed.
    params
        .distinguished_name
        .push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap();
    scratch.write("ca.pem", authority.pem()).unwrap();
    let issuer = Issuer::new(params, key);
    for (file, name) in [
        (
            "service",
            SanType::DnsName("writ.example.com".try_into().unwrap()),
        ),
        ("gateway", SanType::URI(name.try_into().unwrap())),
    ] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = vec![name];
        let certificate = params.signed_by(&key, &issuer).unwrap();
        scratch
            .write(&format!("{file}.pem"), certificate.pem())
            .unwrap();
        scratch
            .write(&format!("{file}.key"), key.serialize_pem())
            .unwrap();
    }
}

/// What the guide gives the `writ` cluster, with this directory's files.
fn transport_socket(scratch: &Scratch) -> String {
    let guide = std::fs::read_to_string(workspace().join("docs/gateway.md")).unwrap();
    let at = guide.find("transport_socket:").unwrap();
    let snippet = guide[at..].split("```").next().unwrap();
    let path = |file: &str| scratch.path().join(file).display().to_string();
    snippet
        .replace("gateway.pem", &path("gateway.pem"))
        .replace("gateway.key", &path("gateway.key"))
        .replace("ca.pem", &path("ca.pem"))
        .lines()
        .map(|line| format!("      {line}\n"))
        .collect()
}

/// The shipped gateway, as the gateway `far` behind the guide's certificate.
fn yaml(scratch: &Scratch, upstream: u16, service: &TokenService) -> Yaml {
    let printed = service.cli(&["snapshot", "key"]).unwrap();
    let key = printed[0]["snapshot_key"].as_str().unwrap();
    let cluster = "    - name: writ\n      type: STATIC\n";
    gateway_yaml(upstream, service.gateway_port())
        .unwrap()
        .replace(cluster, &format!("{cluster}{}", transport_socket(scratch)))
        .unwrap()
        .replace(
            &format!("\"gateway_id\": \"{GATEWAY}\","),
            "\"gateway_id\": \"far\",",
        )
        .unwrap()
        .replace(
            "\"secret_env\": \"WRIT_GATEWAY_SECRET\",",
            &format!("\"snapshot_key\": \"{key}\","),
        )
        .unwrap()
}

struct World {
    envoy: Envoy,
    token: String,
    _service: TokenService,
    _ledger: Ledger,
    _scratch: Scratch,
}

/// A service that takes certificates, and an Envoy whose certificate has `name` in it.
async fn start(test: &str, name: &str) -> World {
    let scratch = Scratch::new(test).unwrap();
    certificates(&scratch, name);
    let path = |file: &str| scratch.path().join(file).display().to_string();
    let config = format!(
        "[gateway.tls]\ncert_file = {:?}\nkey_file = {:?}\nclient_ca_file = {:?}\n",
        path("service.pem"),
        path("service.key"),
        path("ca.pem")
    );
    let options = token_service::Options {
        policy: Some(demo_policy(&scratch).unwrap()),
        config: Some(config),
        ..token_service::Options::default()
    };
    let mut service = TokenService::prepare(&scratch, options).unwrap();
    let port = ports::free().unwrap();
    let resource = format!("http://127.0.0.1:{port}/mcp");
    let registered = Registrations::make(&service, &scratch, &resource).unwrap();
    let far = [
        "gateway",
        "add",
        "far",
        "--server",
        SERVER,
        "--certificate-san",
        NAME,
    ];
    service.cli(&far).unwrap();
    service.serve().await.unwrap();
    let listener = Ledger::bind().await.unwrap();
    let upstream = listener.local_addr().unwrap().port();
    let ledger = verifying_ledger(listener, &service, &registered)
        .await
        .unwrap();
    let envoy_options = Options {
        port: Some(port),
        ..Options::default()
    };
    let yaml = yaml(&scratch, upstream, &service);
    let envoy = Envoy::start(&scratch, yaml, envoy_options).await.unwrap();
    let client = Client::Secret {
        id: BATCH,
        secret: &registered.batch_secret,
    };
    let token = client_credentials(&service.issuer(), &client, &resource, SCOPES)
        .await
        .unwrap();
    World {
        envoy,
        token,
        _service: service,
        _ledger: ledger,
        _scratch: scratch,
    }
}

#[tokio::test]
async fn a_gateway_with_the_guides_certificate_needs_no_secret() {
    let world = start("mtls", NAME).await;
    let http = reqwest::Client::new();
    let url = world.envoy.url("/mcp");
    let result = until("a governed call to go through", PATIENCE, async || {
        let account = json!({ "account": "ops" });
        let call = mcp::post_call(&http, &url, &world.token, "getAccount", &account);
        let answer = mcp::message_in(&call.send().await.ok()?.text().await.ok()?).ok()?;
        answer.get("result").cloned()
    })
    .await
    .unwrap_or_else(|e| panic!("{e}\n{}", world.envoy.process().tail()));
    assert_eq!(result["structuredContent"]["id"], "ops", "{result}");
}

#[tokio::test]
async fn a_gateway_whose_certificate_is_not_registered_gets_nothing() {
    let world = start("mtls-stranger", "spiffe://example.com/gateway/near").await;
    let refused = "the token service does not know this gateway";
    until(
        "the filter to be refused its snapshot",
        PATIENCE,
        async || world.envoy.log().contains(refused).then_some(()),
    )
    .await
    .unwrap();
    let http = reqwest::Client::new();
    let url = world.envoy.url("/mcp");
    let call = mcp::post_call(&http, &url, &world.token, "getAccount", &json!({}));
    assert_eq!(call.send().await.unwrap().status(), 503);
}
