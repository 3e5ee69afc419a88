//! Public keys that are kept elsewhere: at a client's `jwks_uri`, at an issuer, in a file that something else rewrites.
//!
//! A set is kept for as long as its owner says, within bounds, and read again before that for a key that is not in it:
//! keys are rotated at any time. An unknown key is anybody's to name, so that happens once in a while only. What a client
//! names is fetched as strangers' documents are ([`Outbound::fetch`]); the rest is the configuration's word.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::Value;
use url::Url;

use super::jws::keys_of;
use crate::{
    clock::unix,
    http::outbound::{FetchError, Fetched, Outbound},
};

/// The largest document that is read, in bytes.
const MAX_DOCUMENT: usize = 128 * 1024;
/// More sets of clients than this are not kept: one of the others is forgotten, and read again when it is needed.
const MAX_CLIENTS: usize = 1024;
/// How long a set is kept, in seconds, whatever its owner says.
const LEAST_S: u64 = 60;
/// How long at most, and how long a set is used whose owner cannot be reached.
const MOST_S: u64 = 3600;
/// How long where its owner says nothing.
const USUAL_S: u64 = 300;
/// How long after a set was read, or could not be, nothing asks for it again.
const PAUSE_S: u64 = 30;

/// Where somebody's public keys are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeyPlace {
    /// A file with a JWK set, which the configuration names.
    File(PathBuf),
    /// A JWK set that the configuration names.
    Configured(Url),
    /// Where the OpenID Connect discovery document of this issuer says, which the configuration names.
    Discovered(String),
    /// A JWK set that a client names (RFC 7591 section 2, `jwks_uri`).
    Client(Url),
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// They cannot be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// They cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something else is there.
    #[error("{place} is no JWK set: it must be {{\"keys\": […]}} (RFC 7517 section 5)")]
    NotASet {
        /// Where.
        place: String,
    },
    /// OpenID Connect Discovery section 4.3: the document must be the issuer's own.
    #[error("{url} is not the discovery document of {issuer} with a jwks_uri")]
    NotDiscovery {
        /// Where it should be.
        url: String,
        /// Whose it should be.
        issuer: String,
    },
    /// They could not be had a moment ago.
    #[error("the keys could not be read a moment ago; they are not asked for again so soon")]
    Paused,
}

/// The public keys of others, as last read.
#[derive(Debug)]
pub struct RemoteKeys {
    outbound: Outbound,
    sets: Mutex<HashMap<KeyPlace, Arc<tokio::sync::Mutex<Slot>>>>,
}

/// What is known of one place.
#[derive(Debug, Default)]
struct Slot {
    keys: Option<Arc<[Value]>>,
    read_at: u64,
    fresh_until: u64,
    /// When it was last tried, well or not.
    tried_at: Option<u64>,
}

impl RemoteKeys {
    /// Knows no keys yet.
    #[must_use]
    pub fn new(outbound: Outbound) -> Self {
        Self {
            outbound,
            sets: Mutex::default(),
        }
    }

    /// The keys at `place` as of `now`, read again when `kid` is not among those known.
    ///
    /// # Errors
    /// See [`KeysError`].
    pub async fn at(
        &self,
        place: &KeyPlace,
        kid: Option<&str>,
        now: Timestamp,
    ) -> Result<Arc<[Value]>, KeysError> {
        let slot = self.slot(place);
        // Whoever needs the same keys waits here for the one who reads them.
        let mut slot = slot.lock().await;
        let now = unix(now);
        if let Some(keys) = slot.good_without_reading(kid, now) {
            return Ok(keys);
        }
        if !slot.may_read(now) {
            return slot.usable(now).ok_or(KeysError::Paused);
        }
        slot.tried_at = Some(now);
        match self.read(place).await {
            Ok((keys, max_age)) => {
                let keep = max_age.map_or(USUAL_S, |age| age.as_secs());
                *slot = Slot {
                    keys: Some(Arc::clone(&keys)),
                    read_at: now,
                    fresh_until: now.saturating_add(keep.clamp(LEAST_S, MOST_S)),
                    tried_at: Some(now),
                };
                Ok(keys)
            }
            Err(error) => {
                tracing::warn!(%error, "public keys could not be read");
                slot.usable(now).ok_or(error)
            }
        }
    }

    fn slot(&self, place: &KeyPlace) -> Arc<tokio::sync::Mutex<Slot>> {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = sets.get(place) {
            return Arc::clone(slot);
        }
        let of_client = |place: &KeyPlace| matches!(place, KeyPlace::Client(_));
        if of_client(place) && sets.keys().filter(|p| of_client(p)).count() >= MAX_CLIENTS {
            let other = sets.keys().find(|p| of_client(p)).cloned();
            other.map(|other| sets.remove(&other));
        }
        Arc::clone(sets.entry(place.clone()).or_default())
    }

    async fn read(&self, place: &KeyPlace) -> Result<(Arc<[Value]>, Option<Duration>), KeysError> {
        let fetched = match place {
            KeyPlace::File(path) => {
                let text = tokio::fs::read(path)
                    .await
                    .map_err(|source| KeysError::File {
                        path: path.clone(),
                        source,
                    })?;
                return Ok((set(&text, &path.display())?, None));
            }
            KeyPlace::Configured(url) => self.outbound.fetch_trusted(url, MAX_DOCUMENT).await?,
            KeyPlace::Discovered(issuer) => {
                let url = self.discover(issuer).await?;
                self.outbound.fetch_trusted(&url, MAX_DOCUMENT).await?
            }
            KeyPlace::Client(url) => self.outbound.fetch(url, MAX_DOCUMENT).await?,
        };
        let Fetched { body, max_age, .. } = fetched;
        Ok((set(&body, &place.name())?, max_age))
    }

