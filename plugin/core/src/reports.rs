//! What has to reach the audit trail but does not hold up a request: queued per worker, sent in batches.

mod counted;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use writ_policy::event::{
    Event, EventBatch, MAX_EVENTS, MAX_SPANS, Rogue, ShadowServer, Span, Unauthenticated,
};

use crate::host::CallId;
use counted::Counted;

/// Events that wait at most; beyond it the oldest outcomes give way.
const MAX_QUEUED: usize = 8 * MAX_EVENTS;

/// Kinds of unauthenticated tries that are counted apart; all others share one row.
const MAX_KINDS: usize = 256;

/// The address under which the tries beyond [`MAX_KINDS`] are counted.
const OTHERS: &str = "*";

/// The reports of one worker.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    queue: VecDeque<Event>,
    /// Not in the queue: whoever traces much must not push out what goes on record.
    spans: Vec<Span>,
    tries: BTreeMap<(&'static str, String, String), Unauthenticated>,
    rogues: Counted<Rogue>,
    shadows: Counted<ShadowServer>,
    sent: Option<(CallId, Vec<Event>)>,
    /// Events that were given up because the service stayed away too long.
    pub(crate) lost: u64,
}

impl Reports {
    /// Queues an event.
    pub(crate) fn add(&mut self, event: Event) {
        if self.queue.len() >= MAX_QUEUED {
            self.queue.pop_front();
            self.lost += 1;
        }
        self.queue.push_back(event);
    }

    /// Queues a span. Those that are too many, or are not taken at once, are given up: nobody decides by them.
    pub(crate) fn add_span(&mut self, span: Span) {
        if self.spans.len() < MAX_SPANS {
            self.spans.push(span);
        }
    }

    /// Counts a try without a good token.
    pub(crate) fn count(
        &mut self,
        kind: &'static str,
        source_ip: &str,
        server: &str,
        time: String,
    ) {
        let mut key = (kind, source_ip.to_owned(), server.to_owned());
        if self.tries.len() >= MAX_KINDS && !self.tries.contains_key(&key) {
            key = (kind, OTHERS.to_owned(), String::new());
        }
        let entry = self
            .tries
            .entry(key)
            .or_insert_with_key(|(kind, source_ip, server)| Unauthenticated {
                kind: (*kind).to_owned(),
                source_ip: source_ip.clone(),
                server: server.clone(),
                first: time.clone(),
                last: String::new(),
                count: 0,
            });
        entry.last = time;
        entry.count += 1;
    }

    /// Counts what should not have reached a server.
    pub(crate) fn count_rogue(&mut self, rogue: Rogue, now: Duration) {
        self.rogues.count(rogue, now);
    }

    /// Counts a message to a server past its gateway.
    pub(crate) fn count_shadow(&mut self, shadow: ShadowServer, now: Duration) {
        self.shadows.count(shadow, now);
    }

    /// Queues what was counted and it is time to tell of.
    pub(crate) fn add_counted(&mut self, now: Duration) {
        let rogues = self.rogues.due(now).into_iter().map(Event::Rogue);
        let shadows = self.shadows.due(now).into_iter().map(Event::ShadowServer);
        for event in rogues.chain(shadows).collect::<Vec<_>>() {
            self.add(event);
        }
    }

    /// Whether more than a batch waits: then the next one does not wait for the timer. With less, few large batches
    /// are cheaper than many small ones, and leave the token service's commits to the mints.
    pub(crate) fn is_behind(&self) -> bool {
        self.queue.len() >= MAX_EVENTS
    }

    /// The next batch to send, unless one is under way or there is nothing to say.
    pub(crate) fn next_batch(&mut self) -> Option<EventBatch> {
        if self.sent.is_some() {
            return None;
        }
        while self.queue.len() < MAX_EVENTS {
            let Some((_, tries)) = self.tries.pop_first() else {
                break;
            };
            self.queue.push_back(Event::Unauthenticated(tries));
        }
        let count = self.queue.len().min(MAX_EVENTS);
        if count == 0 && self.spans.is_empty() {
            return None;
        }
        Some(EventBatch {
            events: self.queue.drain(..count).collect(),
            spans: std::mem::take(&mut self.spans),
        })
    }

    /// Remembers a batch until its answer comes.
    pub(crate) fn sent(&mut self, call: CallId, batch: EventBatch) {
        self.sent = Some((call, batch.events));
    }

    /// Puts a batch back that could not be sent.
    pub(crate) fn put_back(&mut self, events: Vec<Event>) {
        for event in events.into_iter().rev() {
            self.queue.push_front(event);
        }
    }

