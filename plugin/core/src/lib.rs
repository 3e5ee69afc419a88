//! What a request goes through in the filter, as plain Rust over a [`host::Host`]: no proxy, no I/O.
//!
//! In the order of a request's life: [`gateway`] (what a worker's requests share), [`exchange`] (one request), and on
//! its way headers, identity, [`message`], decision, mint, outcome. The token service uses [`message`] and [`token`]
//! too, so that both sides read a message and a token alike.

mod admit;
mod agree;
pub mod config;
pub mod egress;
pub mod exchange;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod gateway;
pub mod guard;
mod headers;
pub mod held;
pub mod host;
mod identity;
pub mod message;
mod mint;
mod open;
mod origin;
mod outcome;
mod pins;
mod refuse;
mod reports;
mod response;
mod rules;
pub mod seal;
mod shared_key;
pub mod snapshot;
pub mod token;
mod tool_headers;
pub mod trace;
mod units;
