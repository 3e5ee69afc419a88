//! What handlers of all kinds need from HTTP.

pub mod basic;
mod peer;

pub use peer::Peer;
