//! The case tables of the regorus project (`rego-cases/`, with their licence): the interpreter, which runs tests of
//! policies, answers as they say, and the bytecode, which decides, as the interpreter does. Both run as the product has
//! them: a built-in that fails is undefined.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::vm::{ExecutionMode, RegoVM, SuspendReason};
use regorus::{Engine, Extension, Value};
use serde::Deserialize;
use writ_policy::builtins::{EXTENSIONS, Evaluation, Failure, nanoseconds};
use writ_policy::defined;

/// When all of it happens.
const NOW: &str = "2026-11-23T10:00:00Z";

fn now() -> Option<i64> {
    nanoseconds(NOW)
}

#[derive(Deserialize)]
struct Table {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    note: String,
    #[serde(default)]
    data: Option<Value>,
    #[serde(default)]
    input: Option<Value>,
    modules: Vec<String>,
    query: String,
    /// What it answers.
    #[serde(default)]
    want_result: Option<Value>,
    /// Why there is no answer.
    #[serde(default)]
    error: Option<String>,
    /// A built-in that fails is an error, unless this says otherwise.
    #[serde(default = "strict")]
    strict: bool,
    #[serde(default)]
    skip: bool,
    /// Written for Rego v1; the others are for the version before.
    #[serde(skip)]
    v1: bool,
}

fn strict() -> bool {
    true
}

fn files(within: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(within).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "yaml") {
            found.push(path);
        }
    }
}

/// Values as the tables write them: `set!` and `object!` are what YAML has no word for.
fn read(value: &Value) -> Value {
    let members =
        |list: &Value| -> Vec<Value> { list.as_array().unwrap().iter().map(read).collect() };
    match value {
        Value::Object(object) => match object.iter().next() {
            Some((key, list)) if object.len() == 1 && *key == Value::from("set!") => {
                members(list).into_iter().collect::<BTreeSet<_>>().into()
            }
            Some((key, list)) if object.len() == 1 && *key == Value::from("object!") => {
                let pairs = list.as_array().unwrap().iter();
                pairs
                    .map(|pair| (read(&pair["key"]), read(&pair["value"])))
                    .collect::<BTreeMap<_, _>>()
                    .into()
            }
            _ => object
                .iter()
                .map(|(key, value)| (read(key), read(value)))
                .collect::<BTreeMap<_, _>>()
                .into(),
        },
        Value::Array(list) => list.iter().map(read).collect::<Vec<_>>().into(),
        Value::String(text) if &**text == "#undefined" => Value::Undefined,
        other => other.clone(),
    }
}

fn engine(case: &Case, strict: bool) -> Result<Engine, String> {
    let mut engine = Engine::new();
    engine.set_rego_v0(!case.v1);
    engine.set_strict_builtin_errors(strict);
    for (name, arity) in EXTENSIONS {
        let extension: Box<dyn Extension> = Box::new(move |arguments: Vec<Value>| {
            match Evaluation::at(&now).call(name, &arguments) {
                Err(Failure::Undefined(..)) if !strict => Ok(Value::Undefined),
                answer => Ok(answer?),
            }
        });
        let arity = u8::try_from(*arity).unwrap();
        engine
            .add_extension((*name).to_owned(), arity, extension)
            .unwrap();
    }
    for (number, text) in case.modules.iter().enumerate() {
        engine
            .add_policy(format!("rego_{number}"), text.clone())
            .map_err(|e| e.to_string())?;
    }
    Ok(engine)
}

/// The documents of a case: many inputs, or many of data, are merged or asked one by one.
fn many(value: &Value) -> Vec<Value> {
    match value {
        Value::Object(object) => match object.get(&Value::from("many!")) {
            Some(Value::Array(list)) => list.iter().map(read).collect(),
            _ => vec![read(value)],
        },
        other => vec![read(other)],
    }
}

fn inputs(case: &Case) -> Vec<Value> {
    case.input.as_ref().map_or(vec![Value::Undefined], many)
}

