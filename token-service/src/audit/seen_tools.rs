//! The tools that were called before, in memory: the database is asked about others only.

use std::{
    collections::{HashMap, HashSet},
    sync::{PoisonError, RwLock},
};

/// So many are remembered; past it all are forgotten, and asked about again.
const HELD: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub struct SeenTools(RwLock<Held>);

#[derive(Debug, Default)]
struct Held {
    of_servers: HashMap<String, HashSet<String>>,
    count: usize,
}

impl SeenTools {
    /// Whether this tool of the server's is known to have been called.
    #[must_use]
    pub fn has(&self, server: &str, tool: &str) -> bool {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let tools = held.of_servers.get(server);
        tools.is_some_and(|tools| tools.contains(tool))
    }

    /// It was called, and that is in the database.
    pub fn add(&self, server: String, tool: String) {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if held.count >= HELD {
            *held = Held::default();
        }
        if held.of_servers.entry(server).or_default().insert(tool) {
            held.count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded() {
        let seen = SeenTools::default();
        for n in 0..=HELD {
            seen.add("ledger".to_owned(), n.to_string());
            assert!(seen.has("ledger", &n.to_string()));
        }
        assert!(!seen.has("ledger", "0"));
        assert!(!seen.has("other", &HELD.to_string()));
    }
}
