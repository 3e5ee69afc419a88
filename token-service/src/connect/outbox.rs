//! What waits for one reader: messages in order, bounded in number and bytes, with an end.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use axum::body::Bytes;
use tokio::sync::Notify;

/// Messages that may wait for one reader.
const MOST: usize = 256;

/// A message for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outgoing {
    /// JSON, on one line.
    pub(super) json: Bytes,
    /// Whether it answers the request that the reader waits for, and with which error.
    pub(super) answer: Option<Result<(), i64>>,
}

/// The reader is too slow, or gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// See the module.
#[derive(Debug)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    changed: Notify,
    most_bytes: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Outgoing>,
    bytes: usize,
    closed: bool,
}

impl Outbox {
    /// An empty one that holds at most this many bytes.
    pub(super) fn new(most_bytes: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            changed: Notify::new(),
            most_bytes,
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a message.
    pub(super) fn push(&self, message: Outgoing) -> Result<(), Full> {
        let mut waiting = self.waiting();
        let bytes = waiting.bytes.saturating_add(message.json.len());
        // An answer is never larger than what may wait, so one that is alone always fits.
        let fits = waiting.messages.is_empty()
            || (waiting.messages.len() < MOST && bytes <= self.most_bytes);
        if waiting.closed || !fits {
            return Err(Full);
        }
        waiting.bytes = bytes;
        waiting.messages.push_back(message);
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    /// Nothing more comes.
    pub(super) fn close(&self) {
        self.waiting().closed = true;
        self.changed.notify_one();
    }

    /// The next message, as soon as there is one; none at the end. Loses nothing when it is given up.
    pub(super) async fn next(&self) -> Option<Outgoing> {
        loop {
            {
                let mut waiting = self.waiting();
                if let Some(message) = waiting.messages.pop_front() {
                    waiting.bytes -= message.json.len();
                    return Some(message);
                }
                if waiting.closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &'static str) -> Outgoing {
        Outgoing {
            json: Bytes::from_static(text.as_bytes()),
            answer: None,
        }
    }

    #[tokio::test]
    async fn messages_come_in_order_and_then_the_end() {
        let outbox = Outbox::new(10);
        outbox.push(message("a")).unwrap();
        outbox.push(message("b")).unwrap();
        outbox.close();
        assert_eq!(outbox.push(message("c")), Err(Full));
        assert_eq!(outbox.next().await, Some(message("a")));
        assert_eq!(outbox.next().await, Some(message("b")));
        assert_eq!(outbox.next().await, None);
    }

    #[tokio::test]
    async fn it_is_bounded() {
        let outbox = Outbox::new(10);
        outbox.push(message("12345678")).unwrap();
        assert_eq!(outbox.push(message("123")), Err(Full));
        outbox.next().await.unwrap();
        outbox.push(message("123456789012")).unwrap();
        outbox.next().await.unwrap();
        for _ in 0..MOST {
            outbox.push(message("")).unwrap();
        }
        assert_eq!(outbox.push(message("")), Err(Full));
    }
}
