//! Rego in, decision out: compiles modules to one RVM program and runs it.
//!
//! A program is compiled once per policy change and runs as bytecode with an instruction limit. Whatever goes
//! wrong while it runs is a deny that says what went wrong.

#[cfg(feature = "authoring")]
mod asking;
mod foreign;

use std::collections::BTreeMap;
use std::sync::Arc;

use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::program::{DeserializationResult, Program as RvmProgram};
use regorus::rvm::vm::{ExecutionMode, RegoVM, SuspendReason, VmError};
use regorus::{Engine, Value};
use serde::{Deserialize as _, Serialize, de::DeserializeOwned};

#[cfg(feature = "authoring")]
pub(crate) use asking::{Asking, asking};
use foreign::{FOREIGN, Foreign};

use crate::adapter::{self, Adapter, Declaration};
use crate::builtins::{self, EXTENSIONS, Evaluation, Failure};
use crate::decision::{Decision, DenialCause};
use crate::input::{Input, Kind, Listing};
use crate::pin::Hints;
use crate::release::Release;
use crate::{bounds, defined, nesting, refused};

/// The engine that programs are compiled for. A filter refuses a program for another one.
pub const ENGINE: &str = "regorus-0.14.1";

/// The package of the entry points.
const PACKAGE: &str = "data.writ";

/// The rule that decides requests.
pub const CALL: &str = "data.writ.call";

/// The rule that decides whether an entry of a list is shown.
pub const VISIBLE: &str = "data.writ.visible";

/// The rule that says what becomes of a result.
pub const RESULT: &str = "data.writ.result";

/// The rule that approves, narrows or refuses a task.
pub const TASK: &str = "data.writ.task";

/// The rule that says who may get a token for another subject.
pub const EXCHANGE: &str = "data.writ.exchange";

/// The rule that approves, holds or rejects what registers itself.
pub const REGISTRATION: &str = "data.writ.registration";

/// What only the token service asks, by the names of the rules in package `writ`.
const JUDGEMENTS: [(&str, &str); 3] = [
    ("task", TASK),
    ("exchange", EXCHANGE),
    ("registration", REGISTRATION),
];

/// The most instructions one decision may take.
pub const MAX_INSTRUCTIONS: usize = 25_000;

/// One Rego source file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    /// Named in error messages.
    pub path: String,
    /// The Rego source.
    pub text: String,
}

/// Why modules do not make a policy.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// A module does not parse; the message has path, line and column.
    #[error("{path}: {message}")]
    Module {
        /// The module's path.
        path: String,
        /// What the parser says.
        message: String,
    },
    /// No rule decides anything.
    #[error(
        "no module defines the rule `call` in package `writ`: write `package writ` and `call := {{\"allow\": …}}`"
    )]
    NoEntryPoint,
    /// What a module's metadata says of its input is not understood.
    #[error("{path}:{line}: {message}")]
    Input {
        /// The module's path.
        path: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and what to do.
        message: String,
    },
    /// The modules parse but do not compile together.
    #[error("the policy does not compile: {0}")]
    Compile(String),
    /// The program cannot be written down.
    #[error("the compiled policy cannot be serialised: {0}")]
    Serialize(String),
}

/// Why a compiled program or its data cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Compiled for another engine version, or damaged.
    #[error("the program cannot be loaded by {ENGINE}: {0}")]
    Program(String),
    /// A data path and a rule have the same name.
    #[error("policy and data collide: {0}")]
    Data(String),
}

/// A compiled policy. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Program {
    bytecode: Arc<RvmProgram>,
    foreign: Option<Foreign>,
}

/// Compiles modules to one program with the entry points [`CALL`] and, where they are defined, [`VISIBLE`] and [`RESULT`].
pub fn compile(modules: &[Module]) -> Result<Program, CompileError> {
    let mut sources = Sources::read(modules)?;
    let foreign = match sources.foreign(modules)? {
        None => None,
        Some((foreign, apart)) => {
            if !foreign.members.is_empty() {
                sources = Sources::read(&apart)?;
            }
            Some(foreign)
        }
    };
    let mut entry_points = match &foreign {
        Some(foreign) => foreign.asked(),
        None if sources.define("call") => vec![CALL.to_owned()],
        None => return Err(CompileError::NoEntryPoint),
    };
    for (rule, entry_point) in [("visible", VISIBLE), ("result", RESULT)] {
        let asked =
            |asked: &String| asked == entry_point || asked.starts_with(&format!("{entry_point}."));
        if sources.define(rule) && !entry_points.iter().any(asked) {
            entry_points.push(entry_point.to_owned());
        }
    }
    let entry_points: Vec<&str> = entry_points.iter().map(String::as_str).collect();
    let bytecode = sources.program(&entry_points)?;
    Ok(Program { bytecode, foreign })
}

