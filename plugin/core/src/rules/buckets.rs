//! Entries by id, in the parts that they came in: what has not changed is shared with the revision before.

use std::collections::HashMap;
use std::rc::Rc;

use writ_policy::snapshot::bucket;

/// The entries of one part.
pub(crate) type Bucket<T> = Rc<HashMap<String, T>>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Buckets<T>(HashMap<u8, Bucket<T>>);

impl<T> Default for Buckets<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> Buckets<T> {
    /// Takes a part in.
    pub(crate) fn add(&mut self, part: &Bucket<T>) {
        if let Some(id) = part.keys().next() {
            self.0.insert(bucket(id), Rc::clone(part));
        }
    }

    /// The entry of this id.
    pub(crate) fn get(&self, id: &str) -> Option<&T> {
        self.0.get(&bucket(id))?.get(id)
    }

    /// Whether there is an entry of this id.
    pub(crate) fn contains(&self, id: &str) -> bool {
        !self.0.is_empty() && self.get(id).is_some()
    }
}
