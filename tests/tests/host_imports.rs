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

#[test]
fn the_filter_imports_only_what_envoy_has() {
    for import in filter().imports() {
        match import.module() {
            "env" => assert!(import.name().starts_with("proxy_"), "env.{}", import.name()),
            "wasi_snapshot_preview1" => {
                assert!(WASI.contains(&import.name()), "wasi {}", import.name())
            }
            module => panic!("{module}.{}", import.name()),
        }
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