/// Compiles modules to the program that judges what is asked of the token service itself: [`TASK`] and [`EXCHANGE`], those
/// that are defined. `None` where none is: then nothing is ever approved. A program of its own, so that gateways do not
/// carry it.
pub fn compile_judgements(modules: &[Module]) -> Result<Option<Program>, CompileError> {
    let mut sources = Sources::read(modules)?;
    let defined: Vec<&str> = JUDGEMENTS
        .iter()
        .filter(|(rule, _)| sources.define(rule))
        .map(|(_, entry_point)| *entry_point)
        .collect();
    if defined.is_empty() {
        return Ok(None);
    }
    let bytecode = sources.program(&defined)?;
    Ok(Some(Program {
        bytecode,
        foreign: None,
    }))
}

/// Refuses a module that no parser here can follow.
pub(crate) fn bounded(module: &Module) -> Result<(), CompileError> {
    nesting::brackets(&module.text).map_err(|line| CompileError::Module {
        path: module.path.clone(),
        message: format!(
            "\n--> {}:{line}:1\nerror: more than {} brackets are open at once",
            module.path,
            nesting::MAX_BRACKETS
        ),
    })
}

/// Parsed modules.
struct Sources {
    engine: Engine,
    /// The paths of the modules of package `writ`.
    entry_modules: Vec<String>,
    /// Each module's package, by the module's path.
    packages: BTreeMap<String, String>,
}

impl Sources {
    fn read(modules: &[Module]) -> Result<Self, CompileError> {
        let mut engine = Engine::new();
        let mut entry_modules = Vec::new();
        let mut packages = BTreeMap::new();
        for module in modules {
            bounded(module)?;
            let package = engine
                .add_policy(module.path.clone(), module.text.clone())
                .map_err(|error| CompileError::Module {
                    path: module.path.clone(),
                    message: error.to_string(),
                })?;
            if package == PACKAGE {
                entry_modules.push(module.path.clone());
            }
            packages.insert(module.path.clone(), package);
        }
        Ok(Self {
            engine,
            entry_modules,
            packages,
        })
    }

    /// Whether package `writ` defines `rule`.
    fn define(&self, rule: &str) -> bool {
        self.entry_modules.iter().any(|path| {
            self.engine
                .has_declared_rule_rooted_at(path, rule)
                .unwrap_or(false)
        })
    }

    /// The rule that decides where the modules declare another input than Writ's, and the modules as it is asked in.
    fn foreign(&self, modules: &[Module]) -> Result<Option<(Foreign, Vec<Module>)>, CompileError> {
        let declared = adapter::declaration(modules).map_err(|wrong| CompileError::Input {
            path: wrong.path,
            line: wrong.line,
            message: wrong.message,
        })?;
        let Some(declared) = declared else {
            return Ok(None);
        };
        let (mut foreign, rule) = self.declared(&declared)?;
        let mut modules = modules.to_vec();
        foreign.members = foreign.adapter.members(&rule, &mut modules);
        Ok(Some((foreign, modules)))
    }

    /// The rule that a declaration is about.
    fn declared(&self, declared: &Declaration) -> Result<(Foreign, String), CompileError> {
        let package = self.packages.get(&declared.path);
        let modules: Vec<&String> = self
            .packages
            .iter()
            .filter_map(|(path, of)| (Some(of) == package).then_some(path))
            .collect();
        let defined = |rule: &&String| {
            modules.iter().any(|path| {
                self.engine
                    .has_declared_rule_rooted_at(path, rule)
                    .unwrap_or(false)
            })
        };
        match (package, declared.rules.iter().find(defined)) {
            (Some(package), Some(rule)) => {
                let foreign = Foreign {
                    adapter: declared.adapter,
                    entry_point: format!("{package}.{rule}"),
                    members: Vec::new(),
                };
                Ok((foreign, rule.clone()))
            }
            _ => Err(CompileError::Input {
                message: format!(
                    "no rule to ask: define `{}` in this package, or put the metadata before the rule that decides",
                    declared.rules.join("` or `")
                ),
                path: declared.path.clone(),
                line: declared.line,
            }),
        }
    }

