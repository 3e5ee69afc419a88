//! Adds what a service's limiters counted to what all did: all that is due, one transaction after the other.
//!
//! While the database does not answer, the service counts alone, and looks every second whether it does again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, mpsc, oneshot};

use super::{
    Nanos, Spread,
    limiter::{Counting, NotCounted},
    nanos,
};
use crate::{
    clock::Clock,
    store::{Store, rates::Share},
};

/// Cells that are shared in one transaction.
const AT_ONCE: usize = 512;
/// How often a service that counts alone looks for the database.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a service's limiters share by; cheap to clone.
#[derive(Clone)]
pub struct Sharing {
    pub(super) spread: Spread,
    pub(super) clock: Arc<dyn Clock>,
    /// Bounded by the number of cells, each of which is due once.
    pub(super) due: mpsc::UnboundedSender<Due>,
    /// That what was due was shared, or could not be.
    pub(super) shared: Arc<Notify>,
    /// Whether the database does not answer.
    pub(super) alone: Arc<AtomicBool>,
}

/// A count that is to be shared, the last request of which waits for the answer.
pub(super) struct Due {
    pub(super) share: Share,
    pub(super) counting: Arc<Counting>,
    pub(super) answer: oneshot::Sender<Result<(), NotCounted>>,
}

impl Sharing {
    /// Begins to share, for as long as anybody counts.
    #[must_use]
    pub fn start(spread: Spread, store: &Store, clock: &Arc<dyn Clock>) -> Self {
        let (due, to_share) = mpsc::unbounded_channel();
        let sharing = Self {
            spread,
            clock: Arc::clone(clock),
            due,
            shared: Arc::default(),
            alone: Arc::default(),
        };
        let task = Task {
            store: store.clone(),
            clock: Arc::clone(clock),
            shared: Arc::clone(&sharing.shared),
            alone: Arc::clone(&sharing.alone),
            to_share,
        };
        tokio::spawn(task.run());
        sharing
    }
}

struct Task {
    store: Store,
    clock: Arc<dyn Clock>,
    shared: Arc<Notify>,
    alone: Arc<AtomicBool>,
    to_share: mpsc::UnboundedReceiver<Due>,
}

impl Task {
    async fn run(mut self) {
        let mut due = Vec::new();
        while self.to_share.recv_many(&mut due, AT_ONCE).await > 0 {
            let shares = due.iter().map(|due| due.share).collect();
            let now = self.now();
            match self.store.share_rates(shares, now).await {
                Ok(together) => {
                    for due in due.drain(..) {
                        let answer = match together.get(&due.share.slot.key()) {
                            Some(tat) => due.counting.learn(&due.share, *tat, now),
                            None => due.counting.keep(&due.share),
                        };
                        let _ = due.answer.send(answer);
                    }
                    self.shared.notify_waiters();
                }
                Err(error) => {
                    tracing::warn!(
                        %error,
                        "requests cannot be counted with those at other services; this one counts alone until the database takes them"
                    );
                    self.alone(&mut due).await;
                }
            }
        }
    }

    /// Until the database answers again.
    async fn alone(&mut self, due: &mut Vec<Due>) {
        self.alone.store(true, Ordering::Relaxed);
        let probe = due.first().map(|due| Share::nothing(due.share.slot));
        loop {
            // What others made due before they knew.
            while let Ok(late) = self.to_share.try_recv() {
                due.push(late);
            }
            for due in due.drain(..) {
                let _ = due.answer.send(due.counting.keep(&due.share));
            }
            self.shared.notify_waiters();
            tokio::time::sleep(LOOK_EVERY).await;
            let ended = self.to_share.is_closed();
            let probe = probe.into_iter().collect();
            if ended || self.store.share_rates(probe, self.now()).await.is_ok() {
                break;
            }
        }
        self.alone.store(false, Ordering::Relaxed);
    }

    fn now(&self) -> Nanos {
        nanos(self.clock.now())
    }
}
