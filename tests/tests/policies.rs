//! `writ policy`: what people type, and what a pipeline reads.

use std::process::{Command, Stdio};

use serde_json::{Value, json};
use writ_tests::bundle_server::{BundleServer, TOKEN};
use writ_tests::scratch::Scratch;
use writ_tests::token_service::{Options, TokenService};
use writ_tests::wait::{PATIENCE, until};

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

/// Leads to itself.
const ENDLESS: &str =
    "\nagain if again\n\ncall := {\"allow\": true} if { input.mcp.tool == \"again\"; again }\n";

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

#[test]
fn only_what_passes_is_published_and_any_of_it_can_be_had_again() {
    let scratch = Scratch::new("publish").unwrap();
    scratch.write("p/rules.rego", RULES).unwrap();
    let by = |message: &'static str| ["publish", "p", "--author", "ada", "--message", message];
    let ran = policy(&scratch, &by("the first"), "");
    assert!(
        ran.ok && ran.out.starts_with("policy 1 is in force"),
        "{}{}",
        ran.out,
        ran.err
    );
    let ran = policy(&scratch, &by("the same"), "");
    assert!(
        !ran.ok && ran.err.contains("in force already"),
        "{}",
        ran.err
    );

    let bad = "package writ_test\nimport data.writ\ntest_it if writ.call.allow with input.mcp.tool as \"write\"\n";
    scratch.write("p/rules_test.rego", bad).unwrap();
    let ran = policy(&scratch, &by("a test fails"), "");
    assert!(
        !ran.ok && ran.err.contains("nothing is published: 1 objection"),
        "{}",
        ran.err
    );
    assert!(
        ran.out.contains("data.writ_test.test_it does not hold"),
        "{}",
        ran.out
    );
    scratch
        .write("p/rules_test.rego", "package writ_test\n")
        .unwrap();
    scratch
        .write(
            "p/other.rego",
            "package other\nx := http.send({})\n\u{1b}[2J",
        )
        .unwrap();
    let ran = policy(&scratch, &by("an error"), "");
    assert!(!ran.ok && !ran.out.contains('\u{1b}'), "{}", ran.out);
    let ran = policy(&scratch, &["publish", "p", "--author", "ada"], "");
    assert!(!ran.ok && ran.err.contains("--message"), "{}", ran.err);

    std::fs::remove_file(scratch.path().join("p/other.rego")).unwrap();
    scratch
        .write("p/rules.rego", RULES.replace("not today", "not tonight"))
        .unwrap();
    let ran = policy(
        &scratch,
        &[
            "--json",
            "publish",
            "p",
            "--author",
            "bob",
            "-m",
            "the second",
        ],
        "",
    );
    assert_eq!(ran.lines()[0]["number"], 2);
    let ran = policy(&scratch, &["diff", "1", "2"], "");
    assert!(
        ran.out.contains("--- a/rules.rego\n+++ b/rules.rego\n")
            && ran
                .out
                .contains("-call := {\"allow\": false, \"reason\": \"not today\"}")
            && ran
                .out
                .contains("+call := {\"allow\": false, \"reason\": \"not tonight\"}")
            && ran.out.contains("--- /dev/null\n+++ b/rules_test.rego\n"),
        "{}",
        ran.out
    );
    let ran = policy(&scratch, &["diff", "2", "p"], "");
    assert!(ran.ok && ran.out.is_empty(), "{}", ran.out);

    let ran = policy(&scratch, &["rollback", "--author", "bob"], "");
    assert!(
        ran.ok && ran.out.starts_with("policy 1 is in force"),
        "{}{}",
        ran.out,
        ran.err
    );
    let ran = policy(&scratch, &["rollback", "--author", "bob"], "");
    assert!(
        !ran.ok && ran.err.contains("no earlier policy"),
        "{}",
        ran.err
    );
    let ran = policy(&scratch, &["--json", "history"], "");
    let history = ran.lines();
    let told = |at: usize, field: &str| history[at][field].clone();
    assert_eq!(
        (told(0, "number"), told(0, "author"), told(0, "message")),
        (json!(2), json!("bob"), json!("the second"))
    );
    assert_eq!(
        (told(0, "in_force_since"), told(1, "author")),
        (json!(null), json!("ada"))
    );
    let digest = told(0, "revision");
    let ran = policy(&scratch, &["show", digest.as_str().unwrap()], "");
    assert!(
        ran.out.contains("policy 2, revision") && ran.out.contains("not tonight"),
        "{}",
        ran.out
    );
    let ran = policy(&scratch, &["show", "7"], "");
    assert!(
        !ran.ok && ran.err.contains("no policy 7 was published"),
        "{}",
        ran.err
    );
}