    fn program(&mut self, entry_points: &[&str]) -> Result<Arc<RvmProgram>, CompileError> {
        // As it was written, so that what is wrong with it is told where it is.
        bytecode(&mut self.engine, entry_points)?;
        refused::anything(&mut self.engine)?;
        let mut engine = Engine::new();
        for module in defined::modules(&mut self.engine) {
            engine
                .add_policy(module.path, module.text)
                .map_err(|error| CompileError::Compile(error.to_string()))?;
        }
        let program = bytecode(&mut engine, entry_points)?;
        nesting::rules(&program).map_err(CompileError::Compile)?;
        Ok(program)
    }
}

fn bytecode(engine: &mut Engine, entry_points: &[&str]) -> Result<Arc<RvmProgram>, CompileError> {
    let first = entry_points.first().copied().unwrap_or(CALL);
    let policy = engine
        .compile_with_entrypoint(&first.into())
        .map_err(|error| CompileError::Compile(error.to_string()))?;
    Compiler::compile_from_policy_with_host_await(&policy, entry_points, EXTENSIONS)
        .map_err(|error| CompileError::Compile(error.to_string()))
}

impl Program {
    /// The portable form, for the snapshot.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CompileError> {
        let bytecode = self
            .bytecode
            .serialize_binary()
            .map_err(CompileError::Serialize)?;
        let Some(foreign) = &self.foreign else {
            return Ok(bytecode);
        };
        let name = foreign.adapter.name();
        let mut head = format!("{name} {}", foreign.entry_point);
        for member in &foreign.members {
            head.push(' ');
            head.push_str(member);
        }
        head.push('\n');
        Ok([FOREIGN, head.as_bytes(), &bytecode].concat())
    }

    /// Reads what [`Program::to_bytes`] of the same [`ENGINE`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EngineError> {
        let (foreign, bytes) = match bytes.strip_prefix(FOREIGN) {
            None => (None, bytes),
            Some(rest) => Foreign::read(rest)
                .map(|(foreign, bytes)| (Some(foreign), bytes))
                .ok_or_else(|| {
                    EngineError::Program(
                        "it declares an input that this version does not know".to_owned(),
                    )
                })?,
        };
        match RvmProgram::deserialize_binary(bytes).map_err(EngineError::Program)? {
            DeserializationResult::Complete(program) => Ok(Self {
                bytecode: Arc::new(program),
                foreign,
            }),
            DeserializationResult::Partial(_) => Err(EngineError::Program(
                "it was written by an older engine".to_owned(),
            )),
        }
    }
}

/// Runs one program over one data document. Reused for every decision.
pub struct Evaluator {
    vm: RegoVM,
    foreign: Option<Foreign>,
    shows: bool,
    releases: bool,
}

impl std::fmt::Debug for Evaluator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Evaluator").finish_non_exhaustive()
    }
}

impl Evaluator {
    /// An evaluator for `program` with `data` as Rego's `data` document.
    pub fn new(program: &Program, data: &Data) -> Result<Self, EngineError> {
        let mut vm = RegoVM::new();
        vm.set_max_instructions(MAX_INSTRUCTIONS);
        // Only a program that calls one of Writ's own built-ins pays for being able to stop at it.
        if program.bytecode.has_host_await() {
            vm.set_execution_mode(ExecutionMode::Suspendable);
        }
        vm.load_program(Arc::new(bounds::within(&program.bytecode)));
        vm.set_data(data.0.clone())
            .map_err(|error| EngineError::Data(error.to_string()))?;
        let names = vm.get_entry_point_names();
        let defines = |entry_point| names.iter().any(|name| name == entry_point);
        let asked = |entry_point| {
            let foreign = program.foreign.as_ref();
            defines(entry_point) && foreign.is_none_or(|f| f.entry_point != entry_point)
        };
        let (shows, releases) = (asked(VISIBLE), asked(RESULT));
        Ok(Self {
            vm,
            foreign: program.foreign.clone(),
            shows,
            releases,
        })
    }

    /// Decides a request ([`CALL`]).
    pub fn call(&mut self, input: &Input<'_>) -> Decision {
        self.call_with(input.to_value())
    }

    /// Decides a request from its whole `input` document, as [`Input::to_value`] makes it.
    pub fn call_with(&mut self, input: Value) -> Decision {
        let Some(foreign) = self.foreign.clone() else {
            return self.decide(CALL, input);
        };
        match self.run_foreign(&foreign, &input) {
            Ok(answer) => Adapter::decision(&answer),
            Err((cause, reason)) => Decision::deny(cause, reason),
        }
    }

