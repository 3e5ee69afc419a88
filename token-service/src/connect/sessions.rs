//! Sessions (MCP 2025-11-25 and before): each is one client's, with a process of its own, and ends with it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    channel::Use,
    crashes::{Crashes, PATIENCE},
    process::{Process, Recipe},
};
use crate::secret;

/// Who may use a session: whoever began it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Principal {
    /// The user, or the workload.
    pub(super) subject: String,
    /// The agent.
    pub(super) agent: String,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// There are enough of them.
    #[error("all {0} sessions of this MCP server are in use; try again when one has ended")]
    TooMany(usize),
    /// It keeps ending.
    #[error("the MCP server keeps ending and is not started again for {} s; its log says why", .0.as_secs() + 1)]
    Crashing(Duration),
    /// It does not start.
    #[error("the MCP server cannot be started: {0}")]
    Start(#[from] std::io::Error),
    /// We end ourselves.
    #[error("the MCP server is being stopped")]
    Stopping,
}

/// A process that waits to become a session.
#[derive(Debug)]
pub(super) struct Opening {
    /// To be initialized.
    pub(super) process: Process,
    started: Instant,
    place: OwnedSemaphorePermit,
}

/// One client's session.
#[derive(Debug)]
pub(super) struct Session {
    /// Names it (`Mcp-Session-Id`).
    pub(super) id: String,
    /// Its process.
    pub(super) process: Process,
    owner: Principal,
    started: Instant,
    used: Mutex<Instant>,
    _place: OwnedSemaphorePermit,
}

impl Session {
    fn used(&self) -> MutexGuard<'_, Instant> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    recipe: Arc<Recipe>,
    most: usize,
    idle: Duration,
    places: Arc<Semaphore>,
    crashes: Crashes,
    held: Mutex<HashMap<String, Arc<Session>>>,
}

impl Sessions {
    /// Room for at most `most` sessions, each of which ends when it has not been used for `idle`.
    pub(super) fn new(recipe: Arc<Recipe>, most: usize, idle: Duration) -> Self {
        Self {
            recipe,
            most,
            idle,
            places: Arc::new(Semaphore::new(most)),
            crashes: Crashes::default(),
            held: Mutex::default(),
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a process. It ends when nothing comes of it.
    pub(super) async fn open(&self) -> Result<Opening, SessionError> {
        let place = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) if self.places.is_closed() => return Err(SessionError::Stopping),
            Err(_) => return Err(SessionError::TooMany(self.most)),
        };
        let pause = self.crashes.pause(Instant::now());
        if pause > PATIENCE {
            return Err(SessionError::Crashing(pause));
        }
        tokio::time::sleep(pause).await;
        Ok(Opening {
            process: self.recipe.start(Use::Session)?,
            started: Instant::now(),
            place,
        })
    }

    /// A process ended before it was a session.
    pub(super) fn failed(&self, opening: &Opening) {
        self.crashes.note(opening.started.elapsed(), Instant::now());
    }

    /// Makes an initialized process a session.
    pub(super) fn begin(self: &Arc<Self>, opening: Opening, owner: Principal) -> Arc<Session> {
        let session = Arc::new(Session {
            id: secret::generate().to_string(),
            process: opening.process,
            owner,
            started: opening.started,
            used: Mutex::new(Instant::now()),
            _place: opening.place,
        });
        self.held().insert(session.id.clone(), Arc::clone(&session));
        tokio::spawn(watch(Arc::downgrade(self), Arc::clone(&session)));
        session
    }

    /// The session of this id, when it is this principal's.
    pub(super) fn find(&self, id: &str, by: &Principal) -> Option<Arc<Session>> {
        let session = self.held().get(id).filter(|s| s.owner == *by).cloned()?;
        *session.used() = Instant::now();
        (!session.process.has_ended()).then_some(session)
    }

    /// Ends a session.
    pub(super) async fn end(&self, session: &Session) {
        self.held().remove(&session.id);
        session.process.stop().await;
    }

    /// Ends all of them; none begins any more.
    pub(super) async fn stop(&self) {
        self.places.close();
        let sessions: Vec<_> = self.held().drain().map(|(_, session)| session).collect();
        let mut ends = tokio::task::JoinSet::new();
        for session in sessions {
            ends.spawn(async move { session.process.stop().await });
        }
        ends.join_all().await;
    }
}

/// Takes a session away when its process has ended, or when nobody has used it for long.
async fn watch(sessions: Weak<Sessions>, session: Arc<Session>) {
    let Some(idle) = sessions.upgrade().map(|sessions| sessions.idle) else {
        return;
    };
    loop {
        let since = session.used().elapsed();
        tokio::select! {
            why = session.process.ended() => {
                if let Some(sessions) = sessions.upgrade()
                    && sessions.held().remove(&session.id).is_some()
                {
                    tracing::warn!(server = sessions.recipe.server, "a session ended with its process: {why}");
                    sessions.crashes.note(session.started.elapsed(), Instant::now());
                }
                return;
            }
            () = tokio::time::sleep(idle.saturating_sub(since)) => {}
        }
        if session.process.channel.is_in_use() {
            *session.used() = Instant::now();
        } else if session.used().elapsed() >= idle {
            let Some(sessions) = sessions.upgrade() else {
                return;
            };
            tracing::info!(
                server = sessions.recipe.server,
                "a session that nobody used has ended"
            );
            return sessions.end(&session).await;
        }
    }
}