#[test]
fn what_no_gateway_could_run_is_not_published() {
    let scratch = Scratch::new("unrunnable").unwrap();
    scratch.write("p/rules.rego", RULES).unwrap();
    let publish = || {
        policy(
            &scratch,
            &["publish", "p", "--author", "ada", "-m", "x"],
            "",
        )
    };
    assert!(publish().ok);
    let endless = "test_it if { every i in numbers.range(1, 60000) { every j in numbers.range(1, 60000) { i + j > 0 } } }";
    for (file, text, told) in [
        ("rules.rego", format!("{RULES}{ENDLESS}"), "recursi"),
        (
            "rules.rego",
            format!("{RULES}\nx := {}1{}\n", "[".repeat(100), "]".repeat(100)),
            "brackets",
        ),
        (
            "rules.rego",
            "package writ\n\ncall := \"yes\"\n".to_owned(),
            "is no decision",
        ),
        (
            "rules.rego",
            format!("{RULES}# {}", "x".repeat(5 << 20)),
            "MiB",
        ),
        (
            "rules_test.rego",
            format!("package writ_test\n\n{endless}\n"),
            "cannot be run",
        ),
    ] {
        scratch.write(&format!("p/{file}"), text).unwrap();
        let ran = publish();
        let said = format!("{}{}", ran.out, ran.err);
        assert!(!ran.ok && said.contains(told), "{told}: {said}");
        std::fs::remove_file(scratch.path().join(format!("p/{file}"))).unwrap();
        let ran = policy(&scratch, &["--json", "history"], "");
        let history = ran.lines();
        assert_eq!(history.len(), 1, "{told}");
        assert!(!history[0]["in_force_since"].is_null());
        scratch.write("p/rules.rego", RULES).unwrap();
    }
}