    fn run_foreign(
        &mut self,
        foreign: &Foreign,
        input: &Value,
    ) -> Result<Value, (DenialCause, String)> {
        let input = foreign.adapter.input(input);
        foreign.answer(|entry_point| self.run(entry_point, input.clone()))
    }

    /// The decision that an answer of [`CALL`] stands for.
    #[must_use]
    pub fn decision(&self, answer: &Value) -> Decision {
        match self.foreign {
            None => Decision::from_value(answer),
            Some(_) => Adapter::decision(answer),
        }
    }

    /// What a rule answers, unchecked.
    ///
    /// # Errors
    /// When the policy does not define it, or fails.
    pub fn answer(&mut self, entry_point: &str, input: Value) -> Result<Value, Unjudged> {
        let foreign = self.foreign.clone().filter(|_| entry_point == CALL);
        let answer = match foreign {
            Some(foreign) => self.run_foreign(&foreign, &input),
            None => {
                self.defines(entry_point)?;
                self.run(entry_point, input)
            }
        };
        answer.map_err(|(cause, reason)| Unjudged { cause, reason })
    }

    /// Decides whether an entry of a list is shown ([`VISIBLE`]); a policy without that rule shows nothing. One that was not
    /// written for Writ has none: it is asked as about calling the entry. `pin` as in [`Mcp::pin`](crate::input::Mcp::pin).
    pub fn visible(
        &mut self,
        listing: &Listing,
        kind: Kind,
        name: &str,
        pin: Option<Hints>,
    ) -> Decision {
        if self.shows {
            self.decide(VISIBLE, listing.entry(kind, name, pin))
        } else if self.foreign.is_some() {
            self.call_with(listing.entry(kind, name, pin))
        } else {
            Decision::deny(
                DenialCause::Undefined,
                format!("the policy does not define {VISIBLE}"),
            )
        }
    }

    /// Whether the policy has a rule about results ([`RESULT`]).
    #[must_use]
    pub fn releases(&self) -> bool {
        self.releases
    }

    /// Says what becomes of a result ([`RESULT`]); a policy without that rule lets every result pass. Of a result that is
    /// too large to be looked at there is none: that passes only where the policy plainly says so of a `null`.
    pub fn release(&mut self, input: &Input<'_>, result: Option<Value>) -> Release {
        if !self.releases {
            return Release::Pass;
        }
        let seen = result.is_some();
        let answer = match self.run(RESULT, input.with_result(result.unwrap_or(Value::Null))) {
            Ok(answer) => answer,
            Err((cause, reason)) => return Release::withhold(cause, reason),
        };
        match Release::from_value(&answer) {
            Release::Pass if seen || answer != Value::Undefined => Release::Pass,
            Release::Mask(masks) if seen => Release::Mask(masks),
            Release::Pass | Release::Mask(_) => Release::withhold(
                DenialCause::Limit,
                "the result is larger than the policy can look at (`limits.result` of the gateway)",
            ),
            withheld @ Release::Withhold { .. } => withheld,
        }
    }

    /// Asks one of the rules that only the token service asks ([`TASK`], [`EXCHANGE`]). Whatever is not an answer of the
    /// right shape is a refusal.
    pub fn judge<T: DeserializeOwned>(
        &mut self,
        entry_point: &str,
        input: &impl Serialize,
    ) -> Result<T, Unjudged> {
        self.defines(entry_point)?;
        let failed = |error: &dyn std::fmt::Display| {
            Unjudged::new(DenialCause::Error, format!("the policy failed: {error}"))
        };
        let input = serde_json::to_value(input).map_err(|error| failed(&error))?;
        let answer = self
            .run(entry_point, Value::from(input))
            .map_err(|(cause, reason)| Unjudged { cause, reason })?;
        if answer == Value::Undefined {
            return Err(Unjudged::undefined(entry_point));
        }
        serde_json::to_value(&answer)
            .and_then(serde_json::from_value)
            .map_err(|error| {
                let told =
                    format!("{entry_point} answered something that is not understood: {error}");
                Unjudged::new(DenialCause::WrongShape, told)
            })
    }

    fn defines(&self, entry_point: &str) -> Result<(), Unjudged> {
        let names = self.vm.get_entry_point_names();
        match names.iter().any(|name| name == entry_point) {
            true => Ok(()),
            false => Err(Unjudged::undefined(entry_point)),
        }
    }

    fn decide(&mut self, entry_point: &str, input: Value) -> Decision {
        match self.run(entry_point, input) {
            Ok(value) => Decision::from_value(&value),
            Err((cause, reason)) => Decision::deny(cause, reason),
        }
    }

