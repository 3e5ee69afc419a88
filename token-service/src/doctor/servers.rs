//! The servers of the registry: who sees to it that a token is used once, and for what it was minted for; and whether calls to
//! them are stopped.

use super::Finding;
use crate::{
    clock::{Clock as _, SystemClock},
    registry::{Enforcement, Registry, Revoked, Status},
    store::Store,
};

const CHECK: &str = "servers";

/// The registry, where it can be read.
pub(super) async fn examine(store: &Store, found: &mut Vec<Finding>) -> Option<Registry> {
    let registry = match store
        .load_registry(Revoked::default(), SystemClock.now())
        .await
    {
        Ok(registry) => registry,
        Err(error) => {
            found.push(Finding::unreadable(CHECK, &error));
            return None;
        }
    };
    let approved = registry.servers().filter(|s| s.status == Status::Approved);
    let trusting: Vec<&str> = approved
        .filter(|s| s.enforcement == Enforcement::AudOnly)
        .map(|s| s.id.as_str())
        .collect();
    found.push(if trusting.is_empty() {
        Finding::ok(CHECK, "each verifies what a token was minted for")
    } else {
        Finding::warning(
            CHECK,
            format!("nothing keeps a token from being used twice at: {}", trusting.join(", ")),
            "put a guard before them (docs/guard.md) or let them introspect (docs/verifying.md), and register them with that --enforcement",
        )
    });
    if registry.stops().lockdown.is_some() {
        found.push(Finding::warning(
            "lockdown",
            "an administrator has stopped all calls but some; `writ audit list --kind admin` shows who goes on",
            "`writ lockdown --off` when all may go on again (docs/kill-switch.md)",
        ));
    }
    Some(registry)
}