#[tokio::test]
async fn a_bundle_server_feeds_the_service_and_never_makes_it_worse() {
    let scratch = Scratch::new("bundles").unwrap();
    let nginx = BundleServer::start(&scratch).await.unwrap();
    let manifest = |revision: &str| {
        format!("{{\"revision\": \"{revision}\", \"roots\": [\"writ\", \"limits\"]}}")
    };
    let good = |text: &str, revision: &str| {
        let manifest = manifest(revision);
        let files = [
            ("rules.rego", text),
            ("limits/data.yaml", "a: 1\n"),
            (".manifest", &manifest),
        ];
        nginx.serve(&scratch, &files).unwrap();
    };
    good(RULES, "v1");
    let service = TokenService::start(
        &scratch,
        Options {
            config: Some(format!(
                "[policy.bundle]\nurl = \"{}\"\npoll_interval = \"1s\"\ntoken_env = \"BUNDLES\"\n",
                nginx.url()
            )),
            env: vec![("BUNDLES".to_owned(), TOKEN.to_owned())],
            ..Options::default()
        },
    )
    .await
    .unwrap();
    let in_force = || {
        let history = service.cli(&["policy", "history"]).unwrap();
        let (now, named) = (
            history.len(),
            history.iter().find(|p| !p["in_force_since"].is_null())?["named"].clone(),
        );
        Some((now, named.as_str()?.to_owned()))
    };
    let first = until("the first bundle", PATIENCE, async || in_force())
        .await
        .unwrap();
    assert_eq!(first, (1, "v1".to_owned()));
    let history = service.cli(&["policy", "history"]).unwrap();
    assert_eq!(history[0]["author"], "bundle server");
    until("an unchanged answer", PATIENCE, async || {
        (nginx.answered(304) > 0).then_some(())
    })
    .await
    .unwrap();

    let metric = async |name: &str| -> Option<f64> {
        let url = format!("{}/metrics", service.issuer());
        let text = reqwest::get(url).await.ok()?.text().await.ok()?;
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    };
    let refused = async || {
        metric("writ_policy_refused_total{source=\"bundle\"}")
            .await
            .unwrap_or(0.0)
    };
    let large = format!("{RULES}# {}", "x".repeat(5 * 1024 * 1024));
    let outside = manifest("v2");
    let failing = "package writ_test\ntest_it if false\n";
    let endless = format!("{RULES}{ENDLESS}");
    // Nine times nine times …, of a list that is written once.
    let mut bomb = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n".to_owned();
    for n in 1..10 {
        let before = format!("*a{}, ", n - 1).repeat(9);
        bomb.push_str(&format!(
            "a{n}: &a{n} [{}]\n",
            before.trim_end_matches(", ")
        ));
    }
    let cases = [
        (
            vec![("rules.rego", RULES), ("rules_test.rego", failing)],
            "data.writ_test.test_it does not hold",
        ),
        (
            vec![("../bundle/rules.rego", RULES)],
            "must lie below its root",
        ),
        (vec![("rules.rego", large.as_str())], "MiB together"),
        (
            vec![
                ("rules.rego", RULES),
                ("other/data.json", "{\"a\": 1}"),
                (".manifest", outside.as_str()),
            ],
            "is outside of its roots",
        ),
        (
            vec![(
                "rules.rego",
                "package writ\n\ncall := {\"allow\": true} if http.send({})\n",
            )],
            "no function `http.send`",
        ),
        (vec![("readme.txt", "no policy")], "has no .rego file"),
        (vec![("rules.rego", endless.as_str())], "recursi"),
        (
            vec![("rules.rego", "package writ\n\ncall := \"yes\"\n")],
            "is no decision",
        ),
        (
            vec![("rules.rego", RULES), ("limits/data.yaml", &bomb)],
            "repetition limit",
        ),
    ];
    for (files, reason) in cases {
        let before = refused().await;
        nginx.serve(&scratch, &files).unwrap();
        until(reason, PATIENCE, async || {
            let told = service.process().ok()?.log().contains(reason);
            let alert =
                refused().await > before && metric("writ_policy_bundle_current").await == Some(0.0);
            (told && alert).then_some(())
        })
        .await
        .unwrap();
        assert_eq!(in_force(), Some((1, "v1".to_owned())), "{:?}", files.last());
    }

    good(&RULES.replace("not today", "not tonight"), "v3");
    until("the next good bundle", PATIENCE, async || {
        in_force().filter(|now| *now == (2, "v3".to_owned()))
    })
    .await
    .unwrap();
    service
        .cli(&["policy", "rollback", "--author", "ada"])
        .unwrap();
    // Had again whole, and then asked about once more, so that it has been looked at.
    let had = nginx.answered(200);
    nginx.touch().unwrap();
    until("the same bundle once more", PATIENCE, async || {
        (nginx.answered(200) > had).then_some(())
    })
    .await
    .unwrap();
    let polls = nginx.answered(200) + nginx.answered(304);
    until("the poll after it", PATIENCE, async || {
        (nginx.answered(200) + nginx.answered(304) > polls).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(
        in_force(),
        Some((2, "v1".to_owned())),
        "what was taken back stays so"
    );
}
