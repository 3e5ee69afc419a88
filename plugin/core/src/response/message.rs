//! One message from a server: what it is, and what of it the client gets.

use serde_json::value::RawValue;
use writ_policy::Value;
use writ_policy::event::CallResult;
use writ_policy::release::Release;

use super::breaks::escaped;
use super::events::Passed;
use super::list;
use super::mask;
use super::text::{Edits, Members, Unreadable, read_id, string};
use super::{Answer, Expected, Judge, Problem};
use crate::message::{Id, parse_result, questions};
use crate::refuse::Refusal;

/// The method of a question that stands in place of one that the policy denied. No client knows it, so each answers
/// `-32601`, as JSON-RPC has it, and the server has its answer.
const DENIED: &str = "writ/denied";

/// The most questions that are denied within one answer; one more ends it.
const MAX_DENIED: u32 = 16;

/// How many of the server's open questions are kept in mind within one answer, to be called off.
const MAX_ASKED: usize = 64;

/// MCP 2025-11-25: the client is to send its user to a URL first.
const URL_ELICITATION_REQUIRED: f64 = -32042.0;

/// A message, as far as its envelope says.
pub(super) enum Seen<'a> {
    /// A request to the client.
    Question {
        envelope: Members<'a>,
        id: &'a RawValue,
        method: &'a RawValue,
    },
    /// A notification.
    Notification(Members<'a>),
    /// A result or an error.
    Answer(Members<'a>),
    /// None of these: no client makes anything of it.
    Nothing,
}

impl<'a> Seen<'a> {
    pub(super) fn read(message: &'a [u8]) -> Result<Self, Unreadable> {
        let envelope = Members::read(message)?.named_as_in_mcp()?;
        let answers = envelope.get("result").is_some() || envelope.get("error").is_some();
        match (envelope.get("method"), envelope.get("id"), answers) {
            (Some(_), _, true) => Err(Unreadable::because("it both asks and answers")),
            (Some(method), Some(id), false) => Ok(Self::Question {
                envelope,
                id,
                method,
            }),
            (Some(_), None, false) => Ok(Self::Notification(envelope)),
            (None, _, true) => Ok(Self::Answer(envelope)),
            (None, _, false) => Ok(Self::Nothing),
        }
    }
}

impl Answer {
    /// Looks at a message and says how it passes.
    pub(super) fn see(
        &mut self,
        message: &[u8],
        seen: Seen<'_>,
        judge: &mut dyn Judge,
    ) -> Result<Passed, Problem> {
        match seen {
            Seen::Question {
                envelope,
                id,
                method,
            } => self.question(message, &envelope, (id, method), judge),
            Seen::Notification(envelope) => self.notification(message, &envelope, judge),
            Seen::Answer(envelope) => self.answer(message, &envelope, judge),
            Seen::Nothing => Ok(Passed::AsItIs),
        }
    }

    /// A notification about a task can carry what a result would, and one can call off a question.
    fn notification(
        &mut self,
        message: &[u8],
        envelope: &Members<'_>,
        judge: &mut dyn Judge,
    ) -> Result<Passed, Problem> {
        let Some(text) = envelope.get("params") else {
            return Ok(Passed::AsItIs);
        };
        let Some(params) = Members::of(text)? else {
            return Ok(Passed::AsItIs);
        };
        let mut edits = Edits::of(message);
        let method = envelope.get("method").and_then(string);
        if method.as_deref() == Some("notifications/cancelled")
            && let Some(id) = params.get("requestId")
        {
            match self.asked_as(id) {
                Some(sealed) => edits.replace(id.get(), sealed.to_owned()),
                None => {
                    if let Some(called_off) = called_off(id, judge) {
                        return Ok(called_off);
                    }
                }
            }
        }
        let carries = params.get("result").is_some();
        match self.carried(&params, text, carries, &mut edits, judge)? {
            // The client finds out when it asks for the task.
            Some(_) => Ok(Passed::Empty),
            None => Ok(edits.made()?.map_or(Passed::AsItIs, Passed::With)),
        }
    }

    fn answer(
        &mut self,
        message: &[u8],
        envelope: &Members<'_>,
        judge: &mut dyn Judge,
    ) -> Result<Passed, Problem> {
        let id = envelope.get("id").and_then(read_id);
        let ours = self.id.is_some() && id == self.id;
        // What was asked says what is to be looked at: the answer to something else is none here.
        if !ours && self.expected != Expected::Stream && envelope.get("result").is_some() {
            return Err(Problem::Foreign);
        }
        let (passed, result) = match (envelope.get("error"), envelope.get("result")) {
            (Some(_), Some(_)) => {
                return Err(Unreadable::because("it has both a result and an error").into());
            }
            (Some(error), _) => match self.url_elicitation(error, judge)? {
                Some(refusal) => self.refused(&refusal, id.as_ref()),
                None => (Passed::AsItIs, CallResult::ProtocolError),
            },
            (None, Some(text)) => {
                let result = Members::of(text)?
                    .ok_or_else(|| Unreadable::because("its result is no object"))?
                    .named_as_in_mcp()?;
                let mut edits = Edits::of(message);
                if matches!(self.expected, Expected::List | Expected::Stream) {
                    list::filter(&result, self.limits.ttl_ms, judge, &mut edits)?;
                }
                let carries = matches!(self.expected, Expected::Content | Expected::Stream);
                match self.carried(&result, text, carries, &mut edits, judge)? {
                    Some(refusal) => self.refused(&refusal, id.as_ref()),
                    None => {
                        let passed = edits.made()?.map_or(Passed::AsItIs, Passed::With);
                        (passed, kind_of(&result))
                    }
                }
            }
            (None, None) => return Ok(Passed::AsItIs),
        };
        if ours {
            let delivered = match &passed {
                Passed::With(other) => other.as_slice(),
                Passed::AsItIs | Passed::Empty | Passed::Each(_) => message,
            };
            self.watch.answered(result, delivered);
        }
        Ok(passed)
    }

    /// Judges what a result, or a notification about one, holds: questions to the client, and what the policy is to see.
    /// Answers with the error to put in its place, where there is one.
    fn carried(
        &mut self,
        members: &Members<'_>,
        text: &RawValue,
        carries: bool,
        edits: &mut Edits<'_>,
        judge: &mut dyn Judge,
    ) -> Result<Option<Refusal>, Problem> {
        if let Some(questions) = members.get("inputRequests")
            && let Some(refusal) = self.input_requests(questions, judge)?
        {
            return Ok(Some(refusal));
        }
        if !carries || !judge.looks() {
            return Ok(None);
        }
        let result = parse_result(text.get().as_bytes()).map_err(Unreadable::from)?;
        match judge.release(Some(result)) {
            Release::Pass => Ok(None),
            Release::Withhold { reason, .. } => Ok(Some(Refusal::Withheld(reason))),
            Release::Mask(masks) => {
                let masked = mask::apply(text.get(), &masks, edits)?;
                if !masked.is_empty() {
                    say_so(members, text, &masked, edits)?;
                    self.watch.masked(&masked);
                }
                Ok(None)
            }
        }
    }

    /// A question passes with the id that its answer is known by, and a denied one turned into one that nobody knows.
    fn question(
        &mut self,
        message: &[u8],
        envelope: &Members<'_>,
        (id, method): (&RawValue, &RawValue),
        judge: &mut dyn Judge,
    ) -> Result<Passed, Problem> {
        let read = read_id(id).zip(string(method));
        let (number, name) =
            read.ok_or_else(|| Unreadable::because("it asks with a method or an id that is none to every reader: a string, or a whole number within ±(2^53 − 1)"))?;
        let sealed = judge.seal(&name, &number)?;
        let sealed = serde_json::Value::from(sealed).to_string();
        match self.asks(judge, &name, params_of(envelope)?)? {
            Ok(()) => {
                let mut edits = Edits::of(message);
                edits.replace(id.get(), sealed.clone());
                if self.asked.len() == MAX_ASKED {
                    self.asked.pop_front();
                }
                self.asked.push_back((number, sealed));
                Ok(edits.made()?.map_or(Passed::AsItIs, Passed::With))
            }
            Err(reason) => {
                let params = serde_json::json!({"method": name, "reason": reason});
                let denied = format!(
                    r#"{{"jsonrpc":"2.0","id":{sealed},"method":"{DENIED}","params":{params}}}"#
                );
                Ok(Passed::With(escaped(denied).into_bytes()))
            }
        }
    }

    /// What the client knows a question of this answer by.
    fn asked_as(&self, id: &RawValue) -> Option<&str> {
        let id = read_id(id)?;
        let mut asked = self.asked.iter().rev();
        asked
            .find(|(of, _)| *of == id)
            .map(|(_, sealed)| sealed.as_str())
    }

    /// MCP 2026-07-28: what the client is to find out before it asks again. One that is denied denies the result.
    fn input_requests(
        &mut self,
        questions: &RawValue,
        judge: &mut dyn Judge,
    ) -> Result<Option<Refusal>, Problem> {
        let questions = Members::of(questions)?
            .ok_or_else(|| Unreadable::because("its `inputRequests` are no object"))?;
        for question in questions.values() {
            let question = Members::of(question)?;
            let method = question
                .as_ref()
                .and_then(|q| q.get("method"))
                .and_then(string);
            let Some((question, method)) = question.as_ref().zip(method) else {
                return Err(Unreadable::because("one of its `inputRequests` is no request").into());
            };
            if let Err(reason) = self.asks(judge, &method, params_of(question)?)? {
                return Ok(Some(denied(&method, &reason)));
            }
        }
        Ok(None)
    }

    /// MCP 2025-11-25: an error that is a question.
    fn url_elicitation(
        &mut self,
        error: &RawValue,
        judge: &mut dyn Judge,
    ) -> Result<Option<Refusal>, Problem> {
        let Some(error) = Members::of(error)? else {
            return Ok(None);
        };
        if error
            .get("code")
            .and_then(|code| code.get().parse::<f64>().ok())
            .is_none_or(|code| code != URL_ELICITATION_REQUIRED)
        {
            return Ok(None);
        }
        let method = "elicitation/create";
        let asked = match error.get("data") {
            Some(data) => parse_result(data.get().as_bytes()).map_err(Unreadable::from)?,
            None => Value::new_object(),
        };
        let answer = self.asks(judge, method, asked)?;
        Ok(answer.err().map(|reason| denied(method, &reason)))
    }

    /// Whether the server may ask this. One that goes on asking for what it is denied fills the audit trail.
    fn asks(
        &mut self,
        judge: &mut dyn Judge,
        method: &str,
        params: Value,
    ) -> Result<Result<(), String>, Problem> {
        let answer = judge.asks(method, params);
        if answer.is_err() {
            self.denied += 1;
            if self.denied > MAX_DENIED {
                return Err(Problem::AsksOn);
            }
        }
        Ok(answer)
    }

    /// An error in place of an answer.
    fn refused(&mut self, refusal: &Refusal, id: Option<&Id>) -> (Passed, CallResult) {
        self.watch.because(refusal.to_string());
        let told = self.error(refusal, id).into_bytes();
        (Passed::With(told), CallResult::Withheld)
    }
}

/// What calls off a question that was asked on another stream, by another worker even. The client knows it by its id and
/// its method, sealed, and what it was is not known here: it is called off as each that it can have been, and the client
/// passes over those that it has not got (MCP 2025-11-25, cancellation).
fn called_off(id: &RawValue, judge: &mut dyn Judge) -> Option<Passed> {
    let id = read_id(id)?;
    let all: Option<Vec<_>> = questions()
        .map(|method| {
            let params = serde_json::json!({"requestId": judge.seal(method, &id).ok()?});
            let message = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#
            );
            Some(message.into_bytes())
        })
        .collect();
    Some(Passed::Each(all?))
}

