//! A policy that is asked beside the one in force, about the same calls: where it would decide otherwise is counted, and said
//! in the record of the decision. It decides nothing.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use serde_json::{Value as Json, json};
use writ_policy::{Value, decision::Decision, kept::KeptInput};

use super::{Policy, force};
use crate::audit::clip;
use crate::store::{
    Store, StoreError,
    shadow::{Scope, Shadowed},
};

/// The longest reason that is kept, in bytes.
const LONGEST: usize = 256;

/// The policy in the shadow.
#[derive(Debug)]
pub struct Shadow {
    policy: Policy,
    shadowed: Shadowed,
}

impl Shadow {
    /// Asks about a call that was allowed, or denied. Answers with what to say of it in the record, where it would come out
    /// otherwise.
    #[must_use]
    pub fn ask(&self, server: &str, agent: &str, input: Value, was_allowed: bool) -> Option<Json> {
        if !self.scope().is_about(server, agent) {
            return None;
        }
        let decision = self.policy.ask(input);
        let (outcome, word, reason) = match &decision {
            Decision::Allow { .. } if was_allowed => ("same", "allow", None),
            Decision::Deny { .. } if !was_allowed => ("same", "deny", None),
            Decision::Allow { reason, .. } => ("deny_to_allow", "allow", reason.as_deref()),
            Decision::Deny { reason, .. } => ("allow_to_deny", "deny", Some(reason.as_str())),
        };
        count(outcome);
        (outcome != "same").then(|| {
            json!({
                "revision": self.policy.revision(),
                "decision": word,
                "reason": reason.map(|reason| clip(reason, LONGEST)),
            })
        })
    }

    /// The same about a call that a gateway denied by itself, as far as it says what was asked.
    #[must_use]
    pub fn ask_reported(
        &self,
        server: &str,
        agent: &str,
        input: Option<&KeptInput>,
    ) -> Option<Json> {
        if !self.scope().is_about(server, agent) {
            return None;
        }
        let whole = input.filter(|input| input.lacks.is_none());
        match whole.and_then(KeptInput::value) {
            Some(input) => self.ask(server, agent, input, false),
            None => {
                count("unasked");
                None
            }
        }
    }

    fn scope(&self) -> &Scope {
        &self.shadowed.scope
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("writ_policy_shadow_total", "outcome" => outcome).increment(1);
}

/// What is in the shadow in this process.
#[derive(Debug, Default)]
pub struct InShadow {
    current: ArcSwapOption<Shadow>,
    /// What was last loaded, or tried.
    tried: ArcSwapOption<Shadowed>,
}

impl InShadow {
    /// The policy in the shadow.
    #[must_use]
    pub fn get(&self) -> Option<Arc<Shadow>> {
        self.current.load_full()
    }

    /// Takes what is in the shadow now. One that cannot be used is as none, and said so in log and metrics. Not for two
    /// callers at a time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn follow(&self, store: &Store) -> Result<(), StoreError> {
        let now = store.shadow().await?;
        if self.tried.load().as_deref() == now.as_ref() {
            return Ok(());
        }
        let shadow = match &now {
            None => None,
            Some(shadowed) => match force::load(store, shadowed.number).await {
                Ok(policy) => Some(Arc::new(Shadow {
                    policy,
                    shadowed: shadowed.clone(),
                })),
                Err(force::LoadError::Store(
                    error @ (StoreError::Busy | StoreError::Database(_)),
                )) => {
                    return Err(error);
                }
                Err(error) => {
                    tracing::error!(%error, "no policy is in the shadow");
                    force::refused("shadow");
                    None
                }
            },
        };
        self.current.store(shadow);
        self.tried.store(now.map(Arc::new));
        Ok(())
    }
}
