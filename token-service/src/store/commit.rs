//! Group commit: what calls cause is queued, and one task commits all that waits in one transaction.
//!
//! Nobody is answered before the fsync of the transaction that holds their record. Every wait is bounded: a
//! caller that gives up is answered [`StoreError::Busy`], and what it had queued is dropped if it has not
//! been written yet.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

use super::{
    Store, StoreError, WAIT, batch::Work, reported::Report, sightings::IfNew, writer::Writer,
};
use crate::audit::{Beside, Record};

/// How many callers may wait in the queue.
const QUEUE: usize = 4096;
/// How many callers share one transaction at most.
const BATCH: usize = 256;

/// A token that is good once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SingleUse {
    /// Its `jti`.
    pub jti: String,
    /// Its `exp`, in seconds since the epoch.
    pub exp: u64,
}

/// One call within a task, to be counted together with its token. The counts are those that the decision knew: the commit
/// finds out whether they still hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The task's id.
    pub task: String,
    /// Its subject.
    pub subject: String,
    /// Its agent.
    pub agent: String,
    /// The day that is counted (UTC).
    pub day: String,
    /// The task's calls before this one.
    pub calls: u64,
    /// The subject's and agent's calls within tasks that day before this one.
    pub calls_today: u64,
}

/// A minted token as it is put down: spent once, counted once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mint {
    /// The token, where it is good once.
    pub token: Option<SingleUse>,
    /// The call it is for, where that belongs to a task.
    pub charge: Option<Charge>,
    /// What else is on record, where nobody has called this before.
    pub if_new: Option<Box<IfNew>>,
}

/// What became of a token that somebody wants to spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// It is spent now; the caller is the only one to hear this.
    Now,
    /// It was spent before, or is none that can be spent.
    Before,
}

/// What one caller waits for.
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) reply: oneshot::Sender<Result<Spent, StoreError>>,
}

/// The queue and the task that empties it.
#[derive(Clone, Debug)]
pub(super) struct Commits {
    queue: mpsc::Sender<Job>,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Commits {
    pub(super) fn start(writer: Writer) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let task = tokio::spawn(run(writer, jobs));
        Self {
            queue,
            task: Arc::new(Mutex::new(Some(task))),
        }
    }

    async fn submit(&self, work: Work) -> Result<Spent, StoreError> {
        let (reply, answer) = oneshot::channel();
        let queued = async {
            self.queue
                .send(Job { work, reply })
                .await
                .map_err(|_| StoreError::Busy)?;
            answer.await.map_err(|_| StoreError::Busy)?
        };
        timeout(WAIT, queued).await.map_err(|_| StoreError::Busy)?
    }

    /// Commits what is queued and ends the task. Later submissions are refused.
    pub(super) async fn close(&self) {
        let task = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let (reply, _) = oneshot::channel();
        let _ = self
            .queue
            .send(Job {
                work: Work::Close,
                reply,
            })
            .await;
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}

impl Store {
    /// Commits a decision that was made at this registry revision: its record, what lies beside it and, for a mint of
    /// a single-use token, the token and what it counts as. All or nothing.
    ///
    /// # Errors
    /// [`StoreError::Stale`] when the registry or the task has moved on: decide again. [`StoreError::Busy`] when the
    /// commit did not come in time.
    pub async fn commit_decision(
        &self,
        revision: i64,
        record: Record,
        beside: Beside,
        mint: Mint,
    ) -> Result<(), StoreError> {
        let work = Work::Decision {
            revision,
            record: Box::new(record),
            beside: Box::new(beside),
            mint: Box::new(mint),
        };
        self.commits.submit(work).await.map(drop)
    }

    /// Spends a single-use token, at this registry revision: exactly one caller ever hears [`Spent::Now`].
    ///
    /// # Errors
    /// As for [`Store::commit_decision`].
    pub async fn consume(&self, revision: i64, jti: &str, now: u64) -> Result<Spent, StoreError> {
        self.commits
            .submit(Work::Consume {
                revision,
                jti: jti.to_owned(),
                now,
            })
            .await
    }

    /// Puts a record into the trail, together with what else is waiting.
    ///
    /// # Errors
    /// As for [`Store::commit_decision`], but never [`StoreError::Stale`].
    pub async fn record(&self, record: Record) -> Result<(), StoreError> {
        self.commits
            .submit(Work::Record(Box::new(record)))
            .await
            .map(drop)
    }

    /// Puts a rogue access into the trail; past a daily number for a server and who saw it, it is only counted.
    ///
    /// # Errors
    /// As for [`Store::record`].
    pub async fn record_rogue(&self, record: Record) -> Result<(), StoreError> {
        self.commits
            .submit(Work::Rogue(Box::new(record)))
            .await
            .map(drop)
    }

    /// Puts a gateway's events on record; those it has sent before are not recorded twice.
    ///
    /// # Errors
    /// As for [`Store::record`].
    pub async fn report(&self, report: Report) -> Result<(), StoreError> {
        self.commits.submit(Work::Report(report)).await.map(drop)
    }
}

async fn run(mut writer: Writer, mut jobs: mpsc::Receiver<Job>) {
    let mut waiting = Vec::with_capacity(BATCH);
    loop {
        let Some(first) = jobs.recv().await else {
            return;
        };
        waiting.push(first);
        // Callers that are ready to queue their work do so before the transaction begins.
        tokio::task::yield_now().await;
        while waiting.len() < BATCH
            && let Ok(job) = jobs.try_recv()
        {
            waiting.push(job);
        }
        let closing = waiting.iter().any(|job| matches!(job.work, Work::Close));
        // Whoever has given up gets nothing written: they were told that nothing is known to be on record.
        waiting.retain(|job| !job.reply.is_closed() && !matches!(job.work, Work::Close));
        commit(&mut writer, &mut waiting).await;
        if closing {
            return;
        }
    }
}

/// Commits all that waits; when that fails, each alone, so that nobody fails for somebody else's work.
async fn commit(writer: &mut Writer, waiting: &mut Vec<Job>) {
    if waiting.is_empty() {
        return;
    }
    let together: Vec<&Work> = waiting.iter().map(|job| &job.work).collect();
    metrics::histogram!("writ_commit_batch_size")
        .record(u32::try_from(together.len()).unwrap_or(u32::MAX));
    match writer.transaction(&together).await {
        Ok(answers) => {
            for (job, answer) in waiting.drain(..).zip(answers) {
                let _ = job.reply.send(answer);
            }
        }
        Err(error) if waiting.len() == 1 || error.passes() => {
            tracing::error!(%error, callers = waiting.len(), "a transaction failed");
            for job in waiting.drain(1..) {
                let _ = job.reply.send(Err(error.shared()));
            }
            if let Some(first) = waiting.pop() {
                let _ = first.reply.send(Err(error));
            }
        }
        Err(error) => {
            tracing::warn!(%error, callers = waiting.len(), "a transaction failed; committing one by one");
            for job in waiting.drain(..) {
                let answer = writer.transaction(&[&job.work]).await;
                let _ = job
                    .reply
                    .send(answer.and_then(|mut one| one.pop().unwrap_or(Err(StoreError::Busy))));
            }
        }
    }
}
