//! The key that servers' names are sealed with where no token service gives one: the workers of a proxy agree on one of
//! their own, which lives as long as the proxy.

use crate::host::Host;
use crate::seal::KEY_BYTES;

/// Where the workers keep it.
const SHARED: &str = "writ.seal_key";

/// The key of this proxy's workers, made by the first who asks.
pub(crate) fn agreed(host: &dyn Host) -> Option<[u8; KEY_BYTES]> {
    let shared = || host.shared_get(SHARED)?.0.try_into().ok();
    shared().or_else(|| {
        let made = host.random()?;
        // Whoever was first has made the key of all.
        if host.shared_set(SHARED, &made, None) {
            Some(made)
        } else {
            shared()
        }
    })
}
