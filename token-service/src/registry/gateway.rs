//! A gateway in the registry: a deployment of the filter.

use std::collections::BTreeSet;

use super::{Id, Status};
use crate::secret::SecretHash;

/// An Envoy that may ask for snapshots and tokens, for its own servers only.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Its id: the outer `act.sub` of the tokens it gets.
    pub id: Id,
    /// What it authenticates with.
    pub secret: SecretHash,
    /// The ids of the servers it may mint for.
    pub servers: BTreeSet<String>,
    /// Where the registration stands.
    pub status: Status,
}
