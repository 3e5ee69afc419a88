//! The Envoys that are compared: the same listener, route and backend, and other filters in between.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;
use serde_json::Value;
use writ_tests::envoy::Yaml;

/// What stands between the listener and the router.
#[derive(Clone, Debug)]
pub enum Filters<'a> {
    /// Nothing.
    Plain,
    /// A Wasm filter that does nothing.
    Noop(&'a Path),
    /// Envoy's own `mcp` and `rbac`. One matcher by prefix allows all the tools: the cheapest rule that
    /// decides by tool, so that this row is no slower than it has to be.
    Native,
    /// Writ with this configuration.
    Writ(&'a Path, &'a Value),
}

impl Filters<'_> {
    fn yaml(&self) -> Result<String> {
        Ok(match self {
            Self::Plain => String::new(),
            Self::Noop(module) => wasm(module, "{}", false)?,
            Self::Native => NATIVE.to_owned(),
            Self::Writ(module, configuration) => wasm(module, &configuration.to_string(), true)?,
        })
    }
}

/// The tools that the native row allows.
const NATIVE: &str = r#"
          - name: envoy.filters.http.mcp
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.mcp.v3.Mcp
              traffic_mode: REJECT_NO_MCP
          - name: envoy.filters.http.rbac
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
              rules:
                action: ALLOW
                policies:
                  tools:
                    principals: [{ any: true }]
                    permissions:
                    - sourced_metadata:
                        metadata_matcher:
                          filter: envoy.filters.http.mcp
                          path: [{ key: params }, { key: name }]
                          value: { string_match: { prefix: tool_ } }"#;

fn wasm(module: &Path, configuration: &str, hold_headers: bool) -> Result<String> {
    Ok(format!(
        r#"
          - name: writ
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config:
                name: writ
                root_id: writ
                failure_policy: FAIL_CLOSED
                allow_on_headers_stop_iteration: {hold_headers}
                vm_config:
                  vm_id: writ
                  runtime: envoy.wasm.runtime.v8
                  code: {{ local: {{ filename: {module} }} }}
                  environment_variables: {{ host_env_keys: [WRIT_GATEWAY_SECRET] }}
                configuration:
                  "@type": type.googleapis.com/google.protobuf.StringValue
                  value: {value}"#,
        module = serde_json::to_string(&module.display().to_string())?,
        value = serde_json::to_string(configuration)?,
    ))
}

/// One row's Envoy configuration. Ports 10000 and 9901 are replaced when it starts.
pub fn yaml(filters: &Filters<'_>, backend: SocketAddr, token_service: u16) -> Result<Yaml> {
    Ok(Yaml::text(format!(
        r#"
admin: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: 9901 }} }} }}
static_resources:
  listeners:
  - name: mcp
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: 10000 }} }}
    per_connection_buffer_limit_bytes: 2097152
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: mcp
          http_filters:{filters}
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            virtual_hosts:
            - name: mcp
              domains: ["*"]
              routes:
              - match: {{ prefix: /mcp }}
                metadata: {{ filter_metadata: {{ writ: {{ server: bench }} }} }}
                route: {{ cluster: backend, timeout: 0s }}
  clusters:
  - name: backend
    type: STATIC
    connect_timeout: 2s
    circuit_breakers: {{ thresholds: [{{ max_connections: 4096, max_pending_requests: 4096, max_requests: 4096 }}] }}
    load_assignment:
      cluster_name: backend
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {backend} }} }} }} }}] }}]
  - name: writ
    type: STATIC
    connect_timeout: 2s
    per_connection_buffer_limit_bytes: 67108864
    circuit_breakers: {{ thresholds: [{{ max_connections: 1024, max_pending_requests: 4096, max_requests: 4096 }}] }}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http2_protocol_options: {{}} }}
    load_assignment:
      cluster_name: writ
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {token_service} }} }} }} }}] }}]
"#,
        filters = filters.yaml()?,
        backend = backend.port(),
    )))
}
