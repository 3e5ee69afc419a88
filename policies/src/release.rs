//! What a policy answers about a result: pass it, mask parts of it, or withhold it.

use regorus::Value;
use regorus::value::Object;

use crate::decision::{Decision, DenialCause};

/// The most things one answer may mask.
pub const MAX_MASKS: usize = 256;

/// The longest text to look for and the longest text in its place, in bytes.
pub const MAX_TEXT: usize = 4096;

/// What is to become of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Release {
    /// It passes as it is.
    Pass,
    /// It passes with these parts masked.
    Mask(Vec<Mask>),
    /// The caller gets an error in its place.
    Withhold {
        /// Which way of saying no it was.
        cause: DenialCause,
        /// Shown to the caller.
        reason: String,
    },
}

/// What is masked in a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mask {
    /// `"card_numbers"`: payment card numbers in any string.
    CardNumbers,
    /// `"secrets"`: credentials of a known form in any string.
    Secrets,
    /// `{"text": …, "with": …}`: this text wherever a string holds it.
    Text {
        /// What to look for; never empty.
        text: String,
        /// What to put in its place.
        with: String,
    },
    /// `{"path": […], "with": …}`: the value at this place.
    Path {
        /// Members and positions, from the result down; never empty.
        path: Vec<Step>,
        /// What to put in its place.
        with: String,
    },
}

/// One step down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into a member of an object.
    Member(String),
    /// Into an array.
    Position(usize),
}

/// What is put in place of a text or a value where the policy names nothing else.
const HIDDEN: &str = "[hidden]";

impl Release {
    /// Checks what a policy answered. No answer lets the result pass: the rule is there for what it names. Anything that is
    /// not exactly an answer withholds it.
    #[must_use]
    pub fn from_value(value: &Value) -> Self {
        match value {
            Value::Undefined => Self::Pass,
            Value::Object(answer) => Self::from_object(answer),
            _ => Self::wrong_shape("it is not an object"),
        }
    }

    /// Withholds the result, with a reason of at most 512 bytes.
    #[must_use]
    pub fn withhold(cause: DenialCause, reason: impl Into<String>) -> Self {
        match Decision::deny(cause, reason) {
            Decision::Deny { cause, reason, .. } => Self::Withhold { cause, reason },
            Decision::Allow { .. } => Self::wrong_shape(""),
        }
    }

    fn from_object(answer: &Object) -> Self {
        let (mut allow, mut reason, mut masks) = (None, None, Vec::new());
        for (key, value) in answer.iter() {
            let Value::String(key) = key else {
                return Self::wrong_shape("a key is not a string");
            };
            match (key.as_ref(), value) {
                ("allow", Value::Bool(answer)) => allow = Some(*answer),
                ("reason", Value::String(text)) => reason = Some(text.to_string()),
                ("mask", Value::Array(list)) => match Mask::all(list.iter()) {
                    Ok(all) => masks = all,
                    Err(problem) => return Self::wrong_shape(&problem),
                },
                ("mask", Value::Set(set)) => match Mask::all(set.iter()) {
                    Ok(all) => masks = all,
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
            Some(true) if masks.is_empty() => Self::Pass,
            Some(true) => Self::Mask(masks),
            Some(false) => Self::withhold(
                DenialCause::Policy,
                reason.unwrap_or_else(|| "the policy withholds this result".to_owned()),
            ),
            None => Self::wrong_shape("`allow` is missing"),
        }
    }

    fn wrong_shape(problem: &str) -> Self {
        Self::Withhold {
            cause: DenialCause::WrongShape,
            reason: format!("the policy's answer about the result is none: {problem}"),
        }
    }
}

impl Mask {
    fn all<'a>(values: impl ExactSizeIterator<Item = &'a Value>) -> Result<Vec<Self>, String> {
        if values.len() > MAX_MASKS {
            return Err(format!("`mask` has more than {MAX_MASKS} entries"));
        }
        values.map(Self::from_value).collect()
    }

    fn from_value(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(name) => match name.as_ref() {
                "card_numbers" => Ok(Self::CardNumbers),
                "secrets" => Ok(Self::Secrets),
                other => Err(format!("nothing is known to mask as `{other}`")),
            },
            Value::Object(mask) => Self::from_object(mask),
            _ => Err("an entry of `mask` is neither a name nor an object".to_owned()),
        }
    }

