//! Who waits for news is told of them: what this process changes at once, what another one writes within milliseconds.

use std::time::Duration;

use tokio::{sync::watch, time::MissedTickBehavior};

use crate::app::SharedApp;

/// How often the database is looked at while somebody waits.
const LOOK: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Debug)]
pub struct Changes(watch::Sender<State>);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    count: u64,
    is_over: bool,
}

impl Default for Changes {
    fn default() -> Self {
        Self(watch::Sender::new(State::default()))
    }
}

impl Changes {
    /// Something has changed.
    pub fn note(&self) {
        self.0.send_modify(|state| state.count += 1);
    }

    /// Nobody is to wait any longer: the service ends.
    pub fn end(&self) {
        self.0.send_modify(|state| state.is_over = true);
    }

    /// Waits for whatever changes after this call.
    #[must_use]
    pub fn wait(&self) -> Waiting {
        Waiting(self.0.subscribe())
    }

    /// Whether anybody waits.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.0.receiver_count() > 0
    }
}

/// Somebody who waits.
#[derive(Debug)]
pub struct Waiting(watch::Receiver<State>);

impl Waiting {
    /// Whether there is nothing to wait for any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.borrow().is_over
    }

    /// Returns when something has changed.
    pub async fn changed(&mut self) {
        // An error says that the service is gone.
        let _ = self.0.changed().await;
    }
}

/// Looks for what other processes write, while somebody waits for it, until it is told to stop.
pub async fn follow(app: SharedApp, mut stopped: watch::Receiver<bool>) {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = look.tick() => {}
            () = crate::serve::told_to_stop(&mut stopped) => return,
        }
        if app.changes.is_awaited()
            && let Err(error) = app.current_registry().await
        {
            tracing::warn!(%error, "cannot look for changes");
        }
    }
}
