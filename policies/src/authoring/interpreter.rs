//! The engine's interpreter, which runs rules as they are written and can tell which it went through.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Extension, Value};

use super::located;
use crate::bounds;
use crate::builtins::{self, EXTENSIONS, Evaluation, Failure};
use crate::engine::{self, Asking, CompileError, Data, Module};

/// The longest one evaluation may take, as one test in OPA.
const LONGEST: Duration = Duration::from_secs(5);

/// The built-in that says the time.
const NOW: &str = "time.now_ns";

/// The time of what is asked about (RFC 3339), for as long as that is asked about.
#[derive(Clone, Debug, Default)]
pub(super) struct Now(Arc<Mutex<Option<String>>>);

impl Now {
    fn set(&self, time: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = time;
    }

    fn get(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// A policy that is asked about calls, rules as they are written, and that knows what it went through.
pub(super) struct Interpreter {
    engine: Engine,
    asking: Asking,
    now: Now,
}

impl Interpreter {
    /// The policy of these modules, which is asked as `asking` says.
    pub(super) fn new(
        asking: Asking,
        modules: &[Module],
        data: &Data,
    ) -> Result<Self, CompileError> {
        let now = Now::default();
        let mut engine = engine(modules, data, Some(&now))?;
        engine.set_enable_coverage(true);
        Ok(Self {
            engine,
            asking,
            now,
        })
    }

    /// Asks about a whole `input` document. What it goes through for that, and no more, is known then.
    pub(super) fn ask(&mut self, input: &Value) -> Result<Value, String> {
        self.now.set(engine::time(input));
        self.engine.set_input(self.asking.input(input));
        self.engine.clear_coverage_data();
        let asking = self.asking.clone();
        asking.answer(|rule| self.run(rule))
    }

    /// What one rule answers about the same input, and no more than what it goes through for that is known then.
    pub(super) fn ask_rule(&mut self, rule: &str) -> Result<Value, String> {
        self.engine.clear_coverage_data();
        self.run(rule)
    }

    fn run(&mut self, rule: &str) -> Result<Value, String> {
        bounds::begin();
        let answer = self.engine.eval_rule(rule.to_owned());
        if bounds::are_exceeded() {
            return Err(bounds::told());
        }
        answer.map_err(|error| match located(&error.to_string()) {
            (Some(place), problem) => format!("{place}: {problem}"),
            (None, problem) => problem,
        })
    }

    /// The lines it went through, by file.
    pub(super) fn gone_through(&self) -> Lines {
        let report = self.engine.get_coverage_report().unwrap_or_default();
        let files = report.files.into_iter();
        files.map(|file| (file.path, file.covered)).collect()
    }
}

/// Lines by file.
pub(super) type Lines = BTreeMap<String, BTreeSet<u32>>;

/// An engine with these modules and Writ's built-ins, the time only where it is known.
pub(super) fn engine(
    modules: &[Module],
    data: &Data,
    now: Option<&Now>,
) -> Result<Engine, CompileError> {
    let mut engine = Engine::new();
    // As OPA does, and as the compiled program does: a built-in that fails is undefined.
    engine.set_strict_builtin_errors(false);
    engine.set_execution_timer_config(ExecutionTimerConfig {
        limit: LONGEST,
        check_interval: NonZeroU32::MIN.saturating_add(255),
    });
    for (name, arity) in EXTENSIONS {
        if *name != NOW || now.is_some() {
            let arity = u8::try_from(*arity).unwrap_or(u8::MAX);
            engine
                .add_extension((*name).to_owned(), arity, extension(name, now.cloned()))
                .map_err(|error| CompileError::Compile(error.to_string()))?;
        }
    }
    for (name, arity, extension) in bounds::extensions() {
        engine
            .add_extension(name.to_owned(), arity, extension)
            .map_err(|error| CompileError::Compile(error.to_string()))?;
    }
    for module in modules {
        engine::bounded(module)?;
        engine
            .add_policy(module.path.clone(), module.text.clone())
            .map_err(|error| CompileError::Module {
                path: module.path.clone(),
                message: error.to_string(),
            })?;
    }
    engine
        .add_data(data.value().clone())
        .map_err(|error| CompileError::Compile(error.to_string()))?;
    Ok(engine)
}

/// A built-in of Writ's own, at the time of what is asked about, or of the machine as its own `time.now_ns`.
fn extension(name: &'static str, now: Option<Now>) -> Box<dyn Extension> {
    let time = move || match &now {
        Some(now) => now.get().as_deref().and_then(builtins::nanoseconds),
        None => {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            i64::try_from(since.ok()?.as_nanos()).ok()
        }
    };
    Box::new(
        move |arguments: Vec<Value>| match Evaluation::at(&time).call(name, &arguments) {
            Err(Failure::Undefined(..)) => Ok(Value::Undefined),
            answer => Ok(answer?),
        },
    )
}