    /// Settles the batch sent as `call`: dropped where it was recorded, to be sent again where the service was away.
    /// Answers whether `call` was a batch.
    pub(crate) fn settle(&mut self, call: CallId, status: Option<u16>) -> bool {
        let Some((_, events)) = self.sent.take_if(|(sent, _)| *sent == call) else {
            return false;
        };
        match status {
            Some(200..=299) => {}
            // The service will never take this batch: keeping it would block all that comes after. Any other answer, a
            // wrong secret's 401 included, can be mended, and then nothing is missing.
            Some(400 | 413 | 422) => {
                log::error!(
                    "the token service refused {} audit events; they are lost",
                    events.len()
                );
                self.lost += events.len() as u64;
            }
            _ => self.put_back(events),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn outcome(n: u64) -> Event {
        Event::Outcome(writ_policy::event::Outcome {
            token_id: n.to_string(),
            request_id: String::new(),
            time: String::new(),
            status: None,
            result: writ_policy::event::CallResult::CutOff,
            duration_us: 0,
            request_bytes: 0,
            response_bytes: 0,
            result_digest: None,
            masked: BTreeMap::new(),
            reason: None,
            method: String::new(),
            target: None,
            trace: None,
            session: None,
        })
    }

    #[test]
    fn a_batch_that_was_not_recorded_is_sent_again_in_order() {
        let mut reports = Reports::default();
        reports.add(outcome(1));
        reports.add(outcome(2));
        let batch = reports.next_batch().unwrap();
        reports.sent(7, batch.clone());
        reports.add(outcome(3));
        assert!(reports.next_batch().is_none(), "one at a time");
        assert!(!reports.settle(8, Some(204)));
        assert!(reports.settle(7, None));
        let again = reports.next_batch().unwrap();
        assert_eq!(again.events[..2], batch.events);
        assert_eq!(again.events.len(), 3);
        reports.sent(9, again);
        assert!(reports.settle(9, Some(204)));
        assert!(reports.next_batch().is_none());
    }

    #[test]
    fn spans_take_no_place_from_events_and_are_not_sent_again() {
        let span = |n: u64| {
            let span = json!({
                "context": "", "parent": "", "start_us": n, "duration_us": 0,
                "call": {"request_id": "", "time": "", "server": "", "method": "", "subject": "", "agent": ""},
            });
            serde_json::from_value(span).unwrap()
        };
        let mut reports = Reports::default();
        reports.add(outcome(1));
        for n in 0..2 * MAX_SPANS as u64 {
            reports.add_span(span(n));
        }
        let batch = reports.next_batch().unwrap();
        assert_eq!((batch.events.len(), batch.spans.len()), (1, MAX_SPANS));
        assert_eq!(batch.spans[0].start_us, 0);
        reports.sent(1, batch);
        assert!(reports.settle(1, Some(503)));
        let again = reports.next_batch().unwrap();
        assert_eq!((again.events.len(), again.spans.len()), (1, 0));
        reports.sent(2, again);
        assert!(reports.settle(2, Some(204)));
        reports.add_span(span(7));
        assert_eq!(
            reports.next_batch().unwrap().spans,
            [span(7)],
            "a span alone"
        );
    }

    #[test]
    fn only_a_batch_that_can_never_be_taken_is_given_up() {
        for (status, lost) in [
            (401, 0),
            (403, 0),
            (404, 0),
            (429, 0),
            (503, 0),
            (400, 1),
            (413, 1),
        ] {
            let mut reports = Reports::default();
            reports.add(outcome(1));
            let batch = reports.next_batch().unwrap();
            reports.sent(1, batch);
            assert!(reports.settle(1, Some(status)));
            assert_eq!(reports.lost, lost, "{status}");
            assert_eq!(reports.next_batch().is_none(), lost == 1, "{status}");
        }
    }

    #[test]
    fn a_flood_of_tries_is_counted_in_bounded_room() {
        let mut reports = Reports::default();
        for n in 0..100_000 {
            reports.count(
                "missing_token",
                &format!("192.0.2.{n}"),
                "ledger",
                n.to_string(),
            );
        }
        let (mut rows, mut total) = (0, 0);
        while let Some(batch) = reports.next_batch() {
            rows += batch.events.len();
            for event in &batch.events {
                let Event::Unauthenticated(tries) = event else {
                    panic!("{event:?}")
                };
                total += tries.count;
            }
        }
        assert_eq!((rows, total), (MAX_KINDS + 1, 100_000));
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut reports = Reports::default();
        for n in 0..10_000 {
            reports.add(outcome(n));
        }
        assert_eq!(reports.queue.len(), MAX_QUEUED);
        assert_eq!(reports.lost, 10_000 - MAX_QUEUED as u64);
    }
}
