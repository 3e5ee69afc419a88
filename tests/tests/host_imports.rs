//! The module as it is loaded: what it imports, what it exports, how big it is.

mod host;

use host::filter;

/// Envoy fails to load a module that imports anything else.
const WASI: [&str; 6] = [
    "clock_time_get",
    "random_get",
    "environ_sizes_get",
    "environ_get",
    "fd_write",
    "proc_exit",
];

/// Functions of the proxy-wasm ABI 0.2.1 that Envoy 1.40 has, without the prefix `proxy_`.
const ABI: [&str; 39] = [
    "add_header_map_value",
    "call_foreign_function",
    "close_stream",
    "continue_stream",
    "define_metric",
    "dequeue_shared_queue",
    "done",
    "enqueue_shared_queue",
    "get_buffer_bytes",
    "get_buffer_status",
    "get_current_time_nanoseconds",
    "get_header_map_pairs",
    "get_header_map_size",
    "get_header_map_value",
    "get_log_level",
    "get_metric",
    "get_property",
    "get_shared_data",
    "get_status",
    "grpc_call",
    "grpc_cancel",
    "grpc_close",
    "grpc_send",
    "grpc_stream",
    "http_call",
    "increment_metric",
    "log",
    "record_metric",
    "register_shared_queue",
    "remove_header_map_value",
    "replace_header_map_value",
    "resolve_shared_queue",
    "send_local_response",
    "set_buffer_bytes",
    "set_effective_context",
    "set_header_map_pairs",
    "set_property",
    "set_shared_data",
    "set_tick_period_milliseconds",
];

#[test]
fn the_filter_imports_only_what_envoy_has() {
    for import in filter().imports() {
        let known = match (import.module(), import.name().strip_prefix("proxy_")) {
            ("env", Some(name)) => ABI.contains(&name),
            ("wasi_snapshot_preview1", None) => WASI.contains(&import.name()),
            _ => false,
        };
        assert!(known, "Envoy has no {}.{}", import.module(), import.name());
    }
}

#[test]
fn the_filter_speaks_abi_0_2_1() {
    let exports: Vec<&str> = filter().exports().map(|export| export.name()).collect();
    for wanted in [
        "proxy_abi_version_0_2_1",
        "proxy_on_memory_allocate",
        "proxy_on_http_call_response",
        "memory",
    ] {
        assert!(exports.contains(&wanted), "{wanted} is not exported");
    }
}

#[test]
fn the_filter_is_at_most_four_megabytes() {
    let size = std::fs::metadata(host::filter_path())
        .expect("the filter is built")
        .len();
    assert!(size <= 4 * 1024 * 1024, "{size} bytes");
}
