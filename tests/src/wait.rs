//! Waiting for a condition, with a deadline that says what was waited for.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long to wait for anything local before calling it broken. Generous: two busy cores.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const STEP: Duration = Duration::from_millis(10);

/// Asks `probe` until it answers, or fails after `limit` with `what` in the message.
pub async fn until<T, F>(what: &str, limit: Duration, mut probe: F) -> Result<T>
where
    F: AsyncFnMut() -> Option<T>,
{
    let start = Instant::now();
    loop {
        if let Some(value) = probe().await {
            return Ok(value);
        }
        if start.elapsed() > limit {
            bail!("waited {limit:?} in vain for {what}");
        }
        tokio::time::sleep(STEP).await;
    }
}
