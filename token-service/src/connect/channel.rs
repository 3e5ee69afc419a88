//! One server process and the clients that talk to it: who asked what, and where what it says belongs.
//!
//! Clients count their requests each on their own, so requests go to the process under numbers of ours and come back under
//! the ids they came with. A pipe does not say which request a message of the server's own belongs to: progress says it by
//! its token, a subscription's events by their id; with one request in flight there is no doubt; everything else is for
//! the session's own stream. Between clients that share a process what belongs to nobody is shown to nobody.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::body::Bytes;
use serde_json::Value;
use tokio::sync::mpsc;

use super::{
    outbox::{Full, Outbox, Outgoing},
    wire::{self, Kind, Message, Piece},
};

/// Requests in flight at one process.
const REQUESTS: usize = 128;
/// Requests of the server's own that wait for the client's answer.
const ASKED: usize = 64;
/// What waits for a slow reader, in bytes, beside the largest message.
const BACKLOG: usize = 4 << 20;

/// JSON-RPC: no such method.
const METHOD_NOT_FOUND: i64 = -32601;
/// JSON-RPC: the server failed.
const INTERNAL_ERROR: i64 = -32603;

/// Whose process it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// One client's, for the time of its session (MCP 2025-11-25 and before).
    Session,
    /// Everybody's: every request stands for itself (MCP 2026-07-28).
    Shared,
}

/// Why a message does not reach the process.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ChannelError {
    /// The process has ended.
    #[error("{0}")]
    Over(Arc<str>),
    /// It does not keep up.
    #[error("the MCP server has {REQUESTS} requests in flight; try again when some are answered")]
    Busy,
    /// JSON-RPC 2.0: ids tell requests in flight apart.
    #[error("a request with this `id` is still in flight; use another one")]
    IdInUse,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Channel {
    used: Use,
    to_process: mpsc::Sender<Vec<u8>>,
    state: Mutex<State>,
    /// What belongs to no request, for the session's own stream.
    own: Outbox,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    pending: BTreeMap<u64, Pending>,
    /// The ids of the server's requests that the client has not answered.
    asked: HashSet<String>,
    streaming: bool,
    over: Option<Arc<str>>,
}

#[derive(Debug)]
struct Pending {
    /// The client's id, as it was written.
    id: String,
    /// The same, to compare.
    key: String,
    progress_token: Option<String>,
    outbox: Arc<Outbox>,
}

