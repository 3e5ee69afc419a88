//! How a policy is asked about calls, for whoever asks another engine than the compiled program's.

use regorus::Value;

use super::foreign::Foreign;
use super::{CALL, CompileError, Module, Sources};
use crate::adapter::Adapter;
use crate::decision::Decision;

/// How a policy is asked about calls, and its modules as they are asked.
pub(crate) fn asking(modules: &[Module]) -> Result<(Asking, Vec<Module>), CompileError> {
    match Sources::read(modules)?.foreign(modules)? {
        None => Ok((Asking(None), modules.to_vec())),
        Some((foreign, modules)) => Ok((Asking(Some(foreign)), modules)),
    }
}

/// How a policy is asked about calls.
#[derive(Clone, Debug)]
pub(crate) struct Asking(Option<Foreign>);

impl Asking {
    /// Whether the policy was not written for Writ's input.
    pub(crate) fn is_foreign(&self) -> bool {
        self.0.is_some()
    }

    /// The input in the shape that the policy knows.
    pub(crate) fn input(&self, input: &Value) -> Value {
        match &self.0 {
            None => input.clone(),
            Some(foreign) => foreign.adapter.input(input),
        }
    }

    /// The rules that are asked.
    pub(crate) fn rules(&self) -> Vec<String> {
        match &self.0 {
            None => vec![CALL.to_owned()],
            Some(foreign) => foreign.asked(),
        }
    }

    /// What the policy answers, from what `run` says that its rules do.
    pub(crate) fn answer<E>(
        &self,
        mut run: impl FnMut(&str) -> Result<Value, E>,
    ) -> Result<Value, E> {
        match &self.0 {
            None => run(CALL),
            Some(foreign) => foreign.answer(run),
        }
    }

    /// The decision that an answer stands for.
    pub(crate) fn decision(&self, answer: &Value) -> Decision {
        match &self.0 {
            None => Decision::from_value(answer),
            Some(_) => Adapter::decision(answer),
        }
    }
}
