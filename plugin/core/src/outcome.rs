//! How a call ended, told from what passed and from what the proxy says about the end.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use writ_policy::event::CallResult;

use crate::host::Host;
use crate::message::content_digest;
use crate::open::Over;
use crate::response::Masked;

/// The longest reason that is kept, in bytes.
const MAX_REASON: usize = 512;

/// Watches one response.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Whether an answer is to be expected: a notification has none.
    answers: bool,
    status: Option<u16>,
    bytes: u64,
    ended: bool,
    result: Option<CallResult>,
    digest: Option<String>,
    masked: Masked,
    reason: Option<String>,
}

/// What is known about a call that is over.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) status: Option<u16>,
    pub(crate) bytes: u64,
    pub(crate) result: CallResult,
    pub(crate) digest: Option<String>,
    pub(crate) masked: Masked,
    pub(crate) reason: Option<String>,
}

impl Watch {
    /// Of a request that is answered with a message, or not.
    pub(crate) fn new(answers: bool) -> Self {
        Self {
            answers,
            status: None,
            bytes: 0,
            ended: false,
            result: None,
            digest: None,
            masked: Masked::new(),
            reason: None,
        }
    }

    /// The response has begun with this status.
    pub(crate) fn begin(&mut self, status: Option<u16>) {
        self.status = status;
    }

    /// So many bytes of it have come.
    pub(crate) fn pass(&mut self, size: usize) {
        self.bytes += size as u64;
    }

    /// It has come to its end.
    pub(crate) fn ended(&mut self) {
        self.ended = true;
    }

    /// The caller got this message as the answer.
    pub(crate) fn answered(&mut self, result: CallResult, delivered: &[u8]) {
        self.result = Some(result);
        self.digest = Some(content_digest(delivered));
    }

    /// The same for a message that was not held: its SHA-256.
    pub(crate) fn answered_as(&mut self, result: CallResult, digest: [u8; 32]) {
        self.result = Some(result);
        self.digest = Some(format!("sha-256=:{}:", STANDARD.encode(digest)));
    }

    /// The caller got no answer of the server's, and this in its place.
    pub(crate) fn withheld(&mut self, reason: String, delivered: &[u8]) {
        self.answered(CallResult::Withheld, delivered);
        self.because(reason);
    }

    /// Why the caller gets something else than the server sent.
    pub(crate) fn because(&mut self, mut reason: String) {
        let end = reason.floor_char_boundary(MAX_REASON);
        reason.truncate(end);
        self.reason = Some(reason);
    }

    /// So much of each kind was masked.
    pub(crate) fn masked(&mut self, masked: &Masked) {
        for (kind, count) in masked {
            *self.masked.entry(kind).or_default() += count;
        }
    }

    /// Somebody but the server ended it, unless it was answered before.
    pub(crate) fn over(&mut self, over: Over) {
        match (self.result, over) {
            (Some(_), _) => {}
            (None, Over::Cancelled) => self.result = Some(CallResult::Cancelled),
            (None, Over::Ended(reason)) => {
                self.result = Some(CallResult::Ended);
                self.because(reason);
            }
        }
    }

    /// How the call ended, now that the proxy is done with it.
    pub(crate) fn end(self, host: &dyn Host) -> Ending {
        let result = self.result.unwrap_or_else(|| {
            let end = End::of(host);
            match (end, self.status) {
                (End::TimedOut, _) => CallResult::TimedOut,
                // A stream that nobody waits for an answer on is over when its caller leaves.
                (End::CallerLeft, Some(200..300)) if !self.answers => CallResult::Ok,
                (End::CallerLeft, _) => CallResult::Cancelled,
                (End::ServerBroke, _) | (_, None) => CallResult::CutOff,
                (End::Proper, Some(status)) if !(200..300).contains(&status) => {
                    CallResult::HttpError
                }
                (End::Proper, _) if !self.ended => CallResult::CutOff,
                (End::Proper, _) if !self.answers => CallResult::Ok,
                // A stream that its server closes without the answer is to be taken up again.
                (End::Proper, _) if self.bytes > 0 => CallResult::CutOff,
                (End::Proper, _) => CallResult::Unknown,
            }
        });
        Ending {
            status: self.status,
            bytes: self.bytes,
            result,
            digest: self.digest,
            masked: self.masked,
            reason: self.reason,
        }
    }
}

/// Who ended the exchange, as Envoy's response flags have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Proper,
    CallerLeft,
    ServerBroke,
    TimedOut,
}

impl End {
    /// Envoy's `CoreResponseFlag`, a bit each.
    const UPSTREAM_REQUEST_TIMEOUT: u64 = 1 << 2;
    const UPSTREAM_REMOTE_RESET: u64 = 1 << 4;
    const UPSTREAM_CONNECTION_TERMINATION: u64 = 1 << 6;
    const DOWNSTREAM_CONNECTION_TERMINATION: u64 = 1 << 14;
    const STREAM_IDLE_TIMEOUT: u64 = 1 << 16;
    const DOWNSTREAM_PROTOCOL_ERROR: u64 = 1 << 18;
    const UPSTREAM_MAX_STREAM_DURATION: u64 = 1 << 19;
    const DURATION_TIMEOUT: u64 = 1 << 22;
    const DOWNSTREAM_REMOTE_RESET: u64 = 1 << 28;

    const TIMED_OUT: u64 = Self::UPSTREAM_REQUEST_TIMEOUT
        | Self::STREAM_IDLE_TIMEOUT
        | Self::UPSTREAM_MAX_STREAM_DURATION
        | Self::DURATION_TIMEOUT;
    const CALLER_LEFT: u64 = Self::DOWNSTREAM_CONNECTION_TERMINATION
        | Self::DOWNSTREAM_PROTOCOL_ERROR
        | Self::DOWNSTREAM_REMOTE_RESET;
    const SERVER_BROKE: u64 = Self::UPSTREAM_REMOTE_RESET | Self::UPSTREAM_CONNECTION_TERMINATION;

    fn of(host: &dyn Host) -> Self {
        let flags = host.property(&["response", "flags"]).unwrap_or_default();
        let flags = flags.try_into().map_or(0, u64::from_le_bytes);
        match flags {
            _ if flags & Self::TIMED_OUT != 0 => Self::TimedOut,
            _ if flags & Self::CALLER_LEFT != 0 => Self::CallerLeft,
            _ if flags & Self::SERVER_BROKE != 0 => Self::ServerBroke,
            _ => Self::Proper,
        }
    }
}
