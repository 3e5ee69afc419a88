//! The keys of one moment: which are published, and which of them signs.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Algorithm, Term, signing::SigningKey, term::State};

/// A key and its times.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) key: Arc<SigningKey>,
    pub(super) term: Term,
}

/// All keys that are published.
#[derive(Debug)]
pub(super) struct Ring {
    keys: Vec<Held>,
    jwks: Arc<Value>,
}

impl Ring {
    pub(super) fn new(mut keys: Vec<Held>) -> Self {
        keys.sort_by_cached_key(|held| {
            let alg = Algorithm::ALL
                .iter()
                .position(|a| *a == held.key.algorithm());
            (alg, held.term.signs_from, held.key.kid().to_owned())
        });
        let published: Vec<Value> = keys.iter().map(|held| held.key.public_jwk()).collect();
        Self {
            jwks: Arc::new(json!({ "keys": published })),
            keys,
        }
    }

    pub(super) fn jwks(&self) -> &Arc<Value> {
        &self.jwks
    }

    pub(super) fn find(&self, kid: &str) -> Option<&Held> {
        self.keys.iter().find(|held| held.key.kid() == kid)
    }

    /// The key that signs at `now`: of those whose time has come, the one whose time came last, if possible one whose time
    /// is not over.
    pub(super) fn signer(&self, alg: Algorithm, now: Timestamp) -> Option<&SigningKey> {
        self.keys
            .iter()
            .filter(|held| held.key.algorithm() == alg && held.term.state(now) != State::Next)
            .max_by_key(|held| (held.term.state(now) == State::Active, held.term.signs_from))
            .map(|held| &*held.key)
    }

    /// Whether these are the keys and terms of the ring.
    pub(super) fn is(&self, mut terms: impl ExactSizeIterator<Item = (String, Term)>) -> bool {
        terms.len() == self.keys.len()
            && terms.all(|(kid, term)| self.find(&kid).is_some_and(|held| held.term == term))
    }
}
