//! Rogue accesses on their way to the audit trail: in batches, again where the service was away, in bounded room.
//!
//! Whoever is refused is answered once what it tried has been sent, so that it is on record first where the service is there.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};
use writ_policy::event::{self, Event, EventBatch, MAX_EVENTS};

use super::service::{Service, ServiceError};
use crate::serve::told_to_stop;

/// Reports that wait at most; beyond it the oldest give way.
const MAX_WAITING: usize = 8 * MAX_EVENTS;
/// Pauses between tries, from the first to the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(15)];
/// How long what is left has at the end.
const LAST: Duration = Duration::from_secs(3);

/// See the module.
#[derive(Debug)]
pub(super) struct Reports {
    queue: mpsc::Sender<Report>,
    stop: watch::Sender<bool>,
    sender: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Report {
    event: event::Rogue,
    /// Dropped once it has been sent, or cannot be for now.
    sent: oneshot::Sender<()>,
}

impl Reports {
    /// Reports to this service.
    pub(super) fn to(service: Arc<Service>) -> Self {
        let (queue, reports) = mpsc::channel(MAX_EVENTS);
        let (stop, stopped) = watch::channel(false);
        let sender = Sender {
            service,
            reports,
            waiting: VecDeque::new(),
            lost: 0,
            stopped,
        };
        Self {
            queue,
            stop,
            sender: Mutex::new(Some(tokio::spawn(sender.run()))),
        }
    }

    /// Reports a rogue access; returns once that has been tried.
    pub(super) async fn tell(&self, event: event::Rogue) {
        let (sent, was_sent) = oneshot::channel();
        if self.queue.send(Report { event, sent }).await.is_ok() {
            // An error only says that it is over.
            let _ = was_sent.await;
        }
    }

    /// Sends what is left; nothing is reported after it.
    pub(super) async fn finish(&self) {
        let held = || self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = held().take();
        self.stop.send_replace(true);
        if let Some(mut sender) = sender
            && timeout(LAST, &mut sender).await.is_err()
        {
            sender.abort();
        }
    }
}

/// The task that sends.
struct Sender {
    service: Arc<Service>,
    reports: mpsc::Receiver<Report>,
    waiting: VecDeque<Event>,
    /// Reports that were given up.
    lost: usize,
    stopped: watch::Receiver<bool>,
}

impl Sender {
    async fn run(mut self) {
        let [first, longest] = PAUSES;
        let mut pause = first;
        loop {
            let told = self.next().await;
            if self.waiting.is_empty() {
                return;
            }
            let sent = self.send().await;
            drop(told);
            if sent {
                pause = first;
                continue;
            }
            if self.reports.is_closed() {
                let left = self.waiting.len();
                return tracing::error!(left, "rogue accesses were not reported before the end");
            }
            self.wait(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// Takes what has come, and waits for it where nothing waits to be sent; answers whom to tell.
    async fn next(&mut self) -> Vec<oneshot::Sender<()>> {
        let mut told = Vec::new();
        if self.waiting.is_empty() {
            tokio::select! {
                first = self.reports.recv() => {
                    if let Some(Report { event, sent }) = first {
                        self.add(event);
                        told.push(sent);
                    }
                }
                () = told_to_stop(&mut self.stopped) => self.reports.close(),
            }
        }
        while self.waiting.len() < MAX_EVENTS
            && let Ok(Report { event, sent }) = self.reports.try_recv()
        {
            self.add(event);
            told.push(sent);
        }
        told
    }

    fn add(&mut self, event: event::Rogue) {
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.pop_front();
            self.lost += 1;
        }
        self.waiting.push_back(Event::Rogue(event));
    }

    /// Sends a batch of what waits; whether the service is there.
    async fn send(&mut self) -> bool {
        let count = self.waiting.len().min(MAX_EVENTS);
        let batch = EventBatch {
            events: self.waiting.iter().take(count).cloned().collect(),
            spans: Vec::new(),
        };
        match self.service.report(&batch).await {
            Ok(()) => {
                self.waiting.drain(..count);
                true
            }
            // It will never take these: keeping them would block all that comes after.
            Err(ServiceError::Status(status)) if matches!(status.as_u16(), 400 | 413 | 422) => {
                self.waiting.drain(..count);
                self.lost += count;
                tracing::error!(
                    lost = self.lost,
                    "rogue accesses could not be reported: {status}"
                );
                true
            }
            Err(error) => {
                let (waiting, lost) = (self.waiting.len(), self.lost);
                tracing::error!(
                    waiting,
                    lost,
                    "rogue accesses could not be reported yet: {error}"
                );
                false
            }
        }
    }

    /// Lets some time pass; whoever comes meanwhile does not wait for the service.
    async fn wait(&mut self, pause: Duration) {
        let over = tokio::time::sleep(pause);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return,
                () = told_to_stop(&mut self.stopped) => return self.reports.close(),
                report = self.reports.recv() => match report {
                    Some(Report { event, .. }) => self.add(event),
                    None => return,
                },
            }
        }
    }
}

#[cfg(test)]
mod tests;
