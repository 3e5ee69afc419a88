//! What `data.writ.registration` answers about a client or server that registers itself.

use serde::Deserialize;

use crate::input::Labels;

/// More than any policy has a use for.
const MAX_LABELS: usize = 32;

/// What is to become of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is good at once.
    Approve,
    /// A person decides.
    Hold,
    /// It is refused.
    Reject,
}

/// The answer. Anything else, or none, is a rejection.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrationDecision {
    /// What is to become of it.
    pub decision: Verdict,
    /// Why: shown to whoever registers and kept in the audit trail.
    #[serde(default)]
    pub reason: String,
    /// Put on the registration, over those of its initial access token.
    #[serde(default)]
    pub labels: Labels,
}

impl RegistrationDecision {
    /// A rejection.
    #[must_use]
    pub fn reject(reason: impl Into<String>) -> Self {
        Self {
            decision: Verdict::Reject,
            reason: reason.into(),
            labels: Labels::new(),
        }
    }

    /// The decision, unless its labels are more than a registration can have.
    #[must_use]
    pub fn bounded(self) -> Self {
        let fits = |text: &String, most: usize| text.len() <= most;
        let fit = self.labels.len() <= MAX_LABELS
            && self
                .labels
                .iter()
                .all(|(name, value)| fits(name, 64) && fits(value, 256));
        if fit {
            self
        } else {
            Self::reject(
                "the policy gives more labels, or longer ones, than a registration can have",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Data, Evaluator, Module, REGISTRATION, compile_judgements};

    fn ask(rule: &str) -> Option<RegistrationDecision> {
        let module = Module {
            path: "policy.rego".to_owned(),
            text: format!("package writ\n{rule}"),
        };
        let program = compile_judgements(&[module]).unwrap()?;
        let data = Data::from_json("{}").unwrap();
        let mut evaluator = Evaluator::new(&program, &data).unwrap();
        evaluator
            .judge::<RegistrationDecision>(REGISTRATION, &serde_json::json!({}))
            .ok()
            .map(RegistrationDecision::bounded)
    }

    #[test]
    fn a_policy_answers_in_one_of_three_words() {
        for (word, verdict) in [
            ("approve", Verdict::Approve),
            ("hold", Verdict::Hold),
            ("reject", Verdict::Reject),
        ] {
            let answer = ask(&format!("registration := {{\"decision\": \"{word}\"}}")).unwrap();
            assert_eq!(answer.decision, verdict);
        }
        let full = r#"registration := {"decision": "hold", "reason": "why", "labels": {"a": "b"}}"#;
        let answer = ask(full).unwrap();
        assert_eq!((answer.reason.as_str(), answer.labels.len()), ("why", 1));
    }

    #[test]
    fn anything_else_is_no_answer() {
        for rule in [
            "call := {\"allow\": true}",
            "registration := true",
            r#"registration := {"decision": "Approve"}"#,
            r#"registration := {"reason": "why"}"#,
            r#"registration := {"decision": "approve", "labels": {"a": 1}}"#,
            r#"registration := {"decision": "approve", "allow": true}"#,
            r#"registration := {"decision": "approve"} if input.client"#,
        ] {
            assert_eq!(ask(rule), None, "{rule}");
        }
    }

    #[test]
    fn more_labels_than_fit_are_a_rejection() {
        let labels = (0..40).map(|n| (n.to_string(), String::new())).collect();
        let answer = RegistrationDecision {
            decision: Verdict::Approve,
            reason: String::new(),
            labels,
        };
        assert_eq!(answer.bounded().decision, Verdict::Reject);
    }
}