    fn run(&mut self, entry_point: &str, input: Value) -> Result<Value, (DenialCause, String)> {
        bounds::begin();
        self.vm.set_input(input.clone());
        let mut answer = self.vm.execute_entry_point_by_name(entry_point);
        let now = || time(&input).as_deref().and_then(builtins::nanoseconds);
        let mut evaluation = Evaluation::at(&now);
        while answer.is_ok()
            && let Some(reason) = self.vm.suspend_reason()
        {
            let SuspendReason::HostAwait {
                argument,
                identifier,
                ..
            } = reason
            else {
                return Err(too_long());
            };
            let value = match called(&mut evaluation, identifier, argument) {
                Ok(value) => value,
                Err(Failure::Undefined(..)) => Value::Undefined,
                Err(failure @ Failure::Limit(..)) => {
                    return Err((DenialCause::Limit, format!("the policy failed: {failure}")));
                }
                Err(failure @ Failure::Unknown(_)) => {
                    return Err((DenialCause::Error, format!("the policy failed: {failure}")));
                }
            };
            answer = self.vm.resume(Some(value));
        }
        self.vm.set_input(Value::Null);
        answer.map_err(|error| match error {
            VmError::InstructionLimitExceeded { .. } => too_long(),
            VmError::MemoryLimitExceeded { .. } => too_much(),
            error => (DenialCause::Error, format!("the policy failed: {error}")),
        })
    }
}

fn too_long() -> (DenialCause, String) {
    (
        DenialCause::Limit,
        format!(
            "the policy took more than {MAX_INSTRUCTIONS} steps to decide; simplify the rules for this call"
        ),
    )
}

fn too_much() -> (DenialCause, String) {
    (DenialCause::Limit, bounds::told())
}

/// Runs the built-in that a program stopped at.
fn called(
    evaluation: &mut Evaluation<'_>,
    identifier: &Value,
    argument: &Value,
) -> Result<Value, Failure> {
    match (identifier, argument) {
        (Value::String(name), Value::Array(arguments)) => {
            let arguments: Vec<Value> = arguments.iter().cloned().collect();
            evaluation.call(name, &arguments)
        }
        _ => Err(Failure::Unknown(identifier.to_string())),
    }
}

/// When what is asked about came, by the input itself.
pub(crate) fn time(input: &Value) -> Option<String> {
    let of = |value: &Value| value.as_string().ok().map(ToString::to_string);
    [
        &input["request"]["time"],
        &input["time"],
        &input["context"]["time"],
        &input["attributes"]["request"]["time"],
    ]
    .into_iter()
    .find_map(of)
}

/// Why a rule gave no answer: a refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unjudged {
    /// Which way of giving none it was.
    pub cause: DenialCause,
    /// What happened, for whoever writes the policy.
    pub reason: String,
}

impl Unjudged {
    fn new(cause: DenialCause, reason: String) -> Self {
        Self { cause, reason }
    }

    /// No rule of that name, or none that applies.
    #[must_use]
    pub fn undefined(entry_point: &str) -> Self {
        Self::new(
            DenialCause::Undefined,
            format!("the policy does not decide this: no rule {entry_point} applies"),
        )
    }
}

/// Rego's `data` document. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Data(Value);

impl Data {
    /// Reads a JSON object.
    pub fn from_json(json: &str) -> Result<Self, EngineError> {
        let value =
            Value::from_json_str(json).map_err(|error| EngineError::Data(error.to_string()))?;
        match value {
            Value::Object(_) => Ok(Self(value)),
            _ => Err(EngineError::Data("data must be a JSON object".to_owned())),
        }
    }

    /// Takes what was read as JSON already.
    pub fn of(object: &serde_json::Map<String, serde_json::Value>) -> Result<Self, EngineError> {
        let value = Value::deserialize(object);
        value
            .map(Self)
            .map_err(|error| EngineError::Data(error.to_string()))
    }

    /// One document of several, none of which has a member that another has.
    pub fn merged(parts: &[Self]) -> Result<Self, EngineError> {
        let mut whole = crate::Object::default();
        for part in parts {
            for (name, member) in part.0.as_object().into_iter().flat_map(|o| o.iter()) {
                if whole.insert(name.clone(), member.clone()).is_some() {
                    return Err(EngineError::Data(format!("{name} is there twice")));
                }
            }
        }
        Ok(Self(Value::from(whole)))
    }

    /// The document.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.0
    }
}
