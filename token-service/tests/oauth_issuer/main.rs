//! The issuer as its clients and users see it: over HTTP, on a running service.

// Helpers are test code too, but only functions marked as tests count as such for these lints.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod authorize;
mod browser;
mod client_auth;
mod client_documents;
mod code;
#[path = "../shared/database.rs"]
mod database;
mod doctor;
mod dpop;
mod federation;
mod id_jag;
mod idp;
mod issuer;
mod keys;
mod logout;
mod metadata;
mod openid;
mod par;
mod platform;
mod rate_limits;
mod refresh;
mod registration;
mod regressions;
mod replicas;
mod server_registration;
mod sign_in;
mod workloads;
mod wycheproof;
