//! The policy in force in this process: what is published in the database, or else what the configuration names.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use arc_swap::ArcSwap;

use super::{Policy, SourceError, Sources};
use crate::store::{Store, StoreError};

/// See the module.
#[derive(Debug)]
pub struct InForce {
    current: ArcSwap<Policy>,
    /// The number of the published revision that was last loaded, or tried; 0 while nothing is published.
    published: AtomicI64,
}

/// Why a published policy cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the configuration names.
    #[error(transparent)]
    Configured(SourceError),
    /// What is published.
    #[error(
        "the published policy {number} cannot be used: {problem}; `writ policy rollback` puts another in force"
    )]
    Published {
        /// Its number.
        number: i64,
        /// Why not.
        problem: String,
    },
}

impl InForce {
    /// Loads what is published, or else the policy of the directory, or else the embedded library.
    ///
    /// # Errors
    /// When it cannot be used: there is no earlier one then to stay with.
    pub async fn start(store: &Store, dir: Option<&Path>) -> Result<Self, LoadError> {
        let number = store.policy_in_force().await?;
        let policy = match number {
            Some(number) => load(store, number).await?,
            None => Policy::configured(dir).map_err(LoadError::Configured)?,
        };
        told(true);
        Ok(Self {
            current: ArcSwap::from_pointee(policy),
            published: AtomicI64::new(number.unwrap_or_default()),
        })
    }

    /// The policy.
    #[must_use]
    pub fn get(&self) -> Arc<Policy> {
        self.current.load_full()
    }

    /// Puts in force what was published since. One that cannot be used leaves the last good one in force, until another is
    /// published. Not for two callers at a time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn follow(&self, store: &Store) -> Result<(), StoreError> {
        let Some(number) = store.policy_in_force().await? else {
            return Ok(());
        };
        if self.published.load(Ordering::Acquire) == number {
            return Ok(());
        }
        match load(store, number).await {
            Ok(policy) => {
                tracing::info!(number, revision = policy.revision(), "policy in force");
                self.current.store(Arc::new(policy));
                told(true);
            }
            Err(LoadError::Store(error @ (StoreError::Busy | StoreError::Database(_)))) => {
                return Err(error);
            }
            Err(error) => {
                tracing::error!(%error, "the policy in force stays: the published one cannot be used");
                refused("published");
                told(false);
            }
        }
        self.published.store(number, Ordering::Release);
        Ok(())
    }

    /// Reads the directory again. Answers whether that counts: what is published has precedence. Not for two callers at a
    /// time, nor beside [`InForce::follow`].
    ///
    /// # Errors
    /// When the new policy cannot be used; the one in force stays.
    pub fn reload(&self, dir: Option<&Path>) -> Result<bool, SourceError> {
        if self.published.load(Ordering::Acquire) != 0 {
            return Ok(false);
        }
        let policy = Policy::configured(dir).inspect_err(|_| refused("directory"))?;
        self.current.store(Arc::new(policy));
        Ok(true)
    }
}

pub(super) async fn load(store: &Store, number: i64) -> Result<Policy, LoadError> {
    let files = store.policy_files(number).await?;
    let compile = move || {
        let sources = Sources::of(format!("policy {number}"), files)?;
        Policy::new(&sources)
    };
    let failed = |problem: String| LoadError::Published { number, problem };
    tokio::task::spawn_blocking(compile)
        .await
        .map_err(|e| failed(e.to_string()))?
        .map_err(|e| failed(e.to_string()))
}

/// Counts a policy that was not taken, by where it came from.
pub(crate) fn refused(source: &'static str) {
    metrics::counter!("writ_policy_refused_total", "source" => source).increment(1);
}

/// Whether what was published last is what decides.
fn told(current: bool) {
    metrics::gauge!("writ_policy_current").set(if current { 1.0 } else { 0.0 });
}
