//! The traps. Settings are spoilt in the text of `envoy/gateway.yaml`, which says why each is there.

use super::{Edit, Trap};

/// The shipped circuit breaker stops retries even where somebody turns them on; this takes it away.
const NO_BREAKER: &[Edit] = &[("max_retries: 0", "max_retries: 3")];

/// Lua after the filter: any filter that changes what passes.
const CHANGES_THE_BODY: Edit = (
    ROUTER,
    r#"                  - name: changes
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
                      default_source_code:
                        inline_string: |
                          function envoy_on_request(request)
                            local body = request:body()
                            local text = body:getBytes(0, body:length())
                            body:setBytes((text:gsub("getAccount", "closeBooks")))
                          end
                  - name: envoy.filters.http.router
"#,
);
const ADDS_A_CREDENTIAL: Edit = (
    ROUTER,
    r#"                  - name: adds
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
                      default_source_code:
                        inline_string: |
                          function envoy_on_request(request)
                            request:headers():replace("authorization", "Bearer standing-credential")
                          end
                  - name: envoy.filters.http.router
"#,
);
const ROUTER: &str = "                  - name: envoy.filters.http.router\n";
const WRIT: &str = "                  - name: writ\n";
const ROUTES: &str = "                      routes:\n";
const MCP_ROUTE: &str = "                        - match: { path: /mcp }\n";
const LEADS_TO: &str = "                            cluster: ledger\n";
const HOST: &str = "                      domains: [\"*\"]\n";
const MANAGER: &str = "                stat_prefix: mcp\n";

