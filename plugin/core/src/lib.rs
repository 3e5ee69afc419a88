//! What a request goes through in the filter, as plain Rust over a `Host` trait: no proxy, no I/O.
//!
//! The token service uses [`message`] and [`token`] too, so that both sides read a message and a token alike.

pub mod message;
pub mod token;