    /// OpenID Connect Discovery section 4.
    async fn discover(&self, issuer: &str) -> Result<Url, KeysError> {
        let url = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let wrong = || KeysError::NotDiscovery {
            url: url.clone(),
            issuer: issuer.to_owned(),
        };
        let at = Url::parse(&url).map_err(|_| wrong())?;
        let found = self.outbound.fetch_trusted(&at, MAX_DOCUMENT).await?;
        let document: Value = serde_json::from_slice(&found.body).map_err(|_| wrong())?;
        let text = |name: &str| document.get(name).and_then(Value::as_str);
        if text("issuer") != Some(issuer) {
            return Err(wrong());
        }
        text("jwks_uri")
            .and_then(|uri| Url::parse(uri).ok())
            .ok_or_else(wrong)
    }
}

impl KeyPlace {
    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Configured(url) | Self::Client(url) => url.to_string(),
            Self::Discovered(issuer) => format!("the jwks_uri of {issuer}"),
        }
    }
}

impl Slot {
    /// The keys, if they are fresh and have the one that is looked for.
    fn good_without_reading(&self, kid: Option<&str>, now: u64) -> Option<Arc<[Value]>> {
        let keys = self.keys.as_ref().filter(|_| now < self.fresh_until)?;
        let known = kid.is_none_or(|kid| {
            keys.iter()
                .any(|jwk| jwk.get("kid").and_then(Value::as_str) == Some(kid))
        });
        known.then(|| Arc::clone(keys))
    }

    fn may_read(&self, now: u64) -> bool {
        self.tried_at
            .is_none_or(|tried| now.saturating_sub(tried) >= PAUSE_S)
    }

    /// The keys, if they are not too old to be used at all.
    fn usable(&self, now: u64) -> Option<Arc<[Value]>> {
        let keys = self.keys.as_ref()?;
        (now < self.read_at.saturating_add(MOST_S)).then(|| Arc::clone(keys))
    }
}

/// The keys of a JWK set.
fn set(text: &[u8], place: &dyn std::fmt::Display) -> Result<Arc<[Value]>, KeysError> {
    let not_a_set = || KeysError::NotASet {
        place: place.to_string(),
    };
    let jwks: Value = serde_json::from_slice(text).map_err(|_| not_a_set())?;
    match keys_of(&jwks) {
        [] => Err(not_a_set()),
        keys => Ok(keys.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// Keys in a file, which stands for any place.
    struct Kept {
        keys: RemoteKeys,
        place: KeyPlace,
        _dir: tempfile::TempDir,
    }

    impl Kept {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let kept = Self {
                keys: RemoteKeys::new(Outbound::new(b"", Vec::new()).unwrap()),
                place: KeyPlace::File(dir.path().join("keys.json")),
                _dir: dir,
            };
            kept.write("one");
            kept
        }

        fn write(&self, kid: &str) {
            let KeyPlace::File(path) = &self.place else {
                unreachable!()
            };
            std::fs::write(path, format!(r#"{{"keys":[{{"kid":"{kid}"}}]}}"#)).unwrap();
        }

        async fn kid(&self, kid: Option<&str>, second: i64) -> Result<String, KeysError> {
            let keys = self.keys.at(&self.place, kid, at(second)).await?;
            Ok(keys[0]["kid"].as_str().unwrap().to_owned())
        }
    }

    #[tokio::test]
    async fn a_set_is_kept_and_read_again_for_a_key_that_is_not_in_it() {
        let kept = Kept::new();
        assert_eq!(kept.kid(Some("one"), 0).await.unwrap(), "one");
        kept.write("two");
        assert_eq!(kept.kid(Some("one"), 100).await.unwrap(), "one");
        assert_eq!(kept.kid(None, 100).await.unwrap(), "one");
        assert_eq!(kept.kid(Some("two"), 100).await.unwrap(), "two");
    }

    #[tokio::test]
    async fn made_up_key_names_cause_no_more_than_one_request_in_thirty_seconds() {
        let kept = Kept::new();
        kept.kid(None, 0).await.unwrap();
        kept.write("two");
        assert_eq!(kept.kid(Some("made up"), 29).await.unwrap(), "one");
        assert_eq!(kept.kid(Some("made up"), 30).await.unwrap(), "two");
    }

    #[tokio::test]
    async fn keys_whose_owner_is_away_are_used_for_an_hour() {
        let kept = Kept::new();
        kept.kid(None, 0).await.unwrap();
        let KeyPlace::File(path) = &kept.place else {
            unreachable!()
        };
        std::fs::remove_file(path).unwrap();
        assert_eq!(kept.kid(None, 3599).await.unwrap(), "one");
        assert!(matches!(kept.kid(None, 3600).await, Err(KeysError::Paused)));
        assert!(matches!(
            kept.kid(None, 3700).await,
            Err(KeysError::File { .. })
        ));
    }

    #[tokio::test]
    async fn no_more_than_so_many_clients_keys_are_kept() {
        let keys = RemoteKeys::new(Outbound::new(b"", Vec::new()).unwrap());
        keys.slot(&KeyPlace::Configured(
            Url::parse("https://idp.test/keys").unwrap(),
        ));
        for n in 0..2 * MAX_CLIENTS {
            let url = Url::parse(&format!("https://client{n}.test/keys")).unwrap();
            keys.slot(&KeyPlace::Client(url));
        }
        assert_eq!(keys.sets.lock().unwrap().len(), MAX_CLIENTS + 1);
    }
}
