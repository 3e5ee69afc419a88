//! Evaluators, made once and lent out: one decision at a time each.

use std::sync::{Mutex, PoisonError};

use serde::{Serialize, de::DeserializeOwned};
use writ_policy::{
    Value,
    decision::{Decision, DenialCause},
    engine::{Data, EngineError, Evaluator, Program, Unjudged},
};

#[derive(Debug)]
pub(super) struct Pool {
    program: Program,
    data: Data,
    idle: Mutex<Vec<Evaluator>>,
}

impl Pool {
    /// A pool with one evaluator in it, so that what cannot be loaded is found now.
    pub(super) fn new(program: Program, data: Data) -> Result<Self, EngineError> {
        let first = Evaluator::new(&program, &data)?;
        Ok(Self {
            program,
            data,
            idle: Mutex::new(vec![first]),
        })
    }

    pub(super) fn decide(&self, input: Value) -> Decision {
        self.with(|evaluator| evaluator.call_with(input))
            .unwrap_or_else(|unjudged| Decision::deny(unjudged.cause, unjudged.reason))
    }

    pub(super) fn judge<T: DeserializeOwned>(
        &self,
        entry_point: &str,
        input: &impl Serialize,
    ) -> Result<T, Unjudged> {
        self.with(|evaluator| evaluator.judge(entry_point, input))
            .flatten()
    }

    fn with<T>(&self, ask: impl FnOnce(&mut Evaluator) -> T) -> Result<T, Unjudged> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // A statement of its own: the lock is not held while an evaluator is made or runs.
        let lent = idle().pop();
        let mut evaluator = lent
            .map_or_else(|| Evaluator::new(&self.program, &self.data), Ok)
            .map_err(|e| Unjudged {
                cause: DenialCause::Error,
                reason: format!("the policy cannot be loaded: {e}"),
            })?;
        let answer = ask(&mut evaluator);
        idle().push(evaluator);
        Ok(answer)
    }
}
