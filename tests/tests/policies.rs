//! `writ policy`: what people type, and what a pipeline reads.

use std::process::{Command, Stdio};

use serde_json::{Value, json};
use writ_tests::scratch::Scratch;

/// One run of `writ policy`.
struct Ran {
    ok: bool,
    out: String,
    err: String,
}

impl Ran {
    /// Its JSON lines.
    fn lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap();
        self.out.lines().map(parse).collect()
    }
}

fn policy(scratch: &Scratch, arguments: &[&str], input: &str) -> Ran {
    scratch.write("stdin", input).unwrap();
    let stdin = std::fs::File::open(scratch.path().join("stdin")).unwrap();
    let output = Command::new(writ_tests::binaries::writ().unwrap())
        .arg("policy")
        .args(arguments)
        .current_dir(scratch.path())
        .env("WRIT_DATA_DIR", "data")
        .stdin(Stdio::from(stdin))
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran {
        ok: output.status.success(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

const RULES: &str = "package writ

call := {\"allow\": true, \"obligations\": {\"ttl_s\": 5}} if input.mcp.tool == \"read\"

call := {\"allow\": false, \"reason\": \"not today\"} if input.mcp.tool == \"write\"

call := {\"allow\": 1} if input.mcp.tool == \"odd\"

visible := call
";

#[test]
fn check_names_every_error_and_its_place() {
    let scratch = Scratch::new("check").unwrap();
    scratch.write("p/rules.rego", RULES).unwrap();
    let ran = policy(&scratch, &["check", "p"], "");
    assert!(
        ran.ok && ran.out.starts_with("ok: revision "),
        "{}",
        ran.out
    );

    let lacking = format!("{RULES}\nfetched if http.send({{}})\n\ncall := 1 if fetched\n");
    scratch.write("p/rules.rego", lacking).unwrap();
    let ran = policy(&scratch, &["check", "p"], "");
    assert!(!ran.ok);
    assert!(
        ran.out
            .contains("p/rules.rego:11:12: error: no function `http.send`"),
        "{}",
        ran.out
    );
    assert!(
        ran.out.contains("p/rules.rego:13:9: error: `call`"),
        "{}",
        ran.out
    );
    assert!(!ran.out.contains('\u{1b}'), "no colour where nobody looks");
    let ran = policy(&scratch, &["--json", "check", "p"], "");
    let found = ran.lines();
    assert!(!ran.ok);
    assert_eq!(found[0]["path"], "rules.rego");
    assert_eq!(
        (&found[0]["line"], &found[0]["column"]),
        (&json!(11), &json!(12))
    );
    assert_eq!(found.last().unwrap()["errors"], 2);

    let ran = policy(&scratch, &["check", "nowhere"], "");
    assert!(
        !ran.ok && ran.err.contains("cannot read nowhere"),
        "{}",
        ran.err
    );
}

#[test]
fn test_says_which_rules_hold() {
    let scratch = Scratch::new("test").unwrap();
    scratch.write("p/rules.rego", RULES).unwrap();
    let ran = policy(&scratch, &["test", "p"], "");
    assert!(
        !ran.ok && ran.err.contains("no test was found"),
        "{}",
        ran.err
    );

    let good = "package writ_test\nimport data.writ\ntest_read if writ.call.allow with input.mcp.tool as \"read\"\n";
    let bad = "test_write if writ.call.allow with input.mcp.tool as \"write\"\n";
    scratch.write("p/rules_test.rego", good).unwrap();
    let ran = policy(&scratch, &["test", "p"], "");
    assert!(ran.ok && ran.out == "PASS: 1/1\n", "{}", ran.out);

    let both = format!("{good}{bad}");
    scratch.write("p/rules_test.rego", both).unwrap();
    let ran = policy(&scratch, &["test", "p", "-v"], "");
    assert!(
        !ran.ok && ran.err.contains("1 test did not pass"),
        "{}",
        ran.err
    );
    for line in [
        "p/rules_test.rego:3: data.writ_test.test_read: PASS (",
        "p/rules_test.rego:4: data.writ_test.test_write: FAIL (",
        "PASS: 1/2",
        "FAIL: 1/2",
    ] {
        assert!(ran.out.contains(line), "{line}: {}", ran.out);
    }
    let ran = policy(
        &scratch,
        &["--json", "test", "p", "--run", "read$", "--coverage"],
        "",
    );
    let told = ran.lines();
    assert!(ran.ok, "{}", ran.err);
    assert_eq!(told[0]["result"], "pass");
    assert_eq!(
        told[1],
        json!({"pass": 1, "fail": 0, "error": 0, "skipped": 0})
    );
    assert_eq!(told[2]["path"], "rules.rego");
    assert!(told[3]["coverage"].as_f64().unwrap() > 50.0, "{}", told[3]);
    let ran = policy(&scratch, &["test", "p", "--run", "("], "");
    assert!(!ran.ok && ran.err.contains("--run"), "{}", ran.err);
}

#[test]
fn eval_prints_what_the_filter_makes_of_the_answer() {
    let scratch = Scratch::new("eval").unwrap();
    scratch.write("p/rules.rego", RULES).unwrap();
    for (tool, told) in [
        ("read", "allow\nobligations: {\"ttl_s\":5}\n"),
        ("write", "deny (policy): not today\n"),
        (
            "odd",
            "deny (wrong_shape): the policy's answer is not a decision",
        ),
        ("other", "deny (undefined): no rule"),
    ] {
        let input = json!({"mcp": {"tool": tool}}).to_string();
        let ran = policy(&scratch, &["eval", "p"], &input);
        assert!(
            ran.ok && ran.out.starts_with(told),
            "{}{}",
            ran.out,
            ran.err
        );
    }
    let input = json!({"mcp": {"tool": "write"}}).to_string();
    scratch.write("input.json", input).unwrap();
    let ran = policy(
        &scratch,
        &[
            "--json",
            "eval",
            "p",
            "input.json",
            "--entry-point",
            "visible",
        ],
        "",
    );
    let told = ran.lines().remove(0);
    assert_eq!(told["entry_point"], "data.writ.visible");
    assert_eq!(told["decision"]["outcome"], "deny");
    assert_eq!(told["answer"]["reason"], "not today");
    let ran = policy(&scratch, &["eval", "p", "--entry-point", "task"], "{}");
    assert!(ran.out.starts_with("deny (undefined)"), "{}", ran.out);
    let ran = policy(&scratch, &["eval", "p"], "{");
    assert!(!ran.ok && ran.err.contains("is not JSON"), "{}", ran.err);
}
