//! The issuer as its clients and users see it: over HTTP, on a running service.

mod authorize;
mod browser;
mod client_auth;
mod code;
mod issuer;
mod metadata;
mod sign_in;
