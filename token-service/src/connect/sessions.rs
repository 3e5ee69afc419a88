//! Sessions (MCP 2025-11-25 and before): each is one client's, with a process of its own, and ends with it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use super::{
    channel::Use,
    crashes::{Crashes, PATIENCE},
    places::Places,
    process::{Process, Recipe},
};
use crate::secret;

/// Who may use a session: whoever began it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
    /// This caller has enough of them.
    #[error("you have {0} sessions of this MCP server, as many as one caller may; end one of them")]
    Share(usize),
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
    idle: Duration,
    places: Arc<Places>,
    crashes: Crashes,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    sessions: HashMap<String, Arc<Session>>,
    /// Once no more begins.
    is_over: bool,
}

impl Sessions {
    /// Room for at most `most` sessions, each of which ends when it has not been used for `idle`.
    pub(super) fn new(recipe: Arc<Recipe>, most: usize, idle: Duration) -> Self {
        Self {
            recipe,
            idle,
            places: Places::new(most),
            crashes: Crashes::default(),
            held: Mutex::default(),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a process for a session of this principal's. It ends when nothing comes of it, and then its place is free.
    pub(super) async fn open(&self, owner: &Principal) -> Result<Opening, SessionError> {
        if self.held().is_over {
            return Err(SessionError::Stopping);
        }
        let place = self.places.take(owner)?;
        let pause = self.crashes.pause(Instant::now());
        if pause > PATIENCE {
            return Err(SessionError::Crashing(pause));
        }
        tokio::time::sleep(pause).await;
        Ok(Opening {
            process: self.recipe.start(Use::Session, place)?,
            started: Instant::now(),
        })
    }

    /// A process ended before it was a session.
    pub(super) fn failed(&self, opening: &Opening) {
        self.crashes.note(opening.started.elapsed(), Instant::now());
    }

    /// Makes an initialized process a session.
    ///
    /// # Errors
    /// [`SessionError::Stopping`] when all have ended meanwhile.
    pub(super) fn begin(
        self: &Arc<Self>,
        opening: Opening,
        owner: Principal,
    ) -> Result<Arc<Session>, SessionError> {
        let session = Arc::new(Session {
            id: secret::generate().to_string(),
            process: opening.process,
            owner,
            started: opening.started,
            used: Mutex::new(Instant::now()),
        });
        let mut held = self.held();
        if held.is_over {
            return Err(SessionError::Stopping);
        }
        held.sessions
            .insert(session.id.clone(), Arc::clone(&session));
        drop(held);
        tokio::spawn(watch(Arc::downgrade(self), Arc::clone(&session)));
        Ok(session)
    }

    /// The session of this id, when it is this principal's.
    pub(super) fn find(&self, id: &str, by: &Principal) -> Option<Arc<Session>> {
        let held = self.held().sessions.get(id).cloned();
        let session = held.filter(|session| session.owner == *by)?;
        *session.used() = Instant::now();
        (!session.process.has_ended()).then_some(session)
    }

    /// Ends a session.
    pub(super) async fn end(&self, session: &Session) {
        self.held().sessions.remove(&session.id);
        session.process.stop().await;
    }

    /// Ends all of them; none begins any more.
    pub(super) async fn stop(&self) {
        let sessions = {
            let mut held = self.held();
            held.is_over = true;
            std::mem::take(&mut held.sessions)
        };
        let mut ends = tokio::task::JoinSet::new();
        for session in sessions.into_values() {
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
                    && sessions.held().sessions.remove(&session.id).is_some()
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

#[cfg(test)]
mod tests;
