//! What every handler works on.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::{
    audit::{Arguments, SeenTools, Tries},
    clock::Clock,
    config::Config,
    federation::Federation,
    http::{
        limits::Limits,
        outbound::{Outbound, OutboundError},
    },
    keys::{self, KeyError, Keys},
    log::{self, checkpoint::NoteKey},
    oauth::{client_documents::ClientDocuments, dpop::Nonces, remote_keys::RemoteKeys},
    pages::throttle::Throttle,
    policy::{
        InForce, LoadError, Policy, SourceError,
        shadow::{InShadow, Shadow},
    },
    rates::{Sharing, Spread},
    registry::{Registry, Revoked},
    snapshot::{Changes, Snapshots},
    store::{Store, StoreError},
    task::Turns,
    telemetry::Telemetry,
    verify::TokenVerifier,
};
use writ_core::token::{Accepted, KeySetError, TokenError};
use writ_policy::snapshot::SealKey;

/// The service's state, shared by all handlers as [`SharedApp`].
#[derive(Debug)]
pub struct App {
    /// The checked configuration.
    pub config: Config,
    /// The only place that speaks SQL.
    pub store: Store,
    /// The signing keys.
    pub keys: Keys,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Tries of unknown callers, to be put on record.
    pub tries: Tries,
    /// The tools that were called before, as far as they are remembered.
    pub seen_tools: SeenTools,
    /// Checks tokens that this service signed.
    pub verifier: TokenVerifier,
    /// What gateways decide from.
    pub snapshots: Snapshots,
    /// Tells those who wait that something has changed.
    pub changes: Changes,
    /// Where people sign in.
    pub federation: Federation,
    /// How often anybody may ask.
    pub limits: Limits,
    /// How often passwords may be tried.
    pub passwords: Throttle,
    /// Makes the service's own requests.
    pub outbound: Outbound,
    /// The public keys of others.
    pub remote_keys: RemoteKeys,
    /// Gives out the nonces of DPoP.
    pub nonces: Nonces,
    /// Where the keys come from that gateways seal servers' names with; the same for all gateways of an installation.
    pub names: SealKey,
    /// What signs checkpoints of the audit log.
    pub log_key: NoteKey,
    /// What cosigns the checkpoints of others, where this is a witness.
    pub witness_key: Option<NoteKey>,
    /// Where spans go.
    pub telemetry: Telemetry,
    /// Keeps what calls carry.
    pub arguments: Arguments,
    /// Whose call within a task is decided when.
    pub task_turns: Turns,
    /// Clients that are named by a document.
    pub client_documents: ClientDocuments,
    policy: InForce,
    shadow: InShadow,
    registry: ArcSwap<Registry>,
    reloading: tokio::sync::Mutex<()>,
}

/// The state handlers take: `State(app): State<SharedApp>`.
pub type SharedApp = Arc<App>;

