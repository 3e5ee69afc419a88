//! Loopback ports for processes that must be told their port before they start.

use std::fs::{File, create_dir_all};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

/// Below what systems hand to outgoing connections and to listeners on port 0 (from 32768 on Linux, from 49152 by
/// RFC 6335 section 6), so that none of those takes a port between its choice and its use.
const RANGE: Range<u16> = 20_000..32_000;

/// The ports this process has, each with the lock that tells other test processes so.
static TAKEN: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port that nobody listens on, kept for this process until it ends.
///
/// Whatever can bind port 0 itself should: this is for addresses that others have to know first (the
/// issuer's and the gateway's public URL).
pub fn free() -> Result<u16> {
    let locks = std::env::temp_dir().join("writ-test-ports");
    create_dir_all(&locks).with_context(|| format!("cannot create {}", locks.display()))?;
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    // Processes start at different places, so that they seldom meet.
    let start = usize::try_from(std::process::id())? * 31 + taken.len();
    (0..RANGE.len())
        .filter_map(|step| u16::try_from((start + step) % RANGE.len()).ok())
        .map(|offset| RANGE.start + offset)
        .find_map(|port| {
            let lock = File::create(locks.join(port.to_string())).ok()?;
            lock.try_lock().ok()?;
            is_free(port).then(|| {
                taken.push(lock);
                port
            })
        })
        .with_context(|| {
            format!(
                "no port from {} to {} is free on loopback",
                RANGE.start,
                RANGE.end - 1
            )
        })
}

/// This port if nobody has it, so that a person finds the same address each time; else any.
pub fn preferably(port: u16) -> Result<u16> {
    if is_free(port) {
        return Ok(port);
    }
    free()
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
