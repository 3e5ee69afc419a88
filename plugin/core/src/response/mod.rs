//! The way back: one pipeline for every answer. JSON is held until it is whole, an event stream is read event by event, and
//! each message in them is looked at once: lists show what their caller may see, results pass as far as the policy lets
//! them, and a server's questions to the client reach it where the policy allows them. What cannot be read is not shown.

mod breaks;
pub(crate) mod events;
pub(crate) mod list;
mod long;
mod mask;
mod message;
mod scan;
mod text;

use std::collections::VecDeque;

use writ_policy::Value;
use writ_policy::event::CallResult;
use writ_policy::release::Release;

use self::breaks::{OtherBreak, escaped};
use self::events::{Events, Longer, Passed, TooLong};
pub(crate) use self::list::Entry;
pub(crate) use self::mask::Masked;
use self::message::Seen;
use self::scan::{Large, NoPlainResult, Said};
use self::text::Unreadable;
use crate::exchange::Flow;
use crate::host::Host;
use crate::message::{Id, Message, STREAM_OPEN};
use crate::outcome::{Ending, Watch};
use crate::refuse::Refusal;
use crate::seal::SealError;

/// The media types that messages come in.
const MESSAGES: [&str; 2] = ["application/json", "text/event-stream"];

/// Who is asked about what comes back.
pub(crate) trait Judge {
    /// Whether the caller is shown an entry of a list.
    fn shows(&mut self, entry: Entry<'_>) -> bool;
    /// Whether the policy wants to see results.
    fn looks(&self) -> bool;
    /// What becomes of a result; of one that is too large to be looked at there is none.
    fn release(&mut self, result: Option<Value>) -> Release;
    /// Whether the server may ask the client this, or why not.
    fn asks(&mut self, method: &str, params: Value) -> Result<(), String>;
    /// The id with which the client is to answer a question.
    fn seal(&mut self, method: &str, id: &Id) -> Result<String, SealError>;
}

/// What a request is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// What a server has, as far as the caller may see it.
    List,
    /// Nothing that a policy has to see: a handshake, an acknowledgement.
    Formality,
    /// What the caller asked for.
    Content,
    /// Anything, answers to other requests included.
    Stream,
}

impl Expected {
    /// What `message` is answered with.
    fn by(message: &Message) -> Self {
        match message.method() {
            STREAM_OPEN | "subscriptions/listen" => Self::Stream,
            _ if message.reveals() => Self::List,
            "initialize"
            | "ping"
            | "logging/setLevel"
            | "resources/subscribe"
            | "resources/unsubscribe" => Self::Formality,
            _ if message.reply_id().is_none() => Self::Formality,
            _ => Self::Content,
        }
    }
}

/// How much is held, and for how long the caller may keep it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The most bytes of an answer that holds a list.
    pub(crate) list: usize,
    /// The most bytes of any other answer or event.
    pub(crate) result: usize,
    /// The longest that a list may be kept, in milliseconds.
    pub(crate) ttl_ms: u64,
}

/// An answer on its way to the caller.
#[derive(Debug)]
pub(crate) struct Answer {
    state: State,
    /// The request's id, for an error in place of the answer.
    id: Option<Id>,
    request_id: String,
    expected: Expected,
    limits: Limits,
    watch: Watch,
    /// Bytes of the body that the proxy holds.
    held: usize,
    /// Questions of the server's that were denied.
    denied: u32,
    /// The latest that went on, each with the id that the client knows it by, as JSON.
    asked: VecDeque<(Id, String)>,
}

#[derive(Debug)]
enum State {
    /// The headers have not come.
    Waiting,
    /// One JSON-RPC message, to be held until it is whole.
    Whole,
    /// One that is too large for that.
    Large(Box<Large>),
    /// A stream of them.
    Stream(Box<Events>),
    /// Nothing that a client would read a message from.
    Pass,
    /// Not understood: this is said in its place once the body comes.
    Refused(Problem),
    /// The caller has been told; what else comes is dropped.
    Told,
    /// The proxy did not put what may be shown in the place of what came: nothing goes on any more.
    Stuck,
}

