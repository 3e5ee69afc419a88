//! What a policy answers: allow with obligations, or deny with a reason.

use regorus::Value;
use regorus::value::Object;
use serde::{Deserialize, Serialize};

/// What an allowed call must be carried out under.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Obligations {
    /// Life of the minted token in seconds; the service caps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<u32>,
    /// The minted token's scopes; only ever fewer than the caller's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
}

/// Why a call was denied: which of the ways to say no it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DenialCause {
    /// The policy said no.
    Policy,
    /// The policy said nothing about this call.
    Undefined,
    /// The policy answered with something that is not a decision.
    WrongShape,
    /// The policy failed while it ran.
    Error,
    /// The policy ran past its instruction limit.
    Limit,
    /// The session is not the caller's: no policy was asked.
    Session,
    /// The answer is to no question that the caller was asked: no policy was asked.
    Question,
    /// Nobody knows the method: no policy was asked.
    Method,
    /// The server does not define the tool as it was approved: no policy was asked.
    Pin,
    /// Headers say one thing and the body another: no policy was asked.
    Disagreement,
}

impl DenialCause {
    /// Whether the policy failed, rather than said no: somebody should look at it.
    #[must_use]
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Error | Self::Limit | Self::WrongShape)
    }
}

/// A decision, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Go ahead, under these obligations.
    Allow {
        /// What the policy gave as its reason, for the audit trail.
        reason: Option<String>,
        /// What to carry the call out under.
        obligations: Obligations,
    },
    /// Refused.
    Deny {
        /// Which way of saying no it was.
        cause: DenialCause,
        /// Shown to the caller.
        reason: String,
        /// What the request needs, where a token with these scopes would do: the caller may ask for one (RFC 6750 section 3.1
        /// `insufficient_scope`). Empty where more scope does not help.
        scopes: Vec<String>,
    },
}

/// The most scopes that a denial may name; the longest that one may be, in bytes.
const MAX_SCOPES: usize = 32;
const MAX_SCOPE: usize = 128;

/// The longest reason that is kept, in bytes.
const MAX_REASON: usize = 512;

impl Decision {
    /// A denial with a reason of at most 512 bytes.
    #[must_use]
    pub fn deny(cause: DenialCause, reason: impl Into<String>) -> Self {
        Self::Deny {
            cause,
            reason: shorten(reason.into()),
            scopes: Vec::new(),
        }
    }

    /// Checks what a policy answered. Anything that is not exactly a decision is a denial, an obligation
    /// that nobody here knows how to meet included.
    #[must_use]
    pub fn from_value(value: &Value) -> Self {
        match value {
            Value::Undefined => Self::deny(
                DenialCause::Undefined,
                "no rule of the policy decides this request",
            ),
            Value::Object(decision) => Self::from_object(decision),
            _ => Self::wrong_shape("the answer is not an object"),
        }
    }

    fn from_object(decision: &Object) -> Self {
        let (mut allow, mut reason, mut obligations) = (None, None, Obligations::default());
        let mut needed = Vec::new();
        for (key, value) in decision.iter() {
            let Value::String(key) = key else {
                return Self::wrong_shape("a key is not a string");
            };
            match (key.as_ref(), value) {
                ("allow", Value::Bool(answer)) => allow = Some(*answer),
                ("reason", Value::String(text)) => reason = Some(shorten(text.to_string())),
                ("obligations", Value::Object(map)) => match Obligations::from_object(map) {
                    Ok(checked) => obligations = checked,
                    Err(problem) => return Self::wrong_shape(&problem),
                },
                ("scopes", Value::Array(scopes)) => match tokens(scopes.iter()) {
                    Ok(checked) => needed = checked,
                    Err(problem) => return Self::wrong_shape(&problem),
                },
                ("scopes", Value::Set(scopes)) => match tokens(scopes.iter()) {
                    Ok(checked) => needed = checked,
                    Err(problem) => return Self::wrong_shape(&problem),
                },
                (other, _) => {
                    return Self::wrong_shape(&format!(
                        "`{other}` is unknown or has the wrong type"
                    ));
                }
            }
        }
        match allow {
            Some(true) if !needed.is_empty() => Self::wrong_shape(
                "`scopes` says what a denied request needs; those of an allowed one go into `obligations`",
            ),
            Some(true) => Self::Allow {
                reason,
                obligations,
            },
            Some(false) => Self::Deny {
                cause: DenialCause::Policy,
                reason: reason.unwrap_or_else(|| "the policy denies this request".to_owned()),
                scopes: needed,
            },
            None => Self::wrong_shape("`allow` is missing"),
        }
    }

    fn wrong_shape(problem: &str) -> Self {
        Self::deny(
            DenialCause::WrongShape,
            format!("the policy's answer is not a decision: {problem}"),
        )
    }
}

impl Obligations {
    pub(crate) fn from_object(map: &Object) -> Result<Self, String> {
        let mut obligations = Self::default();
        for (key, value) in map.iter() {
            let Value::String(key) = key else {
                return Err("a key of `obligations` is not a string".to_owned());
            };
            match (key.as_ref(), value) {
                ("ttl_s", Value::Number(seconds)) => {
                    let seconds = seconds
                        .as_u64()
                        .and_then(|s| u32::try_from(s).ok())
                        .filter(|s| *s > 0);
                    obligations.ttl_s =
                        Some(seconds.ok_or("`ttl_s` is not a positive whole number")?);
                }
                ("scopes", Value::Array(scopes)) => {
                    obligations.scopes = Some(strings(scopes.iter())?);
                }
                ("scopes", Value::Set(scopes)) => {
                    obligations.scopes = Some(strings(scopes.iter())?);
                }
                // Every call's token is single-use; a policy may say so.
                ("single_use", Value::Bool(true)) => {}
                (other, _) => {
                    return Err(format!(
                        "obligation `{other}` is unknown or has the wrong type"
                    ));
                }
            }
        }
        Ok(obligations)
    }
}