fn data(case: &Case) -> Vec<Value> {
    let all = case.data.as_ref().map(many).unwrap_or_default();
    let objects = |data: &Value| matches!(data, Value::Object(_));
    all.into_iter().filter(objects).collect()
}

/// `strict`: whether a built-in that fails is an error; else it is undefined, as it is to `writ policy test`.
fn interpreted(case: &Case, strict: bool) -> Result<Vec<Value>, String> {
    let mut engine = engine(case, strict)?;
    for data in data(case) {
        engine.add_data(data).map_err(|e| e.to_string())?;
    }
    let mut answers = Vec::new();
    for input in inputs(case) {
        engine.set_input(input);
        let results = engine
            .eval_query(case.query.clone(), false)
            .map_err(|e| e.to_string())?;
        let answer = results.result.first().and_then(|r| r.expressions.first());
        answers.push(answer.map_or(Value::Undefined, |a| a.value.clone()));
    }
    Ok(answers)
}

/// The rules of a package, by how they begin a line. Functions have no answer of their own.
fn rules(case: &Case, package: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for module in &case.modules {
        let mut lines = module.lines().filter(|l| !l.is_empty());
        let of = lines.find_map(|line| line.strip_prefix("package "));
        let of = of.unwrap_or_default().split('#').next().unwrap().trim();
        if format!("data.{of}") != package {
            continue;
        }
        for line in lines {
            // Of a body by two or more, if at all.
            let line = line.strip_prefix(' ').unwrap_or(line);
            let line = line.strip_prefix("default ").unwrap_or(line);
            let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let (name, rest) = line.split_at(end.unwrap_or(line.len()));
            let word = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            if word && !rest.starts_with('(') && name != "import" && name != "else" {
                names.insert(name.to_owned());
            }
        }
    }
    names
}

fn compiled(case: &Case) -> Result<Vec<Value>, String> {
    let rules = rules(case, &case.query);
    if rules.is_empty() {
        return inputs(case)
            .iter()
            .map(|input| asked(case, &case.query, input))
            .collect();
    }
    let whole = |input: &Value| {
        let mut object = BTreeMap::new();
        for rule in &rules {
            match asked(case, &format!("{}.{rule}", case.query), input)? {
                Value::Undefined => {}
                value => drop(object.insert(Value::from(rule.as_str()), value)),
            }
        }
        Ok(object.into())
    };
    inputs(case).iter().map(whole).collect()
}

fn asked(case: &Case, entry_point: &str, input: &Value) -> Result<Value, String> {
    let mut engine = engine(case, false)?;
    // As the product has it: as it was written, then what is written for the bytecode. It knows no version before.
    if case.v1 {
        engine
            .compile_with_entrypoint(&entry_point.into())
            .map_err(|e| e.to_string())?;
        let written = defined::modules(&mut engine);
        engine = Engine::new();
        for module in written {
            engine
                .add_policy(module.path, module.text)
                .map_err(|e| e.to_string())?;
        }
    }
    let policy = engine
        .compile_with_entrypoint(&entry_point.into())
        .map_err(|e| e.to_string())?;
    let program =
        Compiler::compile_from_policy_with_host_await(&policy, &[entry_point], EXTENSIONS)
            .map_err(|e| e.to_string())?;
    let mut vm = RegoVM::new();
    vm.set_max_instructions(1_000_000);
    if program.has_host_await() {
        vm.set_execution_mode(ExecutionMode::Suspendable);
    }
    vm.load_program(program);
    let mut merged = Engine::new();
    for data in data(case) {
        merged.add_data(data).map_err(|e| e.to_string())?;
    }
    vm.set_data(merged.get_data()).map_err(|e| e.to_string())?;
    vm.set_input(input.clone());
    let mut answer = vm.execute_entry_point_by_name(entry_point);
    while answer.is_ok()
        && let Some(SuspendReason::HostAwait {
            argument,
            identifier,
            ..
        }) = vm.suspend_reason()
    {
        let arguments = argument.as_array().unwrap().to_vec();
        let name = identifier.as_string().unwrap().to_string();
        let value = match Evaluation::at(&now).call(&name, &arguments) {
            Err(Failure::Undefined(..)) => Value::Undefined,
            answer => answer.map_err(|e| e.to_string())?,
        };
        answer = vm.resume(Some(value));
    }
    answer.map_err(|e| e.to_string())
}

