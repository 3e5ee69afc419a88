//! `writ`, the service beside the filter: OAuth 2.1 issuer, token exchange, registry and audit trail.
//!
//! A request comes in through [`serve`] and reaches [`oauth`] (everything a standard names), [`gateway`]
//! (what the filter asks for), [`authzen`] (what other enforcement points ask) or [`pages`] (what a person sees). All of them work on one [`app::App`]: the
//! checked [`config`], the [`registry`] of servers, agents and gateways as of one revision, the compiled
//! [`policy`], the signing [`keys`], and the [`store`], the only place that speaks SQL. What happened is an
//! [`audit::Record`]; a token and its record are committed together. [`sinks`] send what is on record to where security
//! teams look, as [`ocsf`] events; [`telemetry`] sends traces and metrics.

pub mod access;
pub mod app;
pub mod audit;
pub mod authzen;
pub mod cli;
pub mod clock;
pub mod config;
pub mod connect;
pub mod doctor;
pub mod federation;
pub mod gateway;
mod hex;
pub mod http;
pub mod keys;
pub mod log;
pub mod oauth;
pub mod ocsf;
pub mod openapi;
mod otlp;
pub mod pages;
pub mod policy;
pub mod private_file;
pub mod rates;
pub mod registry;
pub mod secret;
pub mod serve;
pub mod sinks;
pub mod snapshot;
pub mod store;
pub mod task;
pub mod telemetry;
#[cfg(test)]
#[path = "../tests/shared/database.rs"]
mod test_database;
pub mod verify;
