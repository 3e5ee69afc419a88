//! Waiting for what must come, by looking for it.

use std::time::Duration;

/// Nothing takes this long that comes at all.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What is looked for, as soon as it is there.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, looking).await;
    found.unwrap_or_else(|_| panic!("after {PATIENCE:?} there is no {what}"))
}