    fn from_object(mask: &Object) -> Result<Self, String> {
        let (mut text, mut path, mut with) = (None, None, HIDDEN.to_owned());
        for (key, value) in mask.iter() {
            match (key.as_string().map(AsRef::as_ref), value) {
                (Ok("text"), Value::String(value))
                    if !value.is_empty() && value.len() <= MAX_TEXT =>
                {
                    text = Some(value.to_string());
                }
                (Ok("with"), Value::String(value)) if value.len() <= MAX_TEXT => {
                    with = value.to_string();
                }
                (Ok("path"), Value::Array(steps)) if !steps.is_empty() => {
                    path = Some(
                        steps
                            .iter()
                            .map(Step::from_value)
                            .collect::<Result<_, _>>()?,
                    );
                }
                _ => {
                    return Err(format!(
                        "an entry of `mask` has a `text`, of 1 to {MAX_TEXT} bytes, or a `path`, and a `with`"
                    ));
                }
            }
        }
        match (text, path) {
            (Some(text), None) => Ok(Self::Text { text, with }),
            (None, Some(path)) => Ok(Self::Path { path, with }),
            _ => Err("an entry of `mask` has either a `text` or a `path`".to_owned()),
        }
    }
}

impl Step {
    fn from_value(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(member) => Ok(Self::Member(member.to_string())),
            Value::Number(number) => number
                .as_u64()
                .and_then(|position| usize::try_from(position).ok())
                .map(Self::Position)
                .ok_or_else(|| "a position in a `path` is no whole number".to_owned()),
            _ => Err("a step of a `path` is neither a member's name nor a position".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(json: &str) -> Release {
        Release::from_value(&Value::from_json_str(json).unwrap())
    }

    #[test]
    fn no_answer_and_a_plain_yes_let_it_pass() {
        assert_eq!(Release::from_value(&Value::Undefined), Release::Pass);
        assert_eq!(release(r#"{"allow":true}"#), Release::Pass);
        assert_eq!(release(r#"{"allow":true,"mask":[]}"#), Release::Pass);
    }

    #[test]
    fn a_mask_names_what_it_hides() {
        assert_eq!(
            release(
                r#"{"allow":true,"mask":["card_numbers","secrets",{"text":"x","with":"y"},{"path":["a",0]}]}"#
            ),
            Release::Mask(vec![
                Mask::CardNumbers,
                Mask::Secrets,
                Mask::Text {
                    text: "x".to_owned(),
                    with: "y".to_owned()
                },
                Mask::Path {
                    path: vec![Step::Member("a".to_owned()), Step::Position(0)],
                    with: HIDDEN.to_owned()
                },
            ])
        );
    }

    #[test]
    fn a_no_has_its_reason() {
        assert_eq!(
            release(r#"{"allow":false,"reason":"too much","mask":["secrets"]}"#),
            Release::Withhold {
                cause: DenialCause::Policy,
                reason: "too much".to_owned()
            }
        );
    }

    #[test]
    fn what_is_not_exactly_an_answer_withholds() {
        let many = format!(
            r#"{{"allow":true,"mask":[{}]}}"#,
            vec![r#""secrets""#; MAX_MASKS + 1].join(",")
        );
        for json in [
            "true",
            "{}",
            r#"{"allow":1}"#,
            r#"{"allow":true,"masks":[]}"#,
            r#"{"allow":true,"mask":"secrets"}"#,
            r#"{"allow":true,"mask":["everything"]}"#,
            r#"{"allow":true,"mask":[{}]}"#,
            r#"{"allow":true,"mask":[{"text":""}]}"#,
            r#"{"allow":true,"mask":[{"text":"a","path":["b"]}]}"#,
            r#"{"allow":true,"mask":[{"path":[]}]}"#,
            r#"{"allow":true,"mask":[{"path":[true]}]}"#,
            r#"{"allow":true,"mask":[{"path":[-1]}]}"#,
            r#"{"allow":true,"mask":[{"text":"a","with":1}]}"#,
            many.as_str(),
        ] {
            let answer = release(json);
            assert!(
                matches!(
                    answer,
                    Release::Withhold {
                        cause: DenialCause::WrongShape,
                        ..
                    }
                ),
                "{json}: {answer:?}"
            );
        }
    }
}