/// Why an answer is not shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error(transparent)]
    TooLong(#[from] TooLong),
    #[error(transparent)]
    NoPlainResult(#[from] NoPlainResult),
    #[error(transparent)]
    OtherBreak(#[from] OtherBreak),
    #[error(transparent)]
    Sealed(#[from] SealError),
    #[error("the proxy did not hand over all of the server's answer")]
    NotWhole,
    #[error("the server's answer is larger than the limit of {0} bytes")]
    TooLarge(usize),
    #[error("the server's answer is encoded although it was asked not to be")]
    Encoded,
    #[error("the server's answer is neither JSON nor an event stream")]
    Form,
    #[error("the server asks the client in place of answering it")]
    Asks,
    #[error("the server answers another request than the one that it was sent")]
    Foreign,
    #[error("the server goes on asking the client for what it is denied")]
    AsksOn,
}

impl Answer {
    /// The answer to a request.
    pub(crate) fn new(request: &Message, request_id: &str, limits: Limits) -> Self {
        Self {
            state: State::Waiting,
            id: request.reply_id().cloned(),
            request_id: request_id.to_owned(),
            expected: Expected::by(request),
            limits,
            watch: Watch::new(request.reply_id().is_some()),
            held: 0,
            denied: 0,
            asked: VecDeque::new(),
        }
    }

    /// How the call ended, now that the proxy is done with it.
    pub(crate) fn end(self, host: &dyn Host) -> Ending {
        self.watch.end(host)
    }

    /// How the call went, as far as it has.
    pub(crate) fn watch(&mut self) -> &mut Watch {
        &mut self.watch
    }

    /// Whether it is an event stream that has begun.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.state, State::Stream(_))
    }

    /// The answer's headers have come, and with `end_of_stream` all of it.
    pub(crate) fn on_headers(&mut self, host: &dyn Host, end_of_stream: bool) {
        let written = |name| {
            let value = host.response_header(name).unwrap_or_default();
            String::from_utf8_lossy(&value).trim().to_owned()
        };
        let text = |name| written(name).to_ascii_lowercase();
        let status = text(":status").parse().ok();
        self.watch.begin(status);
        if end_of_stream {
            self.state = State::Pass;
            self.watch.ended();
            return;
        }
        let written = written("content-type");
        let content_type = written.to_ascii_lowercase();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        // Without one that can be read it may be.
        let success = status.is_none_or(|status| (200..300).contains(&status));
        let is_message = MESSAGES.contains(&essence);
        let encoded = !matches!(text("content-encoding").as_str(), "" | "identity");
        self.state = match essence {
            _ if encoded && (is_message || success) => {
                host.remove_response_header("content-encoding");
                State::Refused(Problem::Encoded)
            }
            "application/json" => State::Whole,
            "text/event-stream" => State::Stream(Box::new(Events::new(self.most()))),
            // Some clients look for no more than this.
            _ if MESSAGES.iter().any(|of| content_type.contains(of)) => {
                State::Refused(Problem::Form)
            }
            // Nobody reads what acknowledges a notification or an answer.
            _ if success && (self.id.is_some() || self.expected != Expected::Formality) => {
                State::Refused(Problem::Form)
            }
            _ => State::Pass,
        };
        match self.state {
            State::Refused(_) => host.set_response_header("content-type", "application/json"),
            // What is read as UTF-8 here is to be read so by everybody.
            _ if is_message && is_in_other_characters(&content_type) => {
                host.set_response_header("content-type", essence);
            }
            // In place of all there may be: a stream that is read as JSON is another document.
            State::Stream(_) => host.set_response_header("content-type", &written),
            _ => {}
        }
        if !matches!(self.state, State::Pass) {
            // The body may get another length.
            host.remove_response_header("content-length");
        }
    }

    /// Whether `size` bytes of the body, those held and those that came, need no more to be shown. Otherwise they are held.
    pub(crate) fn is_complete(&mut self, size: usize, end_of_stream: bool) -> bool {
        let waits = matches!(self.state, State::Whole) && size <= self.most();
        self.held = if waits { size } else { 0 };
        end_of_stream || !waits
    }

    /// Bytes of the body that are held until it is whole.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    fn most(&self) -> usize {
        match self.expected {
            Expected::List => self.limits.list,
            Expected::Formality | Expected::Content => self.limits.result,
            Expected::Stream => self.limits.list.max(self.limits.result),
        }
    }

    /// Shows what may be shown of the `size` bytes of the body at hand, which are [complete](Self::is_complete), and with
    /// `end_of_stream` the last.
    pub(crate) fn on_body(
        &mut self,
        host: &dyn Host,
        size: usize,
        end_of_stream: bool,
        judge: &mut dyn Judge,
    ) -> Flow {
        self.watch.pass(size);
        if end_of_stream {
            self.watch.ended();
        }
        let done = match std::mem::replace(&mut self.state, State::Told) {
            State::Waiting | State::Pass => {
                self.state = State::Pass;
                true
            }
            State::Told => host.set_response_body(size, b""),
            State::Stuck => {
                self.state = State::Stuck;
                return Flow::Pause;
            }
            State::Refused(problem) => self.tell(host, size, &problem),
            State::Whole if size > self.most() => match self.large(judge) {
                Ok(large) => self.pass_large(host, size, end_of_stream, large),
                Err(refusal) => {
                    let told = self.error(&refusal, self.id.as_ref());
                    self.watch.withheld(refusal.to_string(), told.as_bytes());
                    host.set_response_body(size, told.as_bytes())
                }
            },
            State::Whole => match body(host, size).and_then(|body| self.message(&body, judge)) {
                Ok(Passed::With(shown)) => host.set_response_body(size, &shown),
                Ok(Passed::AsItIs) => true,
                Ok(Passed::Empty | Passed::Each(_)) => host.set_response_body(size, b""),
                Err(problem) => self.tell(host, size, &problem),
            },
            State::Large(large) => self.pass_large(host, size, end_of_stream, large),
            State::Stream(events) => self.pass_events(host, size, events, judge),
        };
        if done {
            return Flow::Continue;
        }
        self.state = State::Stuck;
        let refusal =
            Refusal::BadAnswer("the proxy did not replace the server's answer".to_owned());
        log::error!("an answer is not shown to its caller: {refusal}");
        self.watch.withheld(refusal.to_string(), b"");
        // The response has begun, so that the proxy ends it without a word.
        host.respond(&refusal.reply(self.id.as_ref(), &self.request_id, None));
        Flow::Pause
    }

    /// The only message of an answer.
    fn message(&mut self, body: &[u8], judge: &mut dyn Judge) -> Result<Passed, Problem> {
        if body.is_empty() {
            return Ok(Passed::AsItIs);
        }
        match Seen::read(body)? {
            Seen::Question { .. } => Err(Problem::Asks),
            seen => self.see(body, seen, judge),
        }
    }

    fn pass_events(
        &mut self,
        host: &dyn Host,
        size: usize,
        mut events: Box<Events>,
        judge: &mut dyn Judge,
    ) -> bool {
        let (bytes, read) = match body(host, size) {
            Ok(bytes) => (bytes, Ok(())),
            Err(problem) => (Vec::new(), Err(problem)),
        };
        let mut shown = Vec::with_capacity(bytes.len());
        // A result that no policy wants to see need not be held.
        let id = self.id.clone();
        let longer = match (self.expected, &id) {
            (Expected::Content, Some(id)) if !judge.looks() => Longer::Passes(id),
            _ => Longer::Ends,
        };
        let seen = events.see::<Problem>(&bytes, &mut shown, longer, &mut |of_type, data| {
            let first = data.iter().find(|byte| !byte.is_ascii_whitespace());
            let is_message = matches!(of_type, b"" | b"message");
            // What is no JSON object or array is a message to nobody, and a keep-alive to some.
            if first.is_none() || (!is_message && !matches!(first, Some(b'{' | b'['))) {
                return Ok(Passed::AsItIs);
            }
            let seen = Seen::read(data)?;
            self.see(data, seen, judge)
        });
        if let Some(large) = events.passed() {
            self.passed_large(large);
        }
        match read.and(seen) {
            Ok(()) => self.state = State::Stream(events),
            Err(problem) => {
                let told = self.told(&problem);
                let cut = events.cut();
                let told = format!("{cut}event: message\ndata: {told}\n\n");
                shown.extend_from_slice(told.as_bytes());
            }
        }
        shown == bytes || host.set_response_body(size, &shown)
    }

    /// Whether an answer that cannot be held may pass.
    fn large(&self, judge: &mut dyn Judge) -> Result<Box<Large>, Refusal> {
        match self.expected {
            Expected::Formality => {}
            Expected::List | Expected::Stream => {
                let problem = Problem::TooLarge(self.most());
                return Err(Refusal::BadAnswer(problem.to_string()));
            }
            Expected::Content if judge.looks() => {
                if let Release::Withhold { reason, .. } = judge.release(None) {
                    return Err(Refusal::Withheld(reason));
                }
            }
            Expected::Content => {}
        }
        Ok(Box::new(Large::new(self.id.clone())))
    }

    fn pass_large(
        &mut self,
        host: &dyn Host,
        size: usize,
        end_of_stream: bool,
        mut large: Box<Large>,
    ) -> bool {
        let seen = body(host, size).and_then(|bytes| Ok(large.see(&bytes)?));
        if let Err(problem) = seen {
            // Half a document is no message to anybody: there is nothing that could be told in it.
            self.watch.withheld(problem.to_string(), b"");
            return host.set_response_body(size, b"");
        }
        if end_of_stream {
            self.passed_large(*large);
        } else {
            self.state = State::Large(large);
        }
        true
    }

    fn passed_large(&mut self, large: Large) {
        let (said, digest) = large.end();
        let result = match said {
            Said::Nothing => CallResult::Unknown,
            Said::Result => CallResult::Ok,
            Said::ToolError => CallResult::ToolError,
        };
        self.watch.answered_as(result, digest);
    }

    fn tell(&mut self, host: &dyn Host, size: usize, problem: &Problem) -> bool {
        let told = self.told(problem);
        host.set_response_body(size, told.as_bytes())
    }

    /// What the caller is told in place of the rest of the answer.
    fn told(&mut self, problem: &Problem) -> String {
        log::warn!("an answer is not shown to its caller: {problem}");
        let told = self.error(&Refusal::BadAnswer(problem.to_string()), self.id.as_ref());
        self.watch.withheld(problem.to_string(), told.as_bytes());
        told
    }

    fn error(&self, refusal: &Refusal, id: Option<&Id>) -> String {
        escaped(refusal.reply(id, &self.request_id, None).body)
    }
}

/// Whether a media type, in lower case, names another character set than UTF-8.
fn is_in_other_characters(content_type: &str) -> bool {
    content_type.split(';').skip(1).any(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or_default();
        name.trim() == "charset" && !matches!(value.trim().trim_matches('"'), "utf-8" | "utf8")
    })
}

/// The `size` bytes of the body at hand.
fn body(host: &dyn Host, size: usize) -> Result<Vec<u8>, Problem> {
    let bytes = host.response_body(size).unwrap_or_default();
    if bytes.len() == size {
        Ok(bytes)
    } else {
        Err(Problem::NotWhole)
    }
}