fn strings<'a>(values: impl Iterator<Item = &'a Value>) -> Result<Vec<String>, String> {
    values
        .map(|value| match value {
            Value::String(text) => Ok(text.to_string()),
            _ => Err("`scopes` holds something that is not a string".to_owned()),
        })
        .collect()
}

/// The scopes that a denial names (RFC 6749 section 3.3): what goes into a challenge as it is.
fn tokens<'a>(values: impl Iterator<Item = &'a Value>) -> Result<Vec<String>, String> {
    let scopes = strings(values)?;
    let is_token = |scope: &String| {
        (1..=MAX_SCOPE).contains(&scope.len())
            && scope
                .bytes()
                .all(|b| matches!(b, b'!' | b'#'..=b'[' | b']'..=b'~'))
    };
    if scopes.len() > MAX_SCOPES || !scopes.iter().all(is_token) {
        return Err(format!(
            "`scopes` must be at most {MAX_SCOPES} scopes of at most {MAX_SCOPE} characters (RFC 6749 section 3.3)"
        ));
    }
    Ok(scopes)
}

/// The reason within its bounds.
pub(crate) fn shorten(mut reason: String) -> String {
    if reason.len() > MAX_REASON {
        let end = (0..=MAX_REASON)
            .rev()
            .find(|end| reason.is_char_boundary(*end))
            .unwrap_or(0);
        reason.truncate(end);
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(json: &str) -> Decision {
        Decision::from_value(&Value::from_json_str(json).unwrap())
    }

    fn cause(json: &str) -> Option<DenialCause> {
        match decide(json) {
            Decision::Deny { cause, .. } => Some(cause),
            Decision::Allow { .. } => None,
        }
    }

    #[test]
    fn an_allow_carries_its_obligations() {
        let decision = decide(
            r#"{"allow":true,"reason":"ok","obligations":{"ttl_s":5,"scopes":["read"],"single_use":true}}"#,
        );
        assert_eq!(
            decision,
            Decision::Allow {
                reason: Some("ok".to_owned()),
                obligations: Obligations {
                    ttl_s: Some(5),
                    scopes: Some(vec!["read".to_owned()])
                },
            }
        );
    }

    #[test]
    fn what_is_not_exactly_a_decision_is_a_denial() {
        for json in [
            "true",
            "[]",
            "{}",
            r#"{"allow":"true"}"#,
            r#"{"allow":1}"#,
            r#"{"allow":true,"obligation":{}}"#,
            r#"{"allow":true,"reason":7}"#,
            r#"{"allow":true,"obligations":[]}"#,
            r#"{"allow":true,"obligations":{"approval":{"by":"owner"}}}"#,
            r#"{"allow":true,"obligations":{"ttl_s":0}}"#,
            r#"{"allow":true,"obligations":{"ttl_s":1.5}}"#,
            r#"{"allow":true,"obligations":{"single_use":false}}"#,
            r#"{"allow":true,"obligations":{"scopes":[1]}}"#,
            r#"{"allow":true,"scopes":["ledger:pii"]}"#,
            r#"{"allow":false,"scopes":"ledger:pii"}"#,
            r#"{"allow":false,"scopes":[7]}"#,
            r#"{"allow":false,"scopes":[""]}"#,
            r#"{"allow":false,"scopes":["two words"]}"#,
            r#"{"allow":false,"scopes":["a\"b"]}"#,
            r#"{"allow":false,"scopes":["a\r\nset-cookie:x"]}"#,
            r#"{"allow":false,"scopes":["ü"]}"#,
        ] {
            assert_eq!(cause(json), Some(DenialCause::WrongShape), "{json}");
        }
        assert_eq!(
            Decision::from_value(&Value::Undefined),
            Decision::deny(
                DenialCause::Undefined,
                "no rule of the policy decides this request"
            )
        );
    }

    #[test]
    fn a_denial_says_what_the_request_needs_within_bounds() {
        let decision = decide(r#"{"allow":false,"reason":"no","scopes":["ledger:pii","b"]}"#);
        assert_eq!(
            decision,
            Decision::Deny {
                cause: DenialCause::Policy,
                reason: "no".to_owned(),
                scopes: vec!["ledger:pii".to_owned(), "b".to_owned()],
            }
        );
        let of = |scopes: Vec<String>| {
            let scopes = serde_json::to_string(&scopes).unwrap();
            cause(&format!(r#"{{"allow":false,"scopes":{scopes}}}"#))
        };
        assert_eq!(of(vec!["s".repeat(128); 32]), Some(DenialCause::Policy));
        assert_eq!(of(vec!["s".repeat(129)]), Some(DenialCause::WrongShape));
        assert_eq!(of(vec!["s".to_owned(); 33]), Some(DenialCause::WrongShape));
    }

    #[test]
    fn a_denial_keeps_its_reason_within_bounds() {
        let long = "ü".repeat(400);
        let Decision::Deny { cause, reason, .. } =
            decide(&format!(r#"{{"allow":false,"reason":"{long}"}}"#))
        else {
            panic!("not a denial");
        };
        assert_eq!(cause, DenialCause::Policy);
        assert_eq!(reason, "ü".repeat(256));
    }
}
