//! `writ policy eval`

use std::{io::Read as _, path::PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value as Json, json};
use writ_policy::{
    Value,
    decision::{Decision, DenialCause},
    engine::{self, Evaluator, Unjudged},
    release::Release,
};

use super::{CliError, Output};
use crate::{audit::printable, policy::Sources};

/// The largest input that is read, in bytes.
const MOST: u64 = 16 * 1024 * 1024;

#[derive(Debug, Args)]
pub(in crate::cli) struct Eval {
    /// A directory with the policy, or an OPA bundle (.tar.gz).
    policy: PathBuf,
    /// The `input` document, in JSON; `-` is standard input.
    #[arg(default_value = "-")]
    input: PathBuf,
    /// What to ask.
    #[arg(long, value_enum, default_value_t = EntryPoint::Call)]
    entry_point: EntryPoint,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum EntryPoint {
    Call,
    Visible,
    Result,
    Task,
    Exchange,
    Registration,
}

impl EntryPoint {
    fn path(self) -> &'static str {
        match self {
            Self::Call => engine::CALL,
            Self::Visible => engine::VISIBLE,
            Self::Result => engine::RESULT,
            Self::Task => engine::TASK,
            Self::Exchange => engine::EXCHANGE,
            Self::Registration => engine::REGISTRATION,
        }
    }

    /// Whether only the token service asks it.
    fn is_judgement(self) -> bool {
        matches!(self, Self::Task | Self::Exchange | Self::Registration)
    }
}

/// What the one who asked makes of an answer.
struct Seen {
    word: &'static str,
    cause: Option<DenialCause>,
    reason: Option<String>,
    obligations: Option<Json>,
}

impl Eval {
    pub(super) fn run(self, output: &mut Output) -> Result<(), CliError> {
        let sources = Sources::read(&self.policy)?;
        let input = self.read()?;
        let program = if self.entry_point.is_judgement() {
            engine::compile_judgements(&sources.modules)
                .map_err(crate::policy::SourceError::from)?
        } else {
            Some(engine::compile(&sources.modules).map_err(crate::policy::SourceError::from)?)
        };
        let path = self.entry_point.path();
        let mut evaluator = match &program {
            None => None,
            Some(program) => Some(
                Evaluator::new(program, &sources.document()?)
                    .map_err(crate::policy::SourceError::from)?,
            ),
        };
        let answer = match &mut evaluator {
            None => Err(Unjudged::undefined(path)),
            Some(evaluator) => evaluator.answer(path, input),
        };
        let seen = match (self.entry_point, &answer, &evaluator) {
            (EntryPoint::Call, Ok(value), Some(evaluator)) => decided(evaluator.decision(value)),
            (entry_point, answer, _) => entry_point.seen(answer),
        };
        let raw = match &answer {
            Ok(value) if *value != Value::Undefined => serde_json::to_value(value)?,
            _ => Json::Null,
        };
        if output.is_json() {
            return output.json(&json!({
                "entry_point": path,
                "revision": sources.revision(),
                "decision": {
                    "outcome": seen.word, "cause": seen.cause, "reason": seen.reason, "obligations": seen.obligations,
                },
                "answer": raw,
            }));
        }
        let cause = seen.cause.map(|cause| json!(cause));
        let cause = cause.as_ref().and_then(Json::as_str);
        let mut line = seen.word.to_owned();
        line.extend(cause.map(|cause| format!(" ({cause})")));
        line.extend(
            seen.reason
                .map(|reason| format!(": {}", printable(&reason))),
        );
        output.line(&line)?;
        if let Some(obligations) = seen.obligations {
            output.line(&format!("obligations: {obligations}"))?;
        }
        output.line(&format!("{path} = {raw}"))
    }

    fn read(&self) -> Result<Value, CliError> {
        let name = self.input.display().to_string();
        let failed = |source| CliError::Io {
            action: format!("read the input {name}"),
            source,
        };
        let mut text = String::new();
        if name == "-" {
            std::io::stdin().take(MOST).read_to_string(&mut text)
        } else {
            std::fs::File::open(&self.input).and_then(|f| f.take(MOST).read_to_string(&mut text))
        }
        .map_err(failed)?;
        Value::from_json_str(&text)
            .map_err(|e| CliError::Usage(format!("the input {name} is not JSON: {e}")))
    }
}

impl EntryPoint {
    fn seen(self, answer: &Result<Value, Unjudged>) -> Seen {
        match (self, answer) {
            (Self::Call | Self::Visible, Ok(value)) => decided(Decision::from_value(value)),
            (Self::Result, Ok(value)) => released(Release::from_value(value)),
            (_, Ok(Value::Undefined)) => refused(&Unjudged::undefined(self.path())),
            (_, Ok(_)) => Seen {
                word: "answered",
                cause: None,
                reason: None,
                obligations: None,
            },
            // Results pass where the policy has no rule about them.
            (Self::Result, Err(unjudged)) if unjudged.cause == DenialCause::Undefined => {
                released(Release::Pass)
            }
            (_, Err(unjudged)) => refused(unjudged),
        }
    }
}

fn decided(decision: Decision) -> Seen {
    match decision {
        Decision::Allow {
            reason,
            obligations,
        } => Seen {
            word: "allow",
            cause: None,
            reason,
            obligations: serde_json::to_value(obligations)
                .ok()
                .filter(|o| o != &json!({})),
        },
        Decision::Deny { cause, reason, .. } => refused(&Unjudged { cause, reason }),
    }
}

fn released(release: Release) -> Seen {
    let (word, cause, reason) = match release {
        Release::Pass => ("pass", None, None),
        Release::Mask(_) => ("mask", None, None),
        Release::Withhold { cause, reason } => ("withhold", Some(cause), Some(reason)),
    };
    Seen {
        word,
        cause,
        reason,
        obligations: None,
    }
}

fn refused(unjudged: &Unjudged) -> Seen {
    Seen {
        word: "deny",
        cause: Some(unjudged.cause),
        reason: Some(unjudged.reason.clone()),
        obligations: None,
    }
}