impl Channel {
    /// A channel whose messages for the process go to `to_process`.
    pub(super) fn new(used: Use, to_process: mpsc::Sender<Vec<u8>>) -> Self {
        Self {
            used,
            to_process,
            state: Mutex::default(),
            own: Outbox::new(BACKLOG),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request; what comes of it is read from the [`Reply`].
    pub(super) async fn request(
        self: &Arc<Self>,
        message: &Message,
        id: &Piece,
        bytes: &[u8],
    ) -> Result<Reply, ChannelError> {
        let outbox = Arc::new(Outbox::new(BACKLOG));
        let number = {
            let mut state = self.state();
            if let Some(why) = &state.over {
                return Err(ChannelError::Over(Arc::clone(why)));
            }
            if state.pending.len() >= REQUESTS {
                return Err(ChannelError::Busy);
            }
            let key = canonical(&id.text);
            if self.used == Use::Session && state.pending.values().any(|p| p.key == key) {
                return Err(ChannelError::IdInUse);
            }
            state.last += 1;
            let number = state.last;
            let token = message.progress_token.as_ref();
            state.pending.insert(
                number,
                Pending {
                    id: id.text.clone(),
                    key,
                    progress_token: token.map(|token| token.text.clone()),
                    outbox: Arc::clone(&outbox),
                },
            );
            number
        };
        // From here on its end is seen to, whatever happens.
        let reply = Reply {
            channel: Arc::clone(self),
            number,
            outbox,
        };
        let text = number.to_string();
        let mut pieces = vec![(id, text.as_str())];
        if let (Use::Shared, Some(token)) = (self.used, &message.progress_token) {
            pieces.push((token, &text));
        }
        self.send(wire::replace(bytes, &pieces)).await?;
        Ok(reply)
    }

    /// Passes on a notification. A cancellation goes under the number of the request that it names.
    pub(super) async fn notify(&self, message: &Message, bytes: &[u8]) -> Result<(), ChannelError> {
        let Kind::Notification { method } = &message.kind else {
            return Ok(());
        };
        if self.used == Use::Shared {
            tracing::debug!(
                method,
                "a notification of a client without a session is for nobody"
            );
            return Ok(());
        }
        if method != "notifications/cancelled" {
            return self.send(bytes.to_vec()).await;
        }
        let Some(named) = &message.request_id else {
            return Ok(());
        };
        let wanted = canonical(&named.text);
        let cancelled = {
            let mut state = self.state();
            let mut all = state.pending.iter();
            let number = all.find(|(_, p)| p.key == wanted).map(|(n, _)| *n);
            number.and_then(|number| Some((number, state.pending.remove(&number)?)))
        };
        let Some((number, pending)) = cancelled else {
            return Ok(());
        };
        pending.outbox.close();
        self.send(wire::replace(bytes, &[(named, &number.to_string())]))
            .await
    }

    /// Passes on the client's answer to a request of the server's; false where there is none that waits for it.
    pub(super) async fn answer(&self, id: &Piece, bytes: &[u8]) -> Result<bool, ChannelError> {
        if !self.state().asked.remove(&canonical(&id.text)) {
            return Ok(false);
        }
        self.send(bytes.to_vec()).await?;
        Ok(true)
    }

    async fn send(&self, message: Vec<u8>) -> Result<(), ChannelError> {
        let line = wire::one_line(&message);
        self.to_process.send(line).await.map_err(|_| {
            let over = self.state().over.clone();
            ChannelError::Over(
                over.unwrap_or_else(|| "the MCP server takes no more messages".into()),
            )
        })
    }

    /// Sends a message that must not wait; lost when the process does not read what it is sent.
    fn tell(&self, message: Vec<u8>) {
        if self.to_process.try_send(message).is_err() {
            tracing::debug!("the MCP server does not read what it is sent");
        }
    }

    /// Opens the session's own stream; none while it is open.
    pub(super) fn open_stream(self: &Arc<Self>) -> Option<OwnStream> {
        let mut state = self.state();
        if state.streaming {
            return None;
        }
        state.streaming = true;
        Some(OwnStream(Arc::clone(self)))
    }

    /// Keeps a message for the session's own stream.
    pub(super) fn keep(&self, message: Outgoing) {
        if self.own.push(message).is_err() {
            tracing::debug!("no stream takes a notification of the MCP server's");
        }
    }

    /// Whether somebody waits for it.
    pub(super) fn is_in_use(&self) -> bool {
        let state = self.state();
        state.streaming || !state.pending.is_empty()
    }

    /// Whether the process has ended.
    pub(super) fn is_over(&self) -> bool {
        self.state().over.is_some()
    }

    /// Takes a line of the process's.
    pub(super) fn take(&self, line: &[u8]) {
        let Some(message) = wire::read(line) else {
            if !line.trim_ascii().is_empty() {
                tracing::debug!(line = %excerpt(line), "the MCP server wrote a line that is no message");
            }
            return;
        };
        match &message.kind {
            Kind::Answer { id, error } => self.take_answer(&message, id, *error, line),
            Kind::Request { id, method } => self.take_request(id, method, line),
            Kind::Notification { method } => self.take_notification(&message, method, line),
        }
    }

    fn take_answer(&self, message: &Message, id: &Piece, error: Option<i64>, line: &[u8]) {
        let number: Option<u64> = id.text.parse().ok();
        let pending = number.and_then(|number| self.state().pending.remove(&number));
        let Some(pending) = pending else {
            return tracing::debug!("the MCP server answered a request that nobody waits for");
        };
        let mut pieces = vec![(id, pending.id.as_str())];
        if let Some(own) = message.subscription.as_ref().filter(|s| s.text == id.text) {
            pieces.push((own, &pending.id));
        }
        let answer = Outgoing {
            json: Bytes::from(wire::one_line(&wire::replace(line, &pieces))),
            answer: Some(error.map_or(Ok(()), Err)),
        };
        if pending.outbox.push(answer).is_err() {
            tracing::debug!("a client reads too slowly for its answer");
        }
        pending.outbox.close();
    }

    fn take_request(&self, id: &Piece, method: &str, line: &[u8]) {
        let refuse = |told: &str| self.tell(wire::failure(&id.text, METHOD_NOT_FOUND, told));
        if self.used == Use::Shared {
            return refuse("there are no requests to clients without sessions");
        }
        let key = canonical(&id.text);
        {
            let mut state = self.state();
            if state.asked.len() >= ASKED {
                drop(state);
                return refuse("too many requests wait for the client");
            }
            state.asked.insert(key.clone());
        }
        if self.pass(line, None).is_err() {
            self.state().asked.remove(&key);
            tracing::debug!(method, "no stream takes a request of the MCP server's");
            refuse("the client takes no requests now");
        }
    }

    fn take_notification(&self, message: &Message, method: &str, line: &[u8]) {
        let passed = match self.used {
            Use::Session => {
                let token = message.progress_token.as_ref().map(|t| canonical(&t.text));
                let of = token.and_then(|token| {
                    let state = self.state();
                    let named = |p: &Pending| p.progress_token.as_deref().map(canonical);
                    let mut all = state.pending.iter();
                    all.find(|(_, p)| named(p).as_ref() == Some(&token))
                        .map(|(n, _)| *n)
                });
                self.pass(line, of)
            }
            Use::Shared => self.pass_to_its_request(message, line),
        };
        if passed.is_err() {
            tracing::debug!(method, "no stream takes a notification of the MCP server's");
        }
    }

    /// A notification of a shared process goes to the request that it names, under that request's own words for it.
    fn pass_to_its_request(&self, message: &Message, line: &[u8]) -> Result<(), Full> {
        let state = self.state();
        let of = |piece: &Piece| state.pending.get(&piece.text.parse().ok()?);
        let named = message
            .subscription
            .as_ref()
            .and_then(|id| Some((id, of(id)?, of(id)?.id.clone())))
            .or_else(|| {
                let token = message.progress_token.as_ref()?;
                let pending = of(token)?;
                Some((token, pending, pending.progress_token.clone()?))
            });
        let Some((piece, pending, own)) = named else {
            return Err(Full);
        };
        pending
            .outbox
            .push(event(&wire::replace(line, &[(piece, &own)])))
    }

    /// To this request's stream; without one to the only request's, else to the session's own stream, else to the latest
    /// request's; with nothing open it waits for the session's own stream.
    fn pass(&self, line: &[u8], to: Option<u64>) -> Result<(), Full> {
        let state = self.state();
        let only = || (state.pending.len() == 1).then(|| state.pending.keys().next().copied());
        let outbox = match to.or_else(|| only().flatten()) {
            Some(number) => state.pending.get(&number).map(|p| &p.outbox),
            None if state.streaming => None,
            None => state.pending.values().next_back().map(|p| &p.outbox),
        };
        let event = event(line);
        outbox.map_or_else(
            || self.own.push(event.clone()),
            |outbox| outbox.push(event.clone()),
        )
    }

    /// The process has ended: whoever waits is told so.
    pub(super) fn end(&self, why: &str) {
        let pending = {
            let mut state = self.state();
            if state.over.is_some() {
                return;
            }
            state.over = Some(why.into());
            std::mem::take(&mut state.pending)
        };
        for pending in pending.into_values() {
            let told = Outgoing {
                json: Bytes::from(wire::failure(&pending.id, INTERNAL_ERROR, why)),
                answer: Some(Err(INTERNAL_ERROR)),
            };
            if pending.outbox.push(told).is_err() {
                tracing::debug!("a client reads too slowly to be told of the end");
            }
            pending.outbox.close();
        }
        self.own.close();
    }
}

/// What comes of a request. Dropped before its answer, the request is cancelled.
#[derive(Debug)]
pub(super) struct Reply {
    channel: Arc<Channel>,
    number: u64,
    outbox: Arc<Outbox>,
}

impl Reply {
    /// The next message; none after the answer, or when the request was cancelled.
    pub(super) async fn next(&self) -> Option<Outgoing> {
        self.outbox.next().await
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if self.channel.state().pending.remove(&self.number).is_some() {
            self.channel.tell(wire::cancelled(&self.number.to_string()));
        }
    }
}

/// A session's own stream, open until it is dropped.
#[derive(Debug)]
pub(super) struct OwnStream(Arc<Channel>);

impl OwnStream {
    /// The next message; none when the session is over.
    pub(super) async fn next(&self) -> Option<Outgoing> {
        self.0.own.next().await
    }
}

impl Drop for OwnStream {
    fn drop(&mut self) {
        self.0.state().streaming = false;
    }
}

fn event(line: &[u8]) -> Outgoing {
    Outgoing {
        json: Bytes::from(wire::one_line(line)),
        answer: None,
    }
}

/// An id or token in the one way of writing it.
fn canonical(json: &str) -> String {
    serde_json::from_str::<Value>(json).map_or_else(|_| json.to_owned(), |value| value.to_string())
}

/// The beginning of what a server wrote, for the log.
fn excerpt(line: &[u8]) -> String {
    let beginning = line.get(..200).unwrap_or(line);
    crate::audit::printable(&String::from_utf8_lossy(beginning))
}

#[cfg(test)]
mod tests;