/// Why the service cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The registry could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no policy to decide with.
    #[error(transparent)]
    Policy(#[from] LoadError),
    /// The published keys cannot check tokens.
    #[error("the published keys cannot be used to check tokens: {0}")]
    Keys(#[from] KeySetError),
    /// A key that all processes share could not be had.
    #[error(transparent)]
    SharedKey(#[from] KeyError),
    /// The certificate authorities to trust.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
}

impl App {
    /// Puts the parts together and reads registry and policy.
    ///
    /// # Errors
    /// When the store cannot be read, or the keys are none that tokens can be checked with.
    pub async fn new(
        config: Config,
        store: Store,
        keys: Keys,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AppError> {
        let federation = Federation::new(&config.federation);
        store.keep_providers(&federation.named()).await?;
        let sealing = &config.keys.sealing;
        let nonces = Nonces::new(&keys::shared(&store, sealing, "dpop_nonce").await?);
        let names = SealKey::new(keys::shared(&store, sealing, "names_of_servers").await?);
        let log_key = log::keep::key(&store, sealing, &config.issuer).await?;
        let witness_key = match &config.audit.witness_name {
            Some(name) => Some(log::keep::witness_key(&store, sealing, name).await?),
            None => None,
        };
        let rules = config.audit.arguments.clone();
        let arguments = Arguments::open(&store, sealing, rules).await?;
        let snapshots = Snapshots::open(&store, sealing).await?;
        let registry = store.load_registry(Revoked::default(), clock.now()).await?;
        let unknown = config.audit.arguments.servers();
        for server in unknown.filter(|id| registry.server(id).is_none()) {
            tracing::warn!(
                server,
                "no server of this id is registered, which `audit.arguments.servers` names"
            );
        }
        // After the registry: what is published in between is found with the registry's next revision.
        let policy = InForce::start(&store, config.policy_dir.as_deref()).await?;
        let shadow = InShadow::default();
        shadow.follow(&store).await?;
        let verifier = TokenVerifier::new(&config.issuer, &keys.jwks())?;
        let outbound = Outbound::new(
            &config.outbound.authorities,
            config.outbound.allowed.clone(),
        )?;
        let spread = Spread::new(keys::shared(&store, sealing, "rates").await?);
        let sharing = Sharing::start(spread, &store, &clock);
        let limits = Limits::new(&config.rate_limits, &sharing);
        let passwords = Throttle::new(&sharing);
        let telemetry = Telemetry::new(config.telemetry.as_ref());
        Ok(Self {
            config,
            store,
            keys,
            clock,
            tries: Tries::default(),
            seen_tools: SeenTools::default(),
            verifier,
            snapshots,
            changes: Changes::default(),
            limits,
            passwords,
            remote_keys: RemoteKeys::new(outbound.clone()),
            federation,
            outbound,
            nonces,
            names,
            log_key,
            witness_key,
            telemetry,
            arguments,
            task_turns: Turns::default(),
            client_documents: ClientDocuments::default(),
            policy,
            shadow,
            registry: ArcSwap::from_pointee(registry),
            reloading: tokio::sync::Mutex::new(()),
        })
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.get()
    }

    /// The policy that is asked beside it, where there is one.
    #[must_use]
    pub fn shadow(&self) -> Option<Arc<Shadow>> {
        self.shadow.get()
    }

    /// Reads the policy that the configuration names again. Answers whether that counts: what is published has precedence.
    ///
    /// # Errors
    /// When the new policy cannot be used; the one in force stays.
    pub async fn reload_policy(&self) -> Result<bool, SourceError> {
        // What is published meanwhile must not be put out of force by what was read before.
        let _one_at_a_time = self.reloading.lock().await;
        let counts = self.policy.reload(self.config.policy_dir.as_deref())?;
        self.changes.note();
        Ok(counts)
    }

    /// The registry as last read. For decisions that are committed under its revision
    /// ([`Store::commit`](crate::store)), which finds out whether it is still current.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.load_full()
    }

    /// The registry as of now: one cheap read, and a reload when another process has changed it. For
    /// whatever is decided without a commit under the registry's revision.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn current_registry(&self) -> Result<Arc<Registry>, StoreError> {
        let known = self.registry();
        let current = self.store.registry_revision().await?;
        if current == known.revision() {
            return Ok(known);
        }
        let mut fresh = self.reload_registry(known.revision()).await?;
        // Somebody else may have begun to read it before what is current now was written.
        while fresh.revision() < current {
            fresh = self.reload_registry(fresh.revision()).await?;
        }
        Ok(fresh)
    }

    /// Checks a token that this service should have signed, at `now` (seconds since the epoch). A key that is not known
    /// may be one that another process has made a moment ago.
    ///
    /// # Errors
    /// Why the token is not accepted.
    pub async fn verify(&self, token: &str, now: u64) -> Result<Arc<Accepted>, TokenError> {
        match self.verifier.verify(token, now) {
            Err(TokenError::UnknownKey) if self.current_registry().await.is_ok() => {
                self.verifier.verify(token, now)
            }
            answer => answer,
        }
    }

    /// Does what is due to the signing keys, and makes it count here.
    ///
    /// # Errors
    /// When a key cannot be made, or the database fails.
    pub async fn tend_keys(&self) -> Result<(), KeyError> {
        self.keys.tend(&self.store).await?;
        self.current_registry().await?;
        Ok(())
    }

    async fn reload_keys(&self) -> Result<(), StoreError> {
        if self.keys.reload(&self.store).await?
            && let Err(error) = self.verifier.trust(&self.config.issuer, &self.keys.jwks())
        {
            tracing::error!(%error, "the published keys cannot be used to check tokens; those before are");
        }
        Ok(())
    }

    async fn reload_snapshot_keys(&self) -> Result<(), StoreError> {
        let sealing = &self.config.keys.sealing;
        match self.snapshots.reload(&self.store, sealing).await {
            Ok(()) => Ok(()),
            Err(KeyError::Store(error)) => Err(error),
            Err(error) => {
                tracing::error!(%error, "the new key cannot sign snapshots; the one before does");
                Ok(())
            }
        }
    }

    /// Reads the registry again unless somebody else has done so since `known`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn reload_registry(&self, known: i64) -> Result<Arc<Registry>, StoreError> {
        let _one_at_a_time = self.reloading.lock().await;
        let current = self.registry();
        if current.revision() != known {
            return Ok(current);
        }
        let known = current.revoked().clone();
        let now = self.clock.now();
        let fresh = Arc::new(self.store.load_registry(known, now).await?);
        // Before the registry: whoever sees this revision sees its keys and its policy.
        self.reload_keys().await?;
        self.policy.follow(&self.store).await?;
        self.shadow.follow(&self.store).await?;
        self.reload_snapshot_keys().await?;
        self.registry.store(Arc::clone(&fresh));
        self.changes.note();
        Ok(fresh)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        future::Future as _,
        path::Path,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;
    use crate::{
        clock::SystemClock,
        store::{Place, policies::NewRevision},
    };

    impl App {
        /// A service that nobody can reach, with its data in a directory.
        pub(crate) async fn in_directory(dir: &Path) -> Self {
            let data_dir = dir.join("data").display().to_string();
            let mut config = Config::load(None, [("WRIT_DATA_DIR".to_owned(), data_dir)]).unwrap();
            config.store = Some(Place::of_test(&config.data_dir));
            let store = Store::open(&config.place()).await.unwrap();
            let clock: Arc<dyn Clock> = Arc::new(SystemClock);
            let keys = Keys::open(&store, &config, Arc::clone(&clock));
            let keys = keys.await.unwrap();
            Self::new(config, store, keys, clock).await.unwrap()
        }
    }

    #[tokio::test]
    async fn a_reload_waits_for_what_is_being_published() {
        let dir = tempfile::tempdir().unwrap();
        let app = App::in_directory(dir.path()).await;
        let publishing = app.reloading.lock().await;
        let mut reload = pin!(app.reload_policy());
        let first = reload
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(first, Poll::Pending), "{first:?}");

        let rules = "package writ\n\ncall := {\"allow\": true}\n";
        let files = BTreeMap::from([("rules.rego".to_owned(), rules.to_owned())]);
        let new = NewRevision {
            revision: "0123456789abcdef",
            files: &files,
            origin: "test",
            named: None,
            message: "test",
            author: "test",
        };
        let published = app.store.publish_policy(&new, app.clock.now()).await;
        published.unwrap();
        app.policy.follow(&app.store).await.unwrap();
        let in_force = app.policy().revision().to_owned();
        drop(publishing);
        assert!(!reload.await.unwrap(), "what is published has precedence");
        assert_eq!(app.policy().revision(), in_force);
    }
}
