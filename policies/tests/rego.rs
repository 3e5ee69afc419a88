//! Runs every `test_` rule of `policies/*_test.rego`, as `opa test` would.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::Path;

use regorus::{Engine, Value};

#[test]
fn every_test_rule_of_the_library_holds() {
    let mut engine = Engine::new();
    // As OPA does, and as the compiled program does: a built-in that fails is undefined.
    engine.set_strict_builtin_errors(false);
    let mut rules = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "rego")
        })
        .collect();
    files.sort();
    for path in &files {
        let text = std::fs::read_to_string(path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let package = engine.add_policy(name.clone(), text.clone()).unwrap();
        rules.extend(
            text.lines()
                .filter(|line| line.starts_with("test_"))
                .map(|line| line.split([' ', ':']).next().unwrap())
                .map(|rule| format!("{package}.{rule}")),
        );
        assert!(
            name.ends_with("_test.rego")
                || name == "main.rego"
                || files.contains(&path.with_file_name(name.replace(".rego", "_test.rego"))),
            "{name} has no test file beside it"
        );
    }
    assert!(
        rules.len() > 30,
        "only {} test rules were found",
        rules.len()
    );
    let mut failed = Vec::new();
    for rule in rules {
        let answer = engine.eval_rule(rule.clone());
        if !matches!(answer, Ok(Value::Bool(true))) {
            failed.push(format!("{rule}: {answer:?}"));
        }
    }
    assert!(
        failed.is_empty(),
        "these test rules do not hold:\n{}",
        failed.join("\n")
    );
}
