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
