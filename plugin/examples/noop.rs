//! A filter that does nothing: what the benchmark subtracts to tell the VM's own cost from Writ's.
//!
//! `cargo build --profile wasm --target wasm32-wasip1 -p writ-plugin --example noop`

#![allow(
    missing_docs,
    reason = "`proxy_wasm::main!` makes an export without documentation"
)]

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root));
}}

struct Root;

impl Context for Root {}

impl RootContext for Root {
    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream))
    }
}

struct Stream;

impl Context for Stream {}

impl HttpContext for Stream {}
