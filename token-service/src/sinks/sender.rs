//! Sending the log to one sink, in its order.
//!
//! Whoever sends holds a lease in the database: of several services on one, one sends. It is kept while there is nothing to send, too,
//! and taken over when it runs out. What was sent and not yet written down when a service is killed is sent again.

use std::time::Duration;

use jiff::Timestamp;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    Failure, Lost, SinkError, Wire,
    backoff::Backoff,
    batch::{self, Message},
};
use crate::{
    app::SharedApp,
    config::sinks::{From, Sink},
    log::sequence::{self, SequenceError},
    secret,
    serve::told_to_stop,
    store::{
        StoreError,
        sinks::{Lease, Progress},
    },
};

/// How often the log is looked at for new records.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often whoever does not send looks whether they should.
const LOOK_FOR_LEASE_EVERY: Duration = Duration::from_secs(1);
/// How much longer a lease is than a batch may take.
const LEASE_MARGIN: Duration = Duration::from_secs(5);
/// A batch is not begun with less of the lease left than it may take and this.
const SAFE_MARGIN: Duration = Duration::from_secs(2);
/// How long a batch may go on when the service ends.
const GRACE: Duration = Duration::from_secs(3);

/// Sends the log to one sink.
pub(crate) struct Sender {
    app: SharedApp,
    sink: Sink,
    wire: Wire,
    /// Who this is, for the lease.
    holder: String,
    /// Where the sink begins if it is new.
    first: Option<u64>,
    held: Option<Held>,
    backoff: Backoff,
    not_before: Instant,
}

/// What is held by whoever sends.
#[derive(Clone, Copy, Debug)]
struct Held {
    next: u64,
    until: Instant,
}

/// Why nothing is sent now.
enum Stopped {
    /// The sink, or the way to it.
    Failure(Failure),
    /// The database.
    Store(StoreError),
    /// Somebody else sends now.
    Overtaken,
}

impl std::convert::From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl std::convert::From<SequenceError> for Stopped {
    fn from(error: SequenceError) -> Self {
        Self::Failure(Failure::later(error))
    }
}

impl Sender {
    pub(crate) fn new(app: SharedApp, sink: Sink) -> Result<Self, SinkError> {
        Ok(Self {
            wire: Wire::new(&app, &sink)?,
            app,
            sink,
            holder: secret::new_id(),
            first: None,
            held: None,
            backoff: Backoff::default(),
            not_before: Instant::now(),
        })
    }

