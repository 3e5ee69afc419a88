//! What handlers of all kinds need from HTTP.

pub mod basic;
pub mod limits;
pub mod network;
pub mod outbound;
mod peer;
pub mod proxies;

pub use peer::Peer;
