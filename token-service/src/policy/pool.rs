//! Evaluators, made once and lent out: one decision at a time each.

use std::sync::{Mutex, PoisonError};

use writ_policy::{
    decision::{Decision, DenialCause},
    engine::{Data, EngineError, Evaluator, Program},
    input::Input,
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

    pub(super) fn decide(&self, input: &Input<'_>) -> Decision {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // A statement of its own: the lock is not held while an evaluator is made or runs.
        let lent = idle().pop();
        let mut evaluator = match lent.map_or_else(|| Evaluator::new(&self.program, &self.data), Ok)
        {
            Ok(evaluator) => evaluator,
            Err(e) => {
                return Decision::deny(
                    DenialCause::Error,
                    format!("the policy cannot be loaded: {e}"),
                );
            }
        };
        let decision = evaluator.call(input);
        idle().push(evaluator);
        decision
    }
}