fn denied(method: &str, reason: &str) -> Refusal {
    Refusal::Denied(format!("the server may not ask for {method}: {reason}"))
}

fn params_of(request: &Members<'_>) -> Result<Value, Unreadable> {
    match request.get("params") {
        Some(params) => Ok(parse_result(params.get().as_bytes())?),
        None => Ok(Value::new_object()),
    }
}

/// What a result says of itself.
fn kind_of(result: &Members<'_>) -> CallResult {
    let is_error = result.get("isError").is_some_and(|is| is.get() == "true");
    let of_type = result.get("resultType").and_then(string);
    match of_type.as_deref() {
        _ if is_error => CallResult::ToolError,
        Some("input_required") => CallResult::InputRequired,
        Some("task") => CallResult::Task,
        // MCP 2025-11-25.
        None if result.get("task").is_some() && result.get("content").is_none() => CallResult::Task,
        _ => CallResult::Ok,
    }
}

/// The member of a result's `_meta` that tells the client what was masked.
const MASKED: &str = "writ/masked";

fn say_so(
    members: &Members<'_>,
    text: &RawValue,
    masked: &mask::Masked,
    edits: &mut Edits<'_>,
) -> Result<(), Unreadable> {
    let counts = serde_json::to_string(masked)?;
    let said = format!("\"{MASKED}\":{counts}");
    let Some(meta) = members.get("_meta") else {
        edits.add_member(
            text.get(),
            members.is_empty(),
            &format!("\"_meta\":{{{said}}}"),
        );
        return Ok(());
    };
    let of = Members::of(meta)?.ok_or_else(|| Unreadable::because("its `_meta` is no object"))?;
    match of.get(MASKED) {
        Some(claimed) => edits.replace(claimed.get(), counts),
        None => edits.add_member(meta.get(), of.is_empty(), &said),
    }
    Ok(())
}