    pub(crate) async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let mut ended = stopped.clone();
        let over = async {
            told_to_stop(&mut ended).await;
            sleep(GRACE).await;
        };
        tokio::pin!(over);
        loop {
            let pause = tokio::select! {
                pause = self.turn() => pause,
                () = &mut over => break,
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = told_to_stop(&mut stopped) => break,
            }
        }
        let released = self.app.store.release_sink(&self.sink.name, &self.holder);
        if let Err(error) = released.await {
            tracing::debug!(sink = self.sink.name, %error, "the sink's lease runs out by itself");
        }
    }

    /// Sends what is there to be sent, if it is this one's turn; answers with how long to wait for the next.
    async fn turn(&mut self) -> Duration {
        let pause = match self.send_what_is_new().await {
            Ok(pause) => pause,
            Err(Stopped::Overtaken) => {
                self.held = None;
                LOOK_FOR_LEASE_EVERY
            }
            Err(Stopped::Store(error)) => {
                tracing::warn!(sink = self.sink.name, %error, "the log could not be read for a sink; it is tried again");
                self.backoff.next(None)
            }
            Err(Stopped::Failure(failure)) => self.failed(failure).await,
        };
        // The lease is kept all the while.
        pause.min(SAFE_MARGIN)
    }

    async fn send_what_is_new(&mut self) -> Result<Duration, Stopped> {
        let Some(next) = self.hold().await? else {
            return Ok(LOOK_FOR_LEASE_EVERY);
        };
        let wait = self.not_before.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            return Ok(wait);
        }
        if self.app.store.log_state().await?.size <= next {
            return Ok(LOOK_EVERY);
        }
        let entries = self
            .app
            .store
            .records_from_leaf(next, self.sink.batch_records)
            .await?;
        let first = entries.first().and_then(|entry| entry.leaf);
        if let Some(first) = first.and_then(|leaf| u64::try_from(leaf).ok())
            && first > next
        {
            self.pass_over(next, first).await?;
            return Ok(Duration::ZERO);
        }
        let batch = batch::of(&self.sink, self.app.log_key.name(), entries);
        let batch = batch.map_err(|error| Stopped::Failure(Failure::later(error)))?;
        self.deliver(&batch).await?;
        if self.backoff.succeed() {
            tracing::info!(sink = self.sink.name, "the sink takes records again");
        }
        Ok(Duration::ZERO)
    }

    /// Sends a batch, in parts where something in it is rejected, so that all but that gets there.
    ///
    /// A record is only given up once the sink has taken another after it: a sink that takes none is wrong itself.
    async fn deliver(&mut self, batch: &[Message]) -> Result<(), Stopped> {
        let mut rest = batch;
        let mut at_a_time = rest.len();
        let mut rejected: Vec<(&Message, String)> = Vec::new();
        while !rest.is_empty() {
            if self.hold().await?.is_none() {
                return Err(Stopped::Overtaken);
            }
            let (now, later) = rest.split_at(at_a_time.clamp(1, rest.len()));
            match (self.wire.send(now).await, now) {
                (Ok(lost), _) => {
                    self.advance(now, &rejected, &lost).await?;
                    rejected.clear();
                    rest = later;
                    at_a_time = at_a_time.saturating_mul(2);
                }
                (Err(Failure::Rejected { problem }), [one]) => {
                    rejected.push((one, problem));
                    rest = later;
                }
                (Err(Failure::Rejected { .. }), _) => at_a_time = now.len() / 2,
                (Err(later), _) => return Err(Stopped::Failure(later)),
            }
        }
        match rejected.pop() {
            None => Ok(()),
            Some((one, problem)) => Err(Stopped::Failure(Failure::later(format!(
                "{problem} (record {}, and none after it was taken)",
                one.entry.record.id
            )))),
        }
    }

    /// Records that are archived, and here no more.
    async fn pass_over(&mut self, from: u64, to: u64) -> Result<(), Stopped> {
        let records = to.saturating_sub(from);
        let progress = Progress {
            from,
            to,
            skipped: records,
        };
        self.move_on(progress).await?;
        metrics::counter!("writ_sink_errors_total", "sink" => self.sink.name.clone(), "kind" => "skipped")
            .increment(records);
        let problem = format!(
            "records {from} to {} are archived and were not sent",
            to.saturating_sub(1)
        );
        tracing::error!(
            sink = self.sink.name,
            problem,
            "the sink has not all records"
        );
        self.put_down(&problem).await;
        Ok(())
    }

    /// Writes down how far the sink is.
    async fn move_on(&mut self, progress: Progress) -> Result<(), Stopped> {
        let begun = Instant::now();
        if !self.app.store.advance_sink(self.lease(), progress).await? {
            return Err(Stopped::Overtaken);
        }
        self.held = Some(Held {
            next: progress.to,
            until: begun + self.lease_length(),
        });
        Ok(())
    }

    /// The sink has taken `sent`, and not what it rejected before that.
    async fn advance(
        &mut self,
        sent: &[Message],
        rejected: &[(&Message, String)],
        lost: &Lost,
    ) -> Result<(), Stopped> {
        let (Some(held), Some(last)) = (self.held, sent.last()) else {
            return Ok(());
        };
        let progress = Progress {
            from: held.next,
            to: last.leaf.saturating_add(1),
            skipped: lost.records.saturating_add(rejected.len() as u64),
        };
        self.move_on(progress).await?;
        let sink = || self.sink.name.clone();
        metrics::counter!("writ_sink_sent_total", "sink" => sink())
            .increment((sent.len() as u64).saturating_sub(lost.records));
        if lost.records > 0 {
            metrics::counter!("writ_sink_errors_total", "sink" => sink(), "kind" => "skipped")
                .increment(lost.records);
            let Lost { records, problem } = lost;
            let problem = format!(
                "it did not take {records} of {} records: {problem}",
                sent.len()
            );
            tracing::error!(
                sink = self.sink.name,
                first = sent.first().map(|one| one.leaf),
                problem,
                "the sink has not kept all of a batch; what it dropped is in the log only"
            );
            self.put_down(&problem).await;
        }
        for (one, problem) in rejected {
            metrics::counter!("writ_sink_errors_total", "sink" => sink(), "kind" => "skipped")
                .increment(1);
            let id = &one.entry.record.id;
            tracing::error!(
                sink = self.sink.name,
                record = id,
                index = one.leaf,
                problem,
                "the sink does not take this record; it was skipped and is in the log only"
            );
            let problem = format!("record {id} was skipped: {problem}");
            self.put_down(&problem).await;
        }
        Ok(())
    }

    /// Takes or keeps the lease; answers with the leaf to send next, where it is ours.
    async fn hold(&mut self) -> Result<Option<u64>, Stopped> {
        let begun = Instant::now();
        let needed = self.sink.timeout + SAFE_MARGIN;
        if let Some(held) = self.held
            && held.until.saturating_duration_since(begun) > needed
        {
            return Ok(Some(held.next));
        }
        let first = match (self.first, self.sink.from) {
            (Some(first), _) => first,
            (None, From::Start) => 0,
            // What was committed before is not new, leaf or not.
            (None, From::Now) => sequence::catch_up(&self.app.store).await?,
        };
        self.first = Some(first);
        let next = self.app.store.hold_sink(self.lease(), first).await?;
        self.held = next.map(|next| Held {
            next,
            until: begun + self.lease_length(),
        });
        Ok(next)
    }

    fn lease(&self) -> Lease<'_> {
        let now = self.app.clock.now();
        Lease {
            sink: &self.sink.name,
            holder: &self.holder,
            now,
            until: now
                .checked_add(self.lease_length())
                .unwrap_or(Timestamp::MAX),
        }
    }

    fn lease_length(&self) -> Duration {
        self.sink.timeout + LEASE_MARGIN
    }

    /// Told once, and again when it was well in between.
    async fn failed(&mut self, failure: Failure) -> Duration {
        let (kind, problem, after) = match failure {
            Failure::Later { problem, after } => ("failed", problem, after),
            Failure::Rejected { problem } => ("rejected", problem, None),
        };
        metrics::counter!("writ_sink_errors_total", "sink" => self.sink.name.clone(), "kind" => kind)
            .increment(1);
        if !self.backoff.is_failing() {
            tracing::warn!(
                sink = self.sink.name,
                problem,
                "the sink does not take records; they stay in the log, and it is tried again"
            );
        }
        self.put_down(&problem).await;
        let pause = self.backoff.next(after);
        self.not_before = Instant::now() + pause;
        pause
    }

    /// For `writ audit sinks`.
    async fn put_down(&self, problem: &str) {
        let now = self.app.clock.now();
        let written = self.app.store.sink_failed(&self.sink.name, problem, now);
        if let Err(error) = written.await {
            tracing::warn!(sink = self.sink.name, %error, "a sink's problem could not be written down");
        }
    }
}
