//! The process that everybody's requests without a session go to (MCP 2026-07-28), started again when it ends.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::watch, time::timeout};

use super::{
    channel::Channel,
    crashes::{Crashes, PATIENCE},
    learn,
    process::{Process, Recipe},
};
use crate::serve::told_to_stop;

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    current: watch::Receiver<Option<Arc<Channel>>>,
    stop: watch::Sender<bool>,
}

impl Shared {
    /// Keeps `process` running, from `recipe`. After a start the server has `limit` to say that it is there.
    pub(super) fn keep(process: Process, recipe: Arc<Recipe>, limit: Duration) -> Self {
        let (publish, current) = watch::channel(Some(Arc::clone(&process.channel)));
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(keep(process, recipe, limit, publish, stopped));
        Self { current, stop }
    }

    /// The running process; none when there is none for seconds.
    pub(super) async fn channel(&self) -> Option<Arc<Channel>> {
        let mut current = self.current.clone();
        let running =
            |channel: &Option<Arc<Channel>>| channel.as_ref().is_some_and(|c| !c.is_over());
        let found = timeout(PATIENCE, current.wait_for(running))
            .await
            .ok()?
            .ok()?;
        found.clone()
    }

    /// Ends it, for good.
    pub(super) async fn stop(&self) {
        self.stop.send_replace(true);
        // Whoever kept it is done when nobody publishes any more.
        let mut current = self.current.clone();
        while current.changed().await.is_ok() {}
    }
}

async fn keep(
    mut process: Process,
    recipe: Arc<Recipe>,
    limit: Duration,
    publish: watch::Sender<Option<Arc<Channel>>>,
    mut stopped: watch::Receiver<bool>,
) {
    let crashes = Crashes::default();
    let mut started = Instant::now();
    loop {
        tokio::select! {
            why = process.ended() => {
                tracing::warn!(server = recipe.server, "{why}; it is started again");
                publish.send_replace(None);
            }
            () = told_to_stop(&mut stopped) => return process.stop().await,
        }
        process = loop {
            let pause = crashes.note(started.elapsed(), Instant::now());
            let again = async {
                tokio::time::sleep(pause).await;
                started = Instant::now();
                learn::stateless(&recipe, limit).await
            };
            let again = tokio::select! {
                again = again => again,
                // A process that is not ready yet ends with this.
                () = told_to_stop(&mut stopped) => return,
            };
            match again {
                Ok(Some(process)) => break process,
                Ok(None) => tracing::error!(
                    server = recipe.server,
                    "the MCP server does not speak {} any more",
                    learn::STATELESS
                ),
                Err(error) => tracing::error!(server = recipe.server, "{error}"),
            }
        };
        publish.send_replace(Some(Arc::clone(&process.channel)));
        tracing::info!(server = recipe.server, "the MCP server runs again");
    }
}
