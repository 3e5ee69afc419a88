//! What handlers of all kinds need from HTTP.

pub mod basic;
pub mod certificate;
pub mod limits;
pub mod network;
pub mod outbound;
mod peer;
pub mod proxies;
pub mod trust;

pub use certificate::PeerCertificate;
pub use peer::Peer;
