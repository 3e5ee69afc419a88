//! `writ doctor` on a running installation: everything right, and each thing that can be wrong around the filter.

use std::collections::BTreeMap;

use serde_json::Value;
use writ_tests::envoy::{Envoy, Options, Yaml};
use writ_tests::scratch::Scratch;
use writ_tests::token_service::{self, TokenService};

/// A listener like the shipped one with something wrong in it.
struct Broken {
    name: &'static str,
    /// The check that has to notice, and how bad it is.
    noticed: (&'static str, &'static str),
    replace: &'static str,
    by: &'static str,
}

const fn broken(
    name: &'static str,
    noticed: (&'static str, &'static str),
    replace: &'static str,
    by: &'static str,
) -> Broken {
    Broken {
        name,
        noticed,
        replace,
        by,
    }
}

const BROKEN: [Broken; 16] = [
    broken(
        "not-last",
        ("filter order", "problem"),
        "                  - name: envoy.filters.http.router\n",
        r#"                  - name: cors
                    typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors }
                  - name: envoy.filters.http.router
"#,
    ),
    broken(
        "headers-go-on",
        ("header holding", "problem"),
        "allow_on_headers_stop_iteration: true",
        "allow_on_headers_stop_iteration: false",
    ),
    broken(
        "fails-open",
        ("failure policy", "problem"),
        "failure_policy: FAIL_CLOSED",
        "failure_policy: FAIL_OPEN",
    ),
    broken(
        "switched-off",
        ("filter", "problem"),
        "                  - name: writ\n",
        "                  - name: writ\n                    disabled: true\n",
    ),
    broken(
        "retries-on-a-route",
        ("retries", "problem"),
        "timeout: 0s\n",
        "timeout: 0s\n                            retry_policy: { retry_on: 5xx }\n",
    ),
    broken(
        "hedges",
        ("retries", "problem"),
        "timeout: 0s\n",
        "timeout: 0s\n                            hedge_policy: { hedge_on_per_try_timeout: true }\n",
    ),
    broken(
        "retries-on-a-host",
        ("retries", "problem"),
        "domains: [\"*\"]\n",
        "domains: [\"*\"]\n                      retry_policy: { retry_on: 5xx }\n",
    ),
    broken(
        "retries-on-a-cluster",
        ("retries", "problem"),
        "cluster: ledger\n",
        "cluster: retrying\n",
    ),
    broken(
        "mirrors-a-route",
        ("mirroring", "problem"),
        "timeout: 0s\n",
        "timeout: 0s\n                            request_mirror_policies: [ { cluster: ledger } ]\n",
    ),
    broken(
        "mirrors-a-host",
        ("mirroring", "problem"),
        "domains: [\"*\"]\n",
        "domains: [\"*\"]\n                      request_mirror_policies: [ { cluster: ledger } ]\n",
    ),
    broken(
        "upgrades",
        ("upgrades", "problem"),
        "                http_filters:\n",
        "                upgrade_configs: [ { upgrade_type: websocket } ]\n                http_filters:\n",
    ),
    broken(
        "bypassed",
        ("bypasses", "problem"),
        "- match: { path: /mcp }\n",
        r#"- match: { path: /mcp }
                          typed_per_filter_config:
                            writ: { "@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true }
"#,
    ),
    broken(
        "small-buffer",
        ("buffers", "problem"),
        "      per_connection_buffer_limit_bytes: 2097152\n",
        "      per_connection_buffer_limit_bytes: 65536\n",
    ),
    broken(
        "unknown-server",
        ("routes", "problem"),
        "server: ledger",
        "server: nobody",
    ),
    broken(
        "no-rate-limit",
        ("rate limit", "warning"),
        "name: envoy.filters.http.local_ratelimit",
        "name: something-else",
    ),
    broken(
        "http1-mints",
        ("token service", "warning"),
        "\"cluster\": \"writ\"",
        "\"cluster\": \"http1\"",
    ),
];

/// Clusters for them.
const CLUSTERS: &str = r#"
  clusters:
    - name: http1
      type: STATIC
      load_assignment: { cluster_name: http1 }
    - name: retrying
      type: STATIC
      per_connection_buffer_limit_bytes: 2097152
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: { http_protocol_options: {} }
          retry_policy: { retry_on: 5xx }
      load_assignment: { cluster_name: retrying }
"#;

/// The shipped Envoy, and the broken listeners beside its own.
fn with_broken_listeners(shipped: &Yaml) -> Yaml {
    let text = shipped.as_str();
    let start = text.find("    - name: mcp\n      address").unwrap();
    let (before, clusters) = text.split_once("\n  clusters:\n").unwrap();
    let listener = before.get(start..).unwrap();
    let broken = BROKEN.map(|one| {
        assert!(listener.contains(one.replace), "{}", one.name);
        listener
            .replacen("- name: mcp\n", &format!("- name: {}\n", one.name), 1)
            .replace("port_value: 10000 }", "port_value: 0 }")
            .replacen(one.replace, one.by, 1)
    });
    let broken = broken.join("\n");
    Yaml::text(format!("{before}\n{broken}{CLUSTERS}{clusters}"))
}

#[tokio::test]
async fn the_doctor_notices_whatever_is_wrong_around_the_filter() {
    let scratch = Scratch::new("doctor").unwrap();
    let service = TokenService::start(&scratch, token_service::Options::default())
        .await
        .unwrap();
    let server = ["server", "add", "ledger", "--audience", "urn:ledger"];
    let how = [
        "--resource",
        "http://127.0.0.1/mcp",
        "--enforcement",
        "introspect",
    ];
    service.cli(&[server.as_slice(), &how].concat()).unwrap();
    let secret = service
        .cli_secret(&["gateway", "add", "edge", "--server", "ledger"])
        .unwrap();
    let yaml = with_broken_listeners(&Yaml::shipped("gateway.yaml").unwrap())
        .port(8182, service.gateway_port())
        .unwrap();
    let options = Options {
        env: vec![("WRIT_GATEWAY_SECRET".to_owned(), secret)],
        ..Options::default()
    };
    let envoy = Envoy::start(&scratch, yaml, options).await.unwrap();

    let output = service
        .output(&["doctor", "--envoy-admin", &envoy.admin_url("/")])
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "there are problems");
    let found: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut wrong: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for one in &found {
        let text = |name: &str| one[name].as_str().unwrap();
        let named = text("found").strip_prefix("listener ");
        let listener = named.and_then(|rest| rest.split(':').next()).unwrap_or("");
        if text("level") == "ok" {
            assert!(one.get("fix").is_none(), "{one}");
        } else {
            assert!(!text("fix").is_empty(), "{one}");
            let noticed = (text("check"), text("level"));
            wrong.entry(listener).or_default().push(noticed);
        }
    }
    assert_eq!(wrong.remove("mcp"), None, "the shipped listener is right");
    let of_service = wrong.remove("").unwrap_or_default();
    assert_eq!(of_service, [("keys", "warning")], "they lie in clear here");
    for one in BROKEN {
        assert_eq!(
            wrong.remove(one.name),
            Some(vec![one.noticed]),
            "{}",
            one.name
        );
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
