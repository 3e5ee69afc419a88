//! The service as others meet it: over HTTP, by its command line, and in its database.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "test code: a panic is how it says no"
)]

mod access;
mod alerts;
mod archive;
mod arguments;
mod audit_trail;
mod authzen;
mod chain;
mod connect;
mod consume;
#[path = "../shared/database.rs"]
mod database;
mod dpop;
mod events;
mod exchange;
mod floods;
mod follower;
mod harness;
mod introspection;
mod keys;
mod kill_switch;
mod listeners;
mod log;
mod log_shown;
mod methods;
mod migrate;
mod mtls;
mod ocsf;
mod pins;
mod policies;
mod postgres;
mod process;
mod registration_cli;
mod regressions;
mod replay;
mod replicas;
mod retention;
mod revocation;
mod rogue;
mod set_back;
mod shadow;
mod sinks;
mod sinks_received;
mod snapshot;
mod staleness;
mod tampered;
mod tasks;
mod telemetry;
mod unwritable;
mod waiting;
