//! The answers of policies that were not written for Writ, read as decisions.
//!
//! As exact as [`Decision::from_value`]: what is not understood is a denial, and so is an allowance under a condition that
//! nobody here meets.

use regorus::Value;
use regorus::value::Object;

use crate::decision::{Decision, DenialCause, Obligations};

/// `true`, `false`, or an object with one of `allow`, `allowed`, `decision`.
pub(super) fn decision(answer: &Value) -> Decision {
    match answer {
        Value::Bool(true) => Decision::Allow {
            reason: None,
            obligations: Obligations::default(),
        },
        Value::Bool(false) => denied(None),
        Value::Object(object) => from_object(object),
        other => Decision::from_value(other),
    }
}

fn denied(reason: Option<String>) -> Decision {
    let reason = reason.unwrap_or_else(|| "the policy denies this request".to_owned());
    Decision::deny(DenialCause::Policy, reason)
}

fn from_object(object: &Object) -> Decision {
    let wrong = |problem: String| {
        let told = format!("the policy's answer is not a decision: {problem}");
        Decision::deny(DenialCause::WrongShape, told)
    };
    let (mut verdicts, mut reason, mut unmet) = (Vec::new(), None, None);
    let mut obligations = Obligations::default();
    for (key, value) in object.iter() {
        let Value::String(key) = key else {
            return wrong("a key is not a string".to_owned());
        };
        match (key.as_ref(), value) {
            ("allow" | "allowed" | "decision", Value::Bool(verdict)) => verdicts.push(*verdict),
            ("external_message" | "reason" | "body", Value::String(text)) => {
                reason = Some(text.to_string());
            }
            ("context", Value::Object(context)) => reason = reason.or_else(|| told(context)),
            // For logs elsewhere.
            ("internal_message" | "id", Value::String(_)) => {}
            ("obligations", Value::Object(map)) => match Obligations::from_object(map) {
                Ok(checked) => obligations = checked,
                Err(problem) => return wrong(problem),
            },
            // How a refusal looks over HTTP: here it is a JSON-RPC error.
            ("http_status", Value::Number(_)) => {}
            ("headers" | "response_headers_to_add" | "dynamic_metadata", Value::Object(map))
                if map.is_empty() => {}
            ("request_headers_to_remove", Value::Array(list)) if list.is_empty() => {}
            (
                other @ ("headers"
                | "response_headers_to_add"
                | "request_headers_to_remove"
                | "dynamic_metadata"),
                _,
            ) => unmet = Some(other.to_owned()),
            (other, _) => return wrong(format!("`{other}` is unknown or has the wrong type")),
        }
    }
    match (&verdicts[..], unmet) {
        ([true], Some(unmet)) => wrong(format!("nothing here can meet its `{unmet}`")),
        ([true], None) => Decision::Allow {
            reason: reason.map(crate::decision::shorten),
            obligations,
        },
        ([false], _) => denied(reason),
        ([], _) => wrong("none of `allow`, `allowed`, `decision` is there".to_owned()),
        _ => wrong("there is more than one of `allow`, `allowed`, `decision`".to_owned()),
    }
}

/// The reason for the user in an AuthZEN `context` (section 5.5.2), which is a text or one by language or code.
fn told(context: &Object) -> Option<String> {
    let text = |value: &Value| value.as_string().ok().map(ToString::to_string);
    ["reason_user", "reason"]
        .iter()
        .find_map(|name| match context.get(&Value::from(*name))? {
            Value::Object(several) => several.iter().find_map(|(_, value)| text(value)),
            one => text(one),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Option<String>, (DenialCause, String)> {
        match decision(&Value::from_json_str(json).unwrap()) {
            Decision::Allow { reason, .. } => Ok(reason),
            Decision::Deny { cause, reason, .. } => Err((cause, reason)),
        }
    }

    #[test]
    fn each_shape_is_read_as_it_was_meant() {
        assert_eq!(read("true"), Ok(None));
        for json in [
            r#"{"allowed":true}"#,
            r#"{"decision":true,"context":{}}"#,
            r#"{"allowed":true,"http_status":200,"headers":{}}"#,
        ] {
            assert_eq!(read(json), Ok(None), "{json}");
        }
        for json in [
            r#"{"allowed":false,"external_message":"no"}"#,
            r#"{"allowed":false,"external_message":"no","internal_message":"yes"}"#,
            r#"{"allowed":false,"body":"no","http_status":403,"headers":{"x":"y"}}"#,
            r#"{"decision":false,"context":{"reason_user":{"en":"no"}}}"#,
            r#"{"decision":false,"context":{"reason":"no"}}"#,
            r#"{"allow":false,"reason":"no"}"#,
        ] {
            assert_eq!(
                read(json),
                Err((DenialCause::Policy, "no".to_owned())),
                "{json}"
            );
        }
    }

    #[test]
    fn what_is_not_exactly_an_answer_is_a_denial() {
        for json in [
            "1",
            "[]",
            "{}",
            r#""true""#,
            r#"{"allowed":"true"}"#,
            r#"{"allowed":true,"allow":false}"#,
            r#"{"allowed":true,"headers":{"x":"y"}}"#,
            r#"{"allowed":true,"request_headers_to_remove":["x"]}"#,
            r#"{"allowed":true,"obligations":{"approval":{}}}"#,
            r#"{"allowed":true,"ttl":5}"#,
        ] {
            let answer = read(json);
            assert!(
                matches!(answer, Err((DenialCause::WrongShape, _))),
                "{json}: {answer:?}"
            );
        }
        let nothing = decision(&Value::Undefined);
        assert!(matches!(
            nothing,
            Decision::Deny {
                cause: DenialCause::Undefined,
                ..
            }
        ));
    }
}
