//! Every example of docs/library.md, on the engine that filters run; and that engine against the interpreter, on questions and
//! data of which anything may be missing or of another type.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use regorus::{Engine, Value};
use serde_json::{Value as Json, json};
use writ_policy::engine::{CALL, Data, Evaluator, Program, compile};
use writ_policy::library;

const PAGE: &str = include_str!("../../docs/library.md");

/// A section's data, with its questions and their answers.
struct Example {
    heading: String,
    data: Json,
    cases: Vec<(Json, Json)>,
}

/// The page's examples: each question is the one that they are changes of, with its changes.
fn examples() -> Vec<Example> {
    let (mut question, mut examples) = (Json::Null, Vec::<Example>::new());
    let (mut heading, mut asked) = (String::new(), None);
    let mut lines = PAGE.lines();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("## ") {
            title.clone_into(&mut heading);
        }
        let Some(kind) = line.strip_prefix("```json ") else {
            continue;
        };
        let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let json: Json = serde_json::from_str(&text.join("\n")).unwrap();
        match kind {
            "question" => question = json,
            "data" => examples.push(Example {
                heading: heading.clone(),
                data: json,
                cases: Vec::new(),
            }),
            "asks" => asked = Some(json),
            "answer" => {
                let asked = asked.take().unwrap();
                let mut whole = question.clone();
                merge(&mut whole, &asked);
                examples.last_mut().unwrap().cases.push((whole, json));
            }
            other => panic!("{heading}: what is `json {other}`?"),
        }
    }
    examples
}

fn allowed(answer: &Json) -> bool {
    answer["allow"] == true
}

fn merge(whole: &mut Json, change: &Json) {
    match (whole, change) {
        (Json::Object(whole), Json::Object(change)) => {
            for (name, value) in change {
                merge(whole.entry(name).or_insert(Json::Null), value);
            }
        }
        (whole, change) => *whole = change.clone(),
    }
}

fn evaluator(program: &Program, data: &Json) -> Evaluator {
    Evaluator::new(program, &Data::from_json(&data.to_string()).unwrap()).unwrap()
}

#[test]
fn every_example_of_the_page_gets_its_answer() {
    let program = compile(&library::modules()).unwrap();
    let examples = examples();
    assert_eq!(examples.len(), 11, "a template without an example");
    for example in examples {
        let mut evaluator = evaluator(&program, &example.data);
        assert!(
            example.cases.iter().any(|(_, answer)| allowed(answer))
                && example.cases.iter().any(|(_, answer)| !allowed(answer)),
            "{}: show what is allowed and what is not",
            example.heading
        );
        for (question, expected) in &example.cases {
            let answer: Json = evaluator.judge(CALL, question).unwrap();
            assert_eq!(&answer, expected, "{}: {question}", example.heading);
        }
    }
}

/// `json` with each of its parts in turn gone, or something else; as deep as there is something.
fn damaged(json: &Json) -> Vec<Json> {
    let mut all = Vec::new();
    if let Json::Object(members) = json {
        for (name, value) in members {
            let mut without = members.clone();
            without.remove(name);
            all.push(Json::Object(without));
            for part in damaged(value) {
                let mut with = members.clone();
                with.insert(name.clone(), part);
                all.push(Json::Object(with));
            }
        }
    }
    all.extend([Json::Null, json!(true), json!("other"), json!({})]);
    all
}

#[test]
fn the_filters_engine_and_the_interpreter_agree_on_what_is_damaged() {
    let program = compile(&library::modules()).unwrap();
    let examples = examples();
    let mut tried = 0;
    let mut interpreter = Engine::new();
    interpreter.set_strict_builtin_errors(false);
    for module in library::modules() {
        interpreter.add_policy(module.path, module.text).unwrap();
    }
    for example in examples {
        let mut compare = |data: &Json, questions: &[Json]| {
            let mut evaluator = evaluator(&program, data);
            interpreter.clear_data();
            interpreter.add_data(Value::from(data.clone())).unwrap();
            for question in questions {
                interpreter.set_input(Value::from(question.clone()));
                let run: Json = evaluator.judge(CALL, question).unwrap_or_else(
                    |unjudged| json!({"allow": false, "unjudged": unjudged.reason}),
                );
                let told = format!("{}: {data} {question} {run}", example.heading);
                match interpreter.eval_rule(CALL.to_owned()) {
                    Ok(answer) => assert_eq!(run, serde_json::to_value(&answer).unwrap(), "{told}"),
                    // It gives up where OPA, and the filter's engine, find nothing to go through.
                    Err(_) => assert_eq!(run["allow"], false, "{told}"),
                }
                tried += 1;
            }
        };
        let questions: Vec<Json> = example
            .cases
            .iter()
            .map(|(asked, _)| asked.clone())
            .collect();
        for (question, _) in example.cases.iter().filter(|(_, answer)| allowed(answer)) {
            compare(&example.data, &damaged(question));
        }
        // Of data, null takes away.
        for data in damaged(&example.data)
            .iter()
            .filter(|data| data.is_object() && !data.to_string().contains("null"))
        {
            compare(data, &questions);
        }
    }
    assert!(tried > 2_000, "only {tried} were tried");
}
