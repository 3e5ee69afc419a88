//! What the end-to-end tests, the demo and the benchmark share: real processes on loopback, started by
//! condition and stopped for certain.
//!
//! - [`envoy`] runs a shipped Envoy YAML, with only ports and paths replaced;
//! - [`guard`] runs another one on the sidecar's YAML, before the MCP server;
//! - [`token_service`] runs the `writ` binary and its command line, [`postgres`] a database to kill, and [`exchange`] asks for
//!   tokens as a gateway does;
//! - [`ledger`] is a real MCP server that verifies its tokens by itself;
//! - [`idp`] is the corporate identity provider, a certified one;
//! - [`oauth`] gets a caller's token as an agent would;
//! - [`mcp`] speaks MCP with rmcp or by hand, [`clients`] with the other SDKs;
//! - [`documents`] hosts what an application says about itself, over TLS;
//! - [`reference`] is a server of both eras on rmcp, [`servers`] runs its siblings on the other SDKs, [`connector`] one on
//!   standard streams behind `writ connect`;
//! - [`traps`] is what can be wrong around the filter, and a server that sees what then happens;
//! - [`waiting`] is a server that streams, [`changing`] one whose tools change under way, [`signer`] signs tokens by hand, good and bad;
//! - [`deployment`] puts them all together, with [`registrations`], for tests that start from a working whole;
//!   [`replicas`] is one with two token services.
//!
//! Below those: [`docs`], [`process`], [`scratch`], [`wait`], [`ports`], [`binaries`], [`tools`].

pub mod binaries;
pub mod bundle_server;
pub mod changing;
pub mod clients;
pub mod connector;
pub mod deployment;
pub mod docs;
pub mod documents;
pub mod egress;
pub mod envoy;
pub mod exchange;
pub mod guard;
pub mod idp;
pub mod ledger;
pub mod mcp;
pub mod oauth;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod reference;
pub mod registrations;
pub mod replicas;
pub mod scratch;
pub mod servers;
pub mod serving;
pub mod signer;
pub mod talking;
pub mod token_service;
pub mod tools;
pub mod traps;
pub mod wait;
pub mod waiting;

/// Installs what TLS is done with: reqwest makes no client without.
pub fn provide_tls() {
    // Fails when it is installed already.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
}
