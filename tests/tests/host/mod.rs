//! A proxy-wasm host of our own: it loads the real filter, plays Envoy's callbacks, and fails on request.
//!
//! Real Envoy is where the end-to-end tests run. This host is for what a real Envoy does once a month: a
//! call refused, an answer without headers, a property that is not there, a status that is an error.
//!
//! [`gateway`] is where tests start; [`vm::Vm`] plays callbacks; [`world::World`] is all the state the filter sees; [`abi`] and [`wasi`] are
//! the functions it imports; [`memory`] and [`wire`] how values cross the boundary.

#![allow(dead_code, reason = "each test binary uses its own part of the host")]

pub mod abi;
pub mod gateway;
pub mod memory;
pub mod status;
pub mod vm;
pub mod wasi;
pub mod wire;
pub mod world;

use std::path::PathBuf;
use std::sync::OnceLock;

use wasmtime::{Cache, CacheConfig, Config, Engine, Module, OptLevel};

/// The filter as it ships, compiled once per test binary.
pub fn filter() -> &'static Module {
    static MODULE: OnceLock<Module> = OnceLock::new();
    MODULE.get_or_init(|| {
        let mut config = Config::new();
        // The filter runs for milliseconds here: compile fast rather than well.
        config.cranelift_opt_level(OptLevel::None);
        // And once for all tests, which have a process each.
        let mut cache = CacheConfig::new();
        cache.with_directory(writ_tests::binaries::workspace().join("target/tmp/wasmtime"));
        config.cache(Some(Cache::new(cache).expect("target is writable")));
        let engine = Engine::new(&config).expect("wasmtime accepts its own default settings");
        let path = filter_path();
        Module::from_file(&engine, &path)
            .unwrap_or_else(|error| panic!("{} is not a wasm module: {error:#}", path.display()))
    })
}

/// Where the shipped module lies; built if it is not there (`WRIT_WASM` names another).
pub fn filter_path() -> PathBuf {
    writ_tests::binaries::wasm().expect("the filter builds")
}
