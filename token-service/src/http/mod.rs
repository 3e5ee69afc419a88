//! What handlers of all kinds need from HTTP.

pub mod basic;
pub mod network;
pub mod outbound;
mod peer;

pub use peer::Peer;
