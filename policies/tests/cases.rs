//! The case tables of the regorus project (`rego-cases/`, with their licence): the interpreter, which runs tests of
//! policies, and the bytecode, which decides, answer alike.
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
use writ_policy::builtins::{self, EXTENSIONS};

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
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    skip: bool,
    /// Written for Rego v1; the others are for the version before.
    #[serde(skip)]
    v1: bool,
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

fn engine(case: &Case) -> Result<Engine, String> {
    let mut engine = Engine::new();
    engine.set_rego_v0(!case.v1);
    for (name, arity) in EXTENSIONS {
        let extension: Box<dyn Extension> =
            Box::new(move |arguments: Vec<Value>| Ok(builtins::call(name, &arguments, None)?));
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

fn interpreted(case: &Case) -> Result<Vec<Value>, String> {
    let mut engine = engine(case)?;
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
    let mut engine = engine(case)?;
    let policy = engine
        .compile_with_entrypoint(&entry_point.into())
        .map_err(|e| e.to_string())?;
    let program =
        Compiler::compile_from_policy_with_host_await(&policy, &[entry_point], EXTENSIONS)
            .map_err(|e| e.to_string())?;
    let mut vm = RegoVM::new();
    vm.set_max_instructions(1_000_000);
    vm.set_strict_builtin_errors(true);
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
        let value = builtins::call(&name, &arguments, None).map_err(|e| e.to_string())?;
        answer = vm.resume(Some(value));
    }
    answer.map_err(|e| e.to_string())
}

/// Undefined, or a package of which nothing is defined.
fn nothing(value: &Value) -> bool {
    matches!(value, Value::Undefined) || *value == Value::new_object()
}

#[test]
fn the_bytecode_answers_as_the_interpreter_does() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rego-cases");
    let mut paths = Vec::new();
    files(&root, &mut paths);
    paths.sort();
    let (mut alike, mut apart) = (0, BTreeMap::new());
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
            if case.skip || !is_path {
                continue;
            }
            let name = format!("{file}: {}", case.note);
            // The engine's compiler takes recursive rules, Writ's does not: tests/engine.rs.
            if case.error.as_deref() == Some("recursion detected") {
                continue;
            }
            let (one, other) = (interpreted(&case), compiled(&case));
            match (&one, &other) {
                (Err(_), Err(_)) => alike += 1,
                // What is an error to the one is undefined to the other, unless it is told otherwise.
                (Err(_), Ok(other)) if other.iter().all(nothing) => alike += 1,
                (Ok(one), Ok(other)) if one == other => alike += 1,
                _ => drop(apart.insert(name, format!("{one:?}\n{other:?}"))),
            }
        }
    }
    assert!(alike > 300, "{alike}");
    let page = include_str!("../../docs/rego-differences.md");
    let listed: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("- `")?.strip_suffix('`'))
        .collect();
    let found: BTreeSet<&str> = apart.keys().map(String::as_str).collect();
    let unlisted: Vec<_> = apart
        .iter()
        .filter(|(name, _)| !listed.contains(name.as_str()))
        .collect();
    let settled: Vec<_> = listed.difference(&found).collect();
    assert!(
        unlisted.is_empty() && settled.is_empty(),
        "not in docs/rego-differences.md: {unlisted:#?}\nno longer apart: {settled:#?}"
    );
}
