//! What was taken back by its id, in the parts that gateways get it in: a new entry costs its part, however many there are.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use axum::body::Bytes;
use writ_core::snapshot::parts::Document;
use writ_policy::snapshot::{REVOKED, bucket, bucket_name};

/// One row of the store.
#[derive(Clone, Debug)]
pub struct Revocation {
    /// Counts up.
    pub number: i64,
    /// Of a token, a grant or a transaction.
    pub id: String,
    /// When everything that it takes back has expired (RFC 3339, UTC).
    pub expires_at: String,
}

/// See the module. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Revoked {
    buckets: BTreeMap<u8, Arc<Bucket>>,
    latest: i64,
}

#[derive(Clone, Debug, Default)]
struct Bucket {
    /// When each expires, by id.
    ids: BTreeMap<String, String>,
    /// The earliest of them.
    earliest: String,
    document: OnceLock<Document<Bytes>>,
}

impl Bucket {
    fn changed(&mut self) {
        self.earliest = self.ids.values().min().cloned().unwrap_or_default();
        self.document = OnceLock::new();
    }
}

impl Revoked {
    /// The number of the latest entry.
    #[must_use]
    pub fn latest(&self) -> i64 {
        self.latest
    }

    /// With what was added since, and without what has expired at `now` (RFC 3339, UTC).
    #[must_use]
    pub fn and(mut self, more: Vec<Revocation>, now: &str) -> Self {
        let mut new: BTreeMap<u8, Vec<Revocation>> = BTreeMap::new();
        for one in more {
            self.latest = self.latest.max(one.number);
            new.entry(bucket(&one.id)).or_default().push(one);
        }
        for (number, new) in new {
            let bucket = Arc::make_mut(self.buckets.entry(number).or_default());
            bucket
                .ids
                .extend(new.into_iter().map(|one| (one.id, one.expires_at)));
            bucket.changed();
        }
        for bucket in self.buckets.values_mut() {
            if bucket.earliest.as_str() <= now {
                let bucket = Arc::make_mut(bucket);
                bucket.ids.retain(|_, expires_at| expires_at.as_str() > now);
                bucket.changed();
            }
        }
        self.buckets.retain(|_, bucket| !bucket.ids.is_empty());
        self
    }

    /// Whether this was taken back.
    #[must_use]
    pub fn contains(&self, id: &str) -> bool {
        let bucket = self.buckets.get(&bucket(id));
        bucket.is_some_and(|bucket| bucket.ids.contains_key(id))
    }

    /// All ids.
    pub fn iter(&self) -> impl Iterator<Item = &String> {
        self.buckets.values().flat_map(|bucket| bucket.ids.keys())
    }

    /// The parts of a snapshot that they are, with these beside them. Written down once for all gateways where there are none.
    ///
    /// # Errors
    /// When an id is no JSON.
    pub fn parts(
        &self,
        beside: Vec<String>,
    ) -> Result<Vec<(String, Document<Bytes>)>, serde_json::Error> {
        let mut more: BTreeMap<u8, Vec<String>> = BTreeMap::new();
        for id in beside {
            more.entry(bucket(&id)).or_default().push(id);
        }
        let none = Bucket::default();
        let numbers: std::collections::BTreeSet<u8> =
            self.buckets.keys().chain(more.keys()).copied().collect();
        let part = |number: u8| {
            let bucket = self.buckets.get(&number).map_or(&none, Arc::as_ref);
            let document = match more.get(&number) {
                Some(more) => {
                    let mut all: Vec<&String> = bucket.ids.keys().chain(more).collect();
                    all.sort();
                    all.dedup();
                    Document::of(&all)?
                }
                None => match bucket.document.get() {
                    Some(document) => document.clone(),
                    None => {
                        let ids: Vec<&String> = bucket.ids.keys().collect();
                        let document = Document::of(&ids)?;
                        bucket.document.get_or_init(|| document).clone()
                    }
                },
            };
            Ok((bucket_name(REVOKED, number), document))
        };
        numbers.into_iter().map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revocation(number: i64, id: &str, expires_at: &str) -> Revocation {
        Revocation {
            number,
            id: id.to_owned(),
            expires_at: expires_at.to_owned(),
        }
    }

    #[test]
    fn one_more_changes_its_own_part_and_what_has_expired_goes() {
        let many = (1..=2000).map(|n| revocation(n, &format!("id-{n}"), "2026-11-29T11:00:00Z"));
        let before = Revoked::default().and(many.collect(), "2026-11-29T10:00:00Z");
        let one = revocation(2001, "new", "2026-11-29T12:00:00Z");
        let after = before.clone().and(vec![one], "2026-11-29T10:00:01Z");
        assert_eq!(after.latest(), 2001);
        assert!(after.contains("new") && after.contains("id-1") && !before.contains("new"));
        let parts = |revoked: &Revoked| revoked.parts(Vec::new()).unwrap();
        let (old, new) = (parts(&before), parts(&after));
        let changed: Vec<&str> = (new.iter())
            .filter(|part| !old.contains(part))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(changed, [bucket_name(REVOKED, bucket("new"))]);
        let later = after.and(Vec::new(), "2026-11-29T11:00:00Z");
        assert_eq!(later.iter().collect::<Vec<_>>(), ["new"]);
        let beside = later.parts(vec!["agent:robot".to_owned()]).unwrap();
        assert_eq!(beside.len(), 2);
    }
}
