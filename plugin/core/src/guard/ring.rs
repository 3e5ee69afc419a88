//! Which tokens were spent, as all workers of a proxy remember it (`single_use: local`).
//!
//! Workers share data under keys that nobody can delete, so there is a fixed number of keys, each with a bounded row of
//! token ids and the time until which they count. A row is replaced as a whole, by compare and swap: of two workers that
//! spend one token, one sees what the other wrote. When a row is full of tokens that still count, the next is refused.
//!
//! A proxy that restarts has forgotten everything. So it refuses tokens that may be older than its memory.

use std::cell::Cell;

use sha2::{Digest as _, Sha256};

use super::Spend;
use crate::host::Host;

/// Tokens in one row: enough that rows fill evenly.
pub(crate) const ROW: u32 = 256;

/// Bytes of a token in a row: the beginning of the SHA-256 of its id, and until when it counts.
const ENTRY: usize = ID + 8;
const ID: usize = 16;

/// Bytes of a full row.
const FULL: usize = ENTRY * ROW as usize;

/// How often a row is written again because another worker was faster.
const ATTEMPTS: usize = 16;

/// Why a token is not spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotSpent {
    /// It was before.
    #[error("the token was used before")]
    Before,
    /// It may have been, before this proxy started.
    #[error(
        "this server's guard has just started and does not accept tokens from before; call again"
    )]
    Older,
    /// No room.
    #[error(
        "this server's guard remembers as many tokens as it may; call again later, or raise `local.entries` of the guard"
    )]
    Full,
    /// Other workers were faster every time, or the proxy shares nothing.
    #[error("this server's guard could not remember the token; call again")]
    Busy,
}

/// The memory of all workers for one server.
#[derive(Debug)]
pub(crate) struct Ring {
    prefix: String,
    rows: u32,
    skew_s: u64,
    /// From when on it remembers, in seconds since 1970; none until that is agreed on.
    since: Cell<Option<u64>>,
}

impl Ring {
    /// A memory for at least `entries` tokens of `server`. A memory of another size is another memory.
    pub(crate) fn new(server: &str, entries: u32, skew_s: u64) -> Self {
        let rows = entries.div_ceil(ROW).max(1);
        Self {
            prefix: format!("writ.guard.{server}.{rows}"),
            rows,
            skew_s,
            since: Cell::new(None),
        }
    }

    /// Agrees with the other workers from when on it remembers: now, for the first of them.
    pub(crate) fn begin(&self, host: &dyn Host) -> Option<u64> {
        if let Some(since) = self.since.get() {
            return Some(since);
        }
        let key = format!("{}.since", self.prefix);
        if host.shared_get(&key).is_none() {
            let now = host.now();
            let since = now.as_secs() + u64::from(now.subsec_nanos() > 0);
            // Whoever was first counts.
            host.shared_set(&key, &since.to_le_bytes(), None);
        }
        let (bytes, _) = host.shared_get(&key)?;
        self.since
            .set(bytes.try_into().ok().map(u64::from_le_bytes));
        self.since.get()
    }

    /// Spends a token, once for all workers.
    pub(crate) fn spend(&self, host: &dyn Host, token: &Spend, now: u64) -> Result<(), NotSpent> {
        let since = self.begin(host).ok_or(NotSpent::Busy)?;
        if token.issued < since.saturating_add(self.skew_s) {
            return Err(NotSpent::Older);
        }
        // A body may come long after its headers: what has run out since is forgotten here, and good nowhere.
        if token.expires.saturating_add(self.skew_s) <= now {
            return Err(NotSpent::Older);
        }
        let digest: [u8; 32] = Sha256::digest(token.token_id.as_bytes()).into();
        let (id, rest) = digest.split_at(ID);
        let row = rest.first_chunk().map_or(0, |at| u32::from_le_bytes(*at)) % self.rows;
        let key = format!("{}.{row}", self.prefix);
        for _ in 0..ATTEMPTS {
            let (bytes, version) = match host.shared_get(&key) {
                Some((bytes, version)) => (bytes, Some(version)),
                None => (Vec::new(), None),
            };
            let mut kept = Vec::with_capacity(bytes.len() + ENTRY);
            for entry in bytes.chunks_exact(ENTRY) {
                let (other, until) = entry.split_at(ID);
                if other == id {
                    return Err(NotSpent::Before);
                }
                if until.try_into().map_or(0, u64::from_le_bytes) > now {
                    kept.extend_from_slice(entry);
                }
            }
            if kept.len() >= FULL {
                return Err(NotSpent::Full);
            }
            kept.extend_from_slice(id);
            kept.extend_from_slice(&token.expires.saturating_add(self.skew_s).to_le_bytes());
            if host.shared_set(&key, &kept, version) {
                return Ok(());
            }
        }
        Err(NotSpent::Busy)
    }
}