/// Undefined, or a package of which nothing is defined.
fn nothing(value: &Value) -> bool {
    matches!(value, Value::Undefined) || *value == Value::new_object()
}

/// The same to whoever reads it: YAML has no whole numbers of more than 64 bits.
fn same(one: &Value, other: &Value) -> bool {
    one == other || one.to_json_str().ok() == other.to_json_str().ok()
}

/// Whether this is what the table says.
fn as_told(case: &Case, told: &Result<Vec<Value>, String>) -> bool {
    match (&case.want_result, told) {
        (Some(wanted), Ok(told)) => {
            let wanted = many(wanted);
            wanted.len() == told.len() && wanted.iter().zip(told).all(|(w, t)| same(w, t))
        }
        (Some(_), Err(_)) => false,
        (None, told) => told.as_ref().map_or(true, |all| all.iter().all(nothing)),
    }
}

/// Whether no answer of the one stands against an answer of the other.
fn alike(one: &Result<Vec<Value>, String>, other: &Result<Vec<Value>, String>) -> bool {
    let none = |answers: &[Value]| answers.iter().all(nothing);
    match (one, other) {
        (Ok(one), Ok(other)) => one == other,
        (Err(_), Err(_)) => true,
        // What is an error to the one is undefined to the other.
        (Err(_), Ok(other)) => none(other),
        (Ok(_), Err(_)) => false,
    }
}

/// Every case that asks for a rule or a package, by its file and note.
fn cases() -> Vec<(String, Case)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rego-cases");
    let mut paths = Vec::new();
    files(&root, &mut paths);
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let table: Table = yaml_serde::from_str(&text).unwrap();
        let file = path.strip_prefix(&root).unwrap().display().to_string();
        for mut case in table.cases {
            case.v1 = file.ends_with("bindings.yaml");
            let rule = case.query.trim();
            let is_path = rule.starts_with("data.")
                && rule
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._".contains(c));
            // The engine's compiler takes recursive rules, Writ's does not: tests/engine.rs.
            let recursive = case.error.as_deref() == Some("recursion detected");
            if is_path && !case.skip && !recursive {
                all.push((format!("{file}: {}", case.note), case));
            }
        }
    }
    all
}

/// Holds what was found against what the page lists behind `mark`: nothing more, and nothing less.
fn is_listed(mark: &str, found: &BTreeMap<String, String>) {
    let page = include_str!("../../docs/rego-differences.md");
    let listed: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix(mark)?.strip_suffix('`'))
        .collect();
    let unlisted: Vec<_> = found
        .iter()
        .filter(|(name, _)| !listed.contains(name.as_str()))
        .collect();
    let settled: Vec<_> = listed
        .iter()
        .filter(|name| !found.contains_key(**name))
        .collect();
    assert!(
        unlisted.is_empty() && settled.is_empty(),
        "not in docs/rego-differences.md: {unlisted:#?}\nlisted there, and not so: {settled:#?}"
    );
}

#[test]
fn the_interpreter_answers_as_the_tables_say() {
    let mut apart = BTreeMap::new();
    for (name, case) in cases() {
        let told = interpreted(&case, case.strict);
        if !as_told(&case, &told) {
            apart.insert(name, format!("{told:?}"));
        }
    }
    is_listed("- not here: `", &apart);
}

#[test]
fn the_bytecode_answers_as_the_interpreter_does() {
    let mut apart = BTreeMap::new();
    for (name, case) in cases() {
        let (one, other) = (interpreted(&case, false), compiled(&case));
        if !alike(&one, &other) {
            apart.insert(name, format!("{one:?}\n{other:?}"));
        }
    }
    is_listed("- `", &apart);
}
