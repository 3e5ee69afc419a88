//! Loopback ports for processes that must be told their port before they start.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result};

/// A port that was free a moment ago.
///
/// Whatever can bind port 0 itself should: this is for addresses that others have to know first (the
/// issuer's and the gateway's public URL).
pub fn free() -> Result<u16> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on loopback")?;
    Ok(listener.local_addr()?.port())
}

/// This port if nobody has it, so that a person finds the same address each time; else any.
pub fn preferably(port: u16) -> Result<u16> {
    if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
        return Ok(port);
    }
    free()
}
