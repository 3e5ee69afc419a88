//! Values without what is named.

use std::sync::Arc;

use writ_policy::Value;

/// What stands for what was taken out.
const REDACTED: &str = "[redacted]";

/// What is taken out: members of a name, wherever they are, and what JSON Pointers (RFC 6901) lead to, from the arguments on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redaction {
    names: Vec<String>,
    pointers: Vec<Vec<String>>,
}

/// A text that names nothing.
#[derive(Debug, thiserror::Error)]
#[error(
    "must be the name of a member, such as \"iban\", or a JSON Pointer, such as \"/card/number\""
)]
pub struct NotAName;

impl Redaction {
    /// Takes out one thing more.
    ///
    /// # Errors
    /// When it is neither a name nor a pointer.
    pub fn add(&mut self, text: &str) -> Result<(), NotAName> {
        let Some(pointer) = text.strip_prefix('/') else {
            return match text {
                "" => Err(NotAName),
                name => {
                    self.names.push(name.to_owned());
                    Ok(())
                }
            };
        };
        let part = |part: &str| {
            let is_escaped = part
                .split('~')
                .skip(1)
                .all(|rest| rest.starts_with(['0', '1']));
            is_escaped.then(|| part.replace("~1", "/").replace("~0", "~"))
        };
        let parts: Option<Vec<String>> = pointer.split('/').map(part).collect();
        self.pointers.push(parts.ok_or(NotAName)?);
        Ok(())
    }

    /// Whether nothing is taken out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.pointers.is_empty()
    }

    /// What a call carried, without that.
    #[must_use]
    pub fn of(&self, carried: &Value) -> Value {
        let pointers: Vec<&[String]> = self.pointers.iter().map(Vec::as_slice).collect();
        let Value::Object(members) = carried else {
            return Value::from(REDACTED);
        };
        let mut members = members.as_ref().clone();
        for (_, value) in members.iter_mut() {
            *value = self.within(value, &pointers);
        }
        Value::Object(Arc::new(members))
    }

    fn within(&self, value: &Value, pointers: &[&[String]]) -> Value {
        if pointers.iter().any(|rest| rest.is_empty()) {
            return Value::from(REDACTED);
        }
        let below = |at: &str| -> Vec<&[String]> {
            let parts = pointers.iter().filter_map(|rest| rest.split_first());
            let parts = parts.filter(|(first, _)| *first == at);
            parts.map(|(_, rest)| rest).collect()
        };
        match value {
            Value::Object(members) => {
                let mut members = members.as_ref().clone();
                for (name, value) in members.iter_mut() {
                    *value = match name {
                        Value::String(name) if self.names.iter().any(|n| n.as_str() == &**name) => {
                            Value::from(REDACTED)
                        }
                        Value::String(name) => self.within(value, &below(name)),
                        _ => self.within(value, &[]),
                    };
                }
                Value::Object(Arc::new(members))
            }
            Value::Array(entries) => {
                let entries = entries.iter().enumerate();
                let entries =
                    entries.map(|(at, value)| self.within(value, &below(&at.to_string())));
                Value::from(entries.collect::<Vec<_>>())
            }
            other => other.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_is_gone_wherever_it_is_and_the_rest_stays() {
        let mut redaction = Redaction::default();
        for text in ["iban", "/card/number", "/rows/1", "/a~1b/~0"] {
            redaction.add(text).unwrap();
        }
        let carried = r#"{"arguments":{"to":{"iban":"DE02","name":"Bob"},"card":{"number":[4,2],"year":2031},"rows":["x","y"],
                          "number":1,"a/b":{"~":7}},"answer":{"iban":1}}"#;
        let carried = Value::from_json_str(carried).unwrap();
        assert_eq!(
            redaction.of(&carried).to_string(),
            r#"{"answer":{"iban":"[redacted]"},"arguments":{"a/b":{"~":"[redacted]"},"card":{"number":"[redacted]","year":2031},"number":1,"rows":["x","[redacted]"],"to":{"iban":"[redacted]","name":"Bob"}}}"#
        );
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for wrong in ["", "/a~2", "/~"] {
            assert!(Redaction::default().add(wrong).is_err(), "{wrong}");
        }
        let mut all = Redaction::default();
        assert!(all.is_empty());
        all.add("/").unwrap();
        assert!(!all.is_empty());
    }
}
