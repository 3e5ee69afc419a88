//! The way back of an answer that reveals what a server has: held until it is whole, or event by event, and shown to
//! the caller as far as the policy's `visible` allows. What cannot be read is not shown at all.

pub(crate) mod events;
pub(crate) mod list;

use self::events::{Events, TooLong};
pub(crate) use self::list::Entry;
use self::list::{Unreadable, filter};
use crate::host::Host;
use crate::message::Id;
use crate::refuse::Refusal;

/// An answer on its way to the caller.
#[derive(Debug)]
pub(crate) struct Revealing {
    state: State,
    /// The request's id, for an error in place of the answer.
    id: Option<Id>,
    request_id: String,
    limits: Limits,
}

/// How much is held, and for how long the caller may keep it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The most bytes of an answer or an event.
    pub(crate) bytes: usize,
    /// The longest that a list may be kept, in milliseconds.
    pub(crate) ttl_ms: u64,
}

#[derive(Debug)]
enum State {
    /// The headers have not come.
    Waiting,
    /// One JSON-RPC message, to be held until it is whole.
    Whole,
    /// A stream of them.
    Stream(Events),
    /// Nothing that a client would read a list from.
    Pass,
    /// Not understood: this is said in its place once the body comes.
    Refused(Problem),
    /// The caller has been told; what else comes is dropped.
    Told,
}

/// Why an answer is not shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error(transparent)]
    TooLong(#[from] TooLong),
    #[error("the server's answer is larger than the limit of {0} bytes")]
    TooLarge(usize),
    #[error("the server's answer is encoded although it was asked not to be")]
    Encoded,
    #[error("the server's answer is neither JSON nor an event stream")]
    Form,
}

impl Revealing {
    /// The answer to a request.
    pub(crate) fn new(id: Option<Id>, request_id: &str, limits: Limits) -> Self {
        Self {
            state: State::Waiting,
            id,
            request_id: request_id.to_owned(),
            limits,
        }
    }

    /// The answer's headers have come, and with `end_of_stream` all of it.
    pub(crate) fn on_headers(&mut self, host: &dyn Host, end_of_stream: bool) {
        if end_of_stream {
            self.state = State::Pass;
            return;
        }
        let text = |name| {
            let value = host.response_header(name).unwrap_or_default();
            String::from_utf8_lossy(&value).trim().to_ascii_lowercase()
        };
        let status = text(":status");
        let content_type = text("content-type");
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        self.state = match (essence, text("content-encoding").as_str()) {
            (_, encoding) if !matches!(encoding, "" | "identity") => {
                host.remove_response_header("content-encoding");
                State::Refused(Problem::Encoded)
            }
            ("application/json", _) => State::Whole,
            ("text/event-stream", _) => State::Stream(Events::new(self.limits.bytes)),
            _ if status.starts_with('2') => State::Refused(Problem::Form),
            _ => State::Pass,
        };
        if matches!(self.state, State::Refused(_)) {
            host.set_response_header("content-type", "application/json");
        }
        if !matches!(self.state, State::Pass) {
            // The body may become shorter.
            host.remove_response_header("content-length");
        }
    }

    /// Whether `size` bytes of the body, those held and those that came, need no more to be shown.
    pub(crate) fn is_complete(&self, size: usize, end_of_stream: bool) -> bool {
        end_of_stream || self.held().is_none_or(|most| size > most)
    }

    /// The most bytes of an answer that is held until it is whole.
    pub(crate) fn held(&self) -> Option<usize> {
        matches!(self.state, State::Whole).then_some(self.limits.bytes)
    }

    /// Shows what may be shown of the `size` bytes of the body at hand, which are [complete](Self::is_complete).
    pub(crate) fn on_body(
        &mut self,
        host: &dyn Host,
        size: usize,
        shows: &mut dyn FnMut(Entry<'_>) -> bool,
    ) {
        match std::mem::replace(&mut self.state, State::Told) {
            State::Waiting | State::Pass => self.state = State::Pass,
            State::Told => host.set_response_body(size, b""),
            State::Refused(problem) => self.tell(host, size, &problem),
            State::Whole if size > self.limits.bytes => {
                self.tell(host, size, &Problem::TooLarge(self.limits.bytes));
            }
            State::Whole => {
                let body = host.response_body(size).unwrap_or_default();
                match filter(&body, self.limits.ttl_ms, shows) {
                    Ok(None) => {}
                    Ok(Some(shown)) => host.set_response_body(size, &shown),
                    Err(error) => self.tell(host, size, &error.into()),
                }
            }
            State::Stream(mut events) => {
                let bytes = host.response_body(size).unwrap_or_default();
                let ttl_ms = self.limits.ttl_ms;
                let mut shown = Vec::with_capacity(bytes.len());
                let seen = events.see::<Problem>(&bytes, &mut shown, &mut |data| {
                    // An event without data only tells where to take the stream up again.
                    if data.is_empty() {
                        return Ok(None);
                    }
                    Ok(filter(data, ttl_ms, shows)?)
                });
                match seen {
                    Ok(()) => self.state = State::Stream(events),
                    Err(problem) => shown.extend_from_slice(
                        format!("event: message\ndata: {}\n\n", self.error(&problem)).as_bytes(),
                    ),
                }
                if shown != bytes {
                    host.set_response_body(size, &shown);
                }
            }
        }
    }

    fn tell(&self, host: &dyn Host, size: usize, problem: &Problem) {
        host.set_response_body(size, self.error(problem).as_bytes());
    }

    fn error(&self, problem: &Problem) -> String {
        log::warn!("an answer is not shown to its caller: {problem}");
        Refusal::BadAnswer(problem.to_string())
            .reply(self.id.as_ref(), &self.request_id, None)
            .body
    }
}