/// A route that the filter does not govern, before the governed one.
const OPEN_ROUTE: Edit = (
    ROUTES,
    r#"                      routes:
                        - match: { prefix: /public/ }
                          typed_per_filter_config:
                            writ: { "@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true }
                          route: { cluster: ledger }
                        - match: { prefix: // }
                          typed_per_filter_config:
                            writ: { "@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true }
                          route: { cluster: ledger }
"#,
);

const fn in_listener(
    name: &'static str,
    listener: &'static [Edit],
    noticed: &'static [(&'static str, &'static str)],
) -> Trap {
    Trap {
        name,
        listener,
        cluster: &[],
        noticed,
    }
}

const fn in_both(
    name: &'static str,
    listener: &'static [Edit],
    cluster: &'static [Edit],
    noticed: &'static [(&'static str, &'static str)],
) -> Trap {
    Trap {
        name,
        listener,
        cluster,
        noticed,
    }
}

/// A token that was minted for one request is sent once.
pub const SENT_ONCE: &[Trap] = &[
    in_both(
        "retries-on-a-route",
        &[(
            LEADS_TO,
            "                            cluster: ledger\n                            retry_policy: { retry_on: 5xx }\n",
        )],
        NO_BREAKER,
        &[("retries", "problem"), ("retry breaker", "warning")],
    ),
    in_both(
        "retries-on-a-host",
        &[(
            HOST,
            "                      domains: [\"*\"]\n                      retry_policy: { retry_on: 5xx }\n",
        )],
        NO_BREAKER,
        &[("retries", "problem"), ("retry breaker", "warning")],
    ),
    in_both(
        "retries-on-a-cluster",
        &[],
        &[
            ("max_retries: 0", "max_retries: 3"),
            (
                "explicit_http_config: { http_protocol_options: {} }\n",
                "explicit_http_config: { http_protocol_options: {} }\n          retry_policy: { retry_on: 5xx }\n",
            ),
        ],
        &[("retries", "problem"), ("retry breaker", "warning")],
    ),
    in_both(
        "hedges",
        &[(
            LEADS_TO,
            "                            cluster: ledger\n                            retry_policy: { retry_on: 5xx, num_retries: 1, per_try_timeout: 0.3s }\n                            hedge_policy: { hedge_on_per_try_timeout: true }\n",
        )],
        NO_BREAKER,
        &[("retries", "problem"), ("retry breaker", "warning")],
    ),
    in_listener(
        "retries-behind-the-breaker",
        &[(
            LEADS_TO,
            "                            cluster: ledger\n                            retry_policy: { retry_on: 5xx }\n",
        )],
        &[("retries", "problem")],
    ),
    in_both(
        "without-a-breaker",
        &[],
        NO_BREAKER,
        &[("retry breaker", "warning")],
    ),
    in_both(
        "retries-by-header",
        &[(
            "internal_address_config: { cidr_ranges: [{ address_prefix: \"100::\", prefix_len: 128 }] }",
            "internal_address_config: { cidr_ranges: [{ address_prefix: 127.0.0.0, prefix_len: 8 }] }",
        )],
        NO_BREAKER,
        &[
            ("internal callers", "warning"),
            ("retry breaker", "warning"),
        ],
    ),
    in_listener(
        "redirects",
        &[(
            LEADS_TO,
            "                            cluster: ledger\n                            internal_redirect_policy: { redirect_response_codes: [307] }\n",
        )],
        &[("retries", "problem")],
    ),
    in_listener(
        "mirrors-a-route",
        &[(
            LEADS_TO,
            "                            cluster: ledger\n                            request_mirror_policies: [ { cluster: ledger } ]\n",
        )],
        &[("mirroring", "problem")],
    ),
    in_listener(
        "mirrors-a-host",
        &[(
            HOST,
            "                      domains: [\"*\"]\n                      request_mirror_policies: [ { cluster: ledger } ]\n",
        )],
        &[("mirroring", "problem")],
    ),
    in_listener(
        "caller-names-the-cluster",
        &[(
            LEADS_TO,
            "                            cluster_header: x-cluster\n",
        )],
        &[("destinations", "problem")],
    ),
    in_both(
        "keeps-idle-connections",
        &[],
        &[(
            "          common_http_protocol_options: { idle_timeout: 4s }\n",
            "",
        )],
        &[("idle connections", "warning")],
    ),
];

/// Nothing goes past the filter.
pub const SEEN: &[Trap] = &[
    in_listener(
        "upgrades",
        &[(
            MANAGER,
            "                stat_prefix: mcp\n                upgrade_configs: [ { upgrade_type: websocket } ]\n",
        )],
        &[("upgrades", "problem")],
    ),
    in_listener(
        "upgrades-past-the-filter",
        &[(
            MANAGER,
            r#"                stat_prefix: mcp
                upgrade_configs:
                  - upgrade_type: websocket
                    filters:
                      - name: envoy.filters.http.router
                        typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
"#,
        )],
        &[("upgrades", "problem")],
    ),
    in_listener(
        "connects",
        &[
            (
                MANAGER,
                r#"                stat_prefix: mcp
                upgrade_configs:
                  - upgrade_type: CONNECT
                    filters:
                      - name: envoy.filters.http.router
                        typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
"#,
            ),
            (
                ROUTES,
                r#"                      routes:
                        - match: { connect_matcher: {} }
                          metadata: { filter_metadata: { writ: { server: ledger } } }
                          route: { cluster: ledger, timeout: 0s, idle_timeout: 3600s, upgrade_configs: [ { upgrade_type: CONNECT, connect_config: {} } ] }
"#,
            ),
        ],
        &[("upgrades", "problem")],
    ),
    in_listener(
        "bypassed",
        &[(
            MCP_ROUTE,
            r#"                        - match: { path: /mcp }
                          typed_per_filter_config:
                            writ: { "@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true }
"#,
        )],
        &[("bypasses", "problem")],
    ),
    in_listener(
        "bypassed-by-weight",
        &[(
            LEADS_TO,
            r#"                            weighted_clusters:
                              clusters:
                                - name: ledger
                                  weight: 1
                                  typed_per_filter_config:
                                    writ: { "@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true }
"#,
        )],
        &[("bypasses", "problem")],
    ),
    in_listener(
        "switched-off",
        &[(
            WRIT,
            "                  - name: writ\n                    disabled: true\n",
        )],
        &[("filter", "problem")],
    ),
    in_listener(
        "fails-open",
        &[("failure_policy: FAIL_CLOSED", "failure_policy: FAIL_OPEN")],
        &[("failure policy", "problem")],
    ),
    in_listener(
        "headers-go-on",
        &[(
            "allow_on_headers_stop_iteration: true",
            "allow_on_headers_stop_iteration: false",
        )],
        &[("header holding", "problem")],
    ),
    in_listener(
        "a-route-without-a-server",
        &[(
            ROUTES,
            "                      routes:\n                        - { match: { path: /other }, route: { cluster: ledger, timeout: 0s, idle_timeout: 3600s } }\n",
        )],
        &[("routes", "warning")],
    ),
    in_listener(
        "an-unknown-server",
        &[("server: ledger", "server: nobody")],
        &[("routes", "problem")],
    ),
];

/// What was decided on is what the server gets.
pub const UNCHANGED: &[Trap] = &[
    in_listener(
        "changed-after-the-filter",
        &[CHANGES_THE_BODY],
        &[("filter order", "problem")],
    ),
    in_listener(
        "credential-after-the-filter",
        &[ADDS_A_CREDENTIAL],
        &[("filter order", "problem")],
    ),
    in_both(
        "filter-at-the-cluster",
        &[],
        &[(
            "explicit_http_config: { http_protocol_options: {} }\n",
            r#"explicit_http_config: { http_protocol_options: {} }
          http_filters:
            - name: adds
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
                default_source_code:
                  inline_string: |
                    function envoy_on_request(request)
                      request:headers():replace("authorization", "Bearer standing-credential")
                    end
            - name: envoy.filters.http.upstream_codec
              typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec }
"#,
        )],
        &[("cluster filters", "problem")],
    ),
    in_listener(
        "credential-on-a-route",
        &[(
            MCP_ROUTE,
            "                        - match: { path: /mcp }\n                          request_headers_to_add: [ { header: { key: x-api-key, value: standing-credential } } ]\n",
        )],
        &[("credentials", "problem")],
    ),
    in_listener(
        "credential-on-a-host",
        &[(
            HOST,
            "                      domains: [\"*\"]\n                      request_headers_to_add: [ { header: { key: authorization, value: Bearer standing-credential }, append_action: OVERWRITE_IF_EXISTS_OR_ADD } ]\n",
        )],
        &[("credentials", "problem")],
    ),
];

/// What could be read in two ways is refused.
pub const READ_ONE_WAY: &[Trap] = &[
    in_listener(
        "underscores",
        &[(
            "headers_with_underscores_action: REJECT_REQUEST",
            "headers_with_underscores_action: ALLOW",
        )],
        &[("header names", "warning")],
    ),
    in_listener(
        "paths-as-they-come",
        &[
            ("normalize_path: true", "normalize_path: false"),
            OPEN_ROUTE,
        ],
        &[("bypasses", "problem"), ("paths", "problem")],
    ),
    in_listener(
        "slashes-as-they-come",
        &[("merge_slashes: true", "merge_slashes: false"), OPEN_ROUTE],
        &[("bypasses", "problem"), ("paths", "problem")],
    ),
    in_listener(
        "escaped-slashes",
        &[
            (
                "path_with_escaped_slashes_action: REJECT_REQUEST",
                "path_with_escaped_slashes_action: KEEP_UNCHANGED",
            ),
            OPEN_ROUTE,
        ],
        &[("bypasses", "problem"), ("paths", "problem")],
    ),
    in_listener("an-open-route", &[OPEN_ROUTE], &[("bypasses", "problem")]),
    in_listener(
        "two-lengths",
        &[(
            MANAGER,
            "                stat_prefix: mcp\n                http_protocol_options: { allow_chunked_length: true }\n",
        )],
        &[("message length", "problem")],
    ),
    in_listener(
        "trailers",
        &[(
            MANAGER,
            "                stat_prefix: mcp\n                http_protocol_options: { enable_trailers: true }\n",
        )],
        &[],
    ),
];

/// Who calls is who the connection says.
pub const ON_RECORD: &[Trap] = &[
    in_listener(
        "believes-forwarded-for",
        &[("use_remote_address: true", "use_remote_address: false")],
        &[("internal callers", "warning")],
    ),
    in_listener(
        "keeps-request-ids",
        &[(
            MANAGER,
            "                stat_prefix: mcp\n                preserve_external_request_id: true\n",
        )],
        &[("request ids", "warning")],
    ),
    in_listener(
        "private-networks-are-internal",
        &[(
            "internal_address_config: { cidr_ranges: [{ address_prefix: \"100::\", prefix_len: 128 }] }",
            "internal_address_config: { cidr_ranges: [{ address_prefix: 127.0.0.0, prefix_len: 8 }] }",
        )],
        &[("internal callers", "warning")],
    ),
];

/// How much, how fast, how long.
pub const LIMITS: &[Trap] = &[
    in_listener(
        "small-buffer",
        &[(
            "      per_connection_buffer_limit_bytes: 2097152\n",
            "      per_connection_buffer_limit_bytes: 65536\n",
        )],
        &[("buffers", "problem")],
    ),
    in_listener(
        "small-window",
        &[(
            "initial_stream_window_size: 2097152",
            "initial_stream_window_size: 65536",
        )],
        &[("buffers", "problem")],
    ),
    in_listener(
        "no-rate-limit",
        &[(
            "name: envoy.filters.http.local_ratelimit\n",
            "name: envoy.filters.http.local_ratelimit\n                    disabled: true\n",
        )],
        &[("rate limit", "warning")],
    ),
    in_listener(
        "rate-limit-not-enforced",
        &[(
            "                      filter_enforced: { default_value: { numerator: 100, denominator: HUNDRED } }\n",
            "",
        )],
        &[("rate limit", "warning")],
    ),
    in_listener(
        "slow-bodies",
        &[("                request_timeout: 30s\n", "")],
        &[("slow requests", "warning")],
    ),
    in_listener(
        "slow-headers",
        &[("                request_headers_timeout: 10s\n", "")],
        &[("slow requests", "warning")],
    ),
    in_listener(
        "short-responses",
        &[("                            timeout: 0s\n", "")],
        &[("streams", "warning")],
    ),
    in_listener(
        "silent-streams",
        &[("                            idle_timeout: 3600s\n", "")],
        &[("streams", "warning")],
    ),
    in_listener(
        "http1-mints",
        &[("\"cluster\": \"writ\"", "\"cluster\": \"http1\"")],
        &[("token service", "warning")],
    ),
];

/// All of them.
pub fn all() -> impl Iterator<Item = Trap> {
    [SENT_ONCE, SEEN, UNCHANGED, READ_ONE_WAY, ON_RECORD, LIMITS]
        .into_iter()
        .flatten()
        .copied()
}
