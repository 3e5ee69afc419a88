//! What policies were asked is kept beside the record, within what the configuration allows, and asked again: of a candidate
//! (`writ policy replay`), and of the policy that decided (`writ policy explain`).

use std::{
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use reqwest::StatusCode;
use serde_json::{Value, json};
use writ_policy::kept::{KeptInput, Lack};
use writ_token_service::{
    audit::{Keep, Record},
    config::{Config, arguments::Rules},
    keys::EncryptionKey,
    store::inputs::Decisions,
};

use crate::{
    harness::{Form, Service, call},
    process::writ,
};

/// As the service's own, but that nobody may echo, and that whoever may do nothing is told so otherwise.
const CLOSED: &str = "package writ\n\ncall := {\"allow\": false, \"reason\": \"echo is over\"} if input.mcp.tool == \"echo\"\n\
    else := {\"allow\": true} if input.mcp.tool == \"personal\"\n\
    else := {\"allow\": true} if input.mcp.method != \"tools/call\"\n\
    else := {\"allow\": false, \"reason\": \"no\"}\n";

/// Looks at arguments.
const ARGUED: &str = "package writ\n\ncall := {\"allow\": false, \"reason\": \"no hi\"} if {\n\tinput.mcp.tool == \"echo\"\n\t\
    input.mcp.arguments.text == \"hi\"\n} else := {\"allow\": input.mcp.tool == \"echo\"}\n";

impl Service {
    async fn calls(&self, tool: &str) -> StatusCode {
        let form = Form::new(&self.caller_token(), &call(tool));
        self.exchange(&form).await.status()
    }

    /// What is kept of the inputs of all decisions.
    async fn kept(&self) -> Vec<Option<KeptInput>> {
        let all = Decisions::default();
        let decided = self.store().decisions_after(&all, 0, 100).await.unwrap();
        decided.into_iter().map(|decided| decided.input).collect()
    }

    async fn last(&self) -> Record {
        self.records().await.pop().unwrap()
    }

    fn candidate(&self, text: &str) -> PathBuf {
        let dir = self.dir.path().join("candidate");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("p.rego"), text).unwrap();
        dir
    }

    /// `writ --json policy …`: the status that it ends with, and what it prints.
    fn policy(&self, arguments: &[&str]) -> (i32, Vec<Value>) {
        let output = self.policy_in_words(&[&["--json"], arguments].concat());
        let lines = output.stdout.split(|b| *b == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        let printed = lines.map(|line| serde_json::from_slice(line).unwrap());
        (output.status.code().unwrap(), printed.collect())
    }

    fn policy_in_words(&self, arguments: &[&str]) -> Output {
        let dir = self.dir.path();
        let mut command = writ(dir);
        command.env("WRIT_POLICY__DIR", dir.join("policy"));
        command.arg("policy").args(arguments).output().unwrap()
    }

    fn replay(&self, candidate: &Path, more: &[&str]) -> (i32, Vec<Value>) {
        let candidate = candidate.display().to_string();
        self.policy(&[&["replay", &candidate], more].concat())
    }
}

fn with_arguments() -> impl FnOnce(&mut writ_token_service::config::Config) {
    |config| config.audit.arguments = Rules::all(Keep::Full)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_flip_is_told_by_agent_and_tool() {
    let service = Service::start_with(with_arguments()).await;
    for tool in ["echo", "echo", "personal", "other"] {
        service.calls(tool).await;
    }
    let last_call = service.last().await.time;
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}});
    service.mint(&list).await;
    let ids: Vec<String> = service.records().await.into_iter().map(|r| r.id).collect();

    let candidate = service.candidate(CLOSED);
    let (status, told) = service.replay(&candidate, &[]);
    assert_eq!(status, 1);
    let [echo, personal, sum] = told.as_slice() else {
        panic!("{told:#?}")
    };
    assert_eq!(
        *echo,
        json!({"fate": "allow_to_deny", "agent": "assistant", "server": "ledger", "method": "tools/call", "target": "echo",
               "count": 2, "examples": [ids[0], ids[1]], "reasons": ["echo is over"]})
    );
    assert_eq!(
        *personal,
        json!({"fate": "deny_to_allow", "agent": "assistant", "server": "ledger", "method": "tools/call", "target": "personal",
               "count": 1, "examples": [ids[2]], "reasons": ["personal data"]})
    );
    assert_eq!(sum["asked"], 5);
    assert_eq!(
        (
            &sum["allow_to_deny"],
            &sum["deny_to_allow"],
            &sum["unasked"]
        ),
        (&json!(2), &json!(1), &json!(0))
    );

    // In words, too.
    let output = service.policy_in_words(&["replay", &candidate.display().to_string()]);
    let words = String::from_utf8(output.stdout).unwrap();
    for part in [
        "5 decisions asked again",
        "3 would flip",
        "tools/call echo",
        "echo is over",
        &ids[2],
    ] {
        assert!(words.contains(part), "{part}\n{words}");
    }

    // Only those that are meant.
    for (more, asked, status) in [
        (["--agent", "assistant"], 5, 1),
        (["--server", "ledger"], 5, 1),
        (["--since", &last_call], 2, 0),
        (["--until", &last_call], 3, 1),
    ] {
        let (ended, told) = service.replay(&candidate, &more);
        assert_eq!(
            (ended, &told.last().unwrap()["asked"]),
            (status, &json!(asked)),
            "{more:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_flips_with_the_policy_that_decided_and_what_cannot_be_told_is_another_status() {
    let service = Service::start().await;
    for tool in ["echo", "other"] {
        service.calls(tool).await;
    }
    let same = service.dir.path().join("policy");
    let (status, told) = service.replay(&same, &[]);
    assert_eq!((status, told.len()), (0, 1), "{told:#?}");
    assert_eq!(told[0]["asked"], 2);

    let broken = service.candidate("package writ\n\ncall := {");
    assert_eq!(service.replay(&broken, &[]).0, 2);
    assert_eq!(service.replay(Path::new("17"), &[]).0, 2);
    assert_eq!(service.replay(&same, &["--agent", "nobody"]).0, 2);
    assert_eq!(service.replay(&same, &["--since", "yesterday"]).0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_are_kept_only_where_somebody_says_so_and_never_guessed() {
    let service = Service::start().await;
    service.calls("echo").await;
    service.calls("other").await;
    let kept = service.kept().await;
    assert!(
        kept.iter()
            .flatten()
            .all(|kept| kept.lacks == Some(Lack::Arguments))
    );
    let all = format!("{kept:?}");
    assert!(
        all.contains("192.0.2.7") && !all.contains("\\\"hi\\\""),
        "{all}"
    );

    let candidate = service.candidate(ARGUED);
    let (status, told) = service.replay(&candidate, &[]);
    assert_eq!(status, 0, "{told:#?}");
    let [unasked, sum] = told.as_slice() else {
        panic!("{told:#?}")
    };
    assert_eq!(
        (&unasked["fate"], &unasked["target"], &unasked["count"]),
        (&json!("arguments"), &json!("echo"), &json!(1))
    );
    // The other call is denied whatever its arguments were.
    assert_eq!((&sum["asked"], &sum["unasked"]), (&json!(1), &json!(1)));

    let service = Service::start_with(with_arguments()).await;
    service.calls("echo").await;
    let (status, told) = service.replay(&service.candidate(ARGUED), &[]);
    assert_eq!((status, &told[0]["reasons"]), (1, &json!(["no hi"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_is_not_kept_and_that_is_said() {
    let service = Service::start_with(with_arguments()).await;
    let mut long = call("echo");
    long["params"]["arguments"]["text"] = "x".repeat(20_000).into();
    service.mint(&long).await;
    let context = json!({"request_id": "req-1", "headers": {"x-long": "x".repeat(20_000)}});
    let form = Form::new(&service.caller_token(), &call("echo"));
    let form = form.with("mcp_context", context.to_string());
    assert_eq!(service.exchange(&form).await.status(), StatusCode::OK);
    let lacks: Vec<_> = service
        .kept()
        .await
        .into_iter()
        .map(|k| k.unwrap().lacks)
        .collect();
    assert_eq!(lacks, [Some(Lack::LongArguments), Some(Lack::Everything)]);

    let (status, told) = service.replay(&service.candidate(ARGUED), &[]);
    assert_eq!(status, 2);
    let fates: Vec<_> = told.iter().map(|one| one["fate"].as_str()).collect();
    assert_eq!(fates, [Some("too_long"), Some("long_arguments"), None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_where_nothing_is_to_be_kept() {
    let service = Service::start_with(|config| config.policy_inputs.keep = Duration::ZERO).await;
    service.calls("echo").await;
    service.report(&json!([denied(Some(input("{}")))])).await;
    assert_eq!(service.kept().await, [None, None]);
    let (status, told) = service.replay(&service.candidate(CLOSED), &[]);
    assert_eq!((status, &told[0]["fate"]), (2, &json!("not_kept")));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_or_secret_is_kept() {
    let service = Service::start_with(with_arguments()).await;
    let token = service.caller_token();
    let answer = service.exchange(&Form::new(&token, &call("echo"))).await;
    let minted: Value = answer.json().await.unwrap();
    let kept = format!("{:?}", service.kept().await);
    assert!(kept.contains("user-agent"), "{kept}");
    for secret in [
        &token,
        minted["access_token"].as_str().unwrap(),
        &service.gateway_secret,
    ] {
        assert!(!kept.contains(secret), "{kept}");
    }
}

/// What a filter asked about a transfer.
fn input(arguments: &str) -> Value {
    let document = format!(
        r#"{{"agent":{{"id":"assistant"}},"server":{{"id":"ledger"}},"subject":{{"id":"alice"}},"request":{{"time":"2026-11-23T18:00:00Z"}},
            "mcp":{{"method":"tools/call","tool":"transfer","arguments":{arguments}}}}}"#
    );
    json!({"document": document})
}

fn denied(input: Option<Value>) -> Value {
    let mut denied = json!({
        "type": "denied", "cause": "policy", "reason": "too much", "policy_revision": "0123456789abcdef",
        "call": {"request_id": "req-9", "time": "2026-11-23T18:00:00Z", "server": "ledger", "method": "tools/call",
                 "target": "transfer", "subject": "alice", "agent": "assistant"},
    });
    if let Some(input) = input {
        denied["input"] = input;
    }
    denied
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_gateway_denied_is_asked_again_where_it_said_what_it_had_asked() {
    let service = Service::start_with(with_arguments()).await;
    let mut elsewhere = input("{}");
    elsewhere["document"] = elsewhere["document"]
        .as_str()
        .unwrap()
        .replace("ledger", "other")
        .into();
    let events = json!([
        denied(Some(input(r#"{"amount": 5000}"#))),
        // An older gateway says nothing, and what makes no sense is as good as nothing.
        denied(None),
        denied(Some(json!({"document": "no JSON"}))),
        denied(Some(elsewhere)),
        denied(Some(json!({"lacks": "everything"}))),
    ]);
    assert_eq!(
        service.report(&events).await.status(),
        StatusCode::NO_CONTENT
    );
    let higher = service.candidate(
        "package writ\n\ncall := {\"allow\": input.mcp.arguments.amount <= 10000, \"reason\": \"more\"}\n",
    );
    let (status, told) = service.replay(&higher, &[]);
    assert_eq!(status, 1);
    let of: Vec<_> = told
        .iter()
        .map(|one| (one["fate"].as_str(), one["count"].as_u64()))
        .collect();
    assert_eq!(
        of,
        [
            (Some("deny_to_allow"), Some(1)),
            (Some("not_kept"), Some(3)),
            (Some("too_long"), Some(1)),
            (None, None),
        ]
    );
    assert_eq!(told[0]["reasons"], json!(["too much"]));
    assert_eq!(told[3]["asked"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_explained_by_the_rules_of_the_policy_that_decided() {
    let service = Service::start_with(with_arguments()).await;
    service.calls("other").await;
    let record = service.last().await;
    let (status, told) = service.policy(&["explain", &record.id]);
    assert_eq!(status, 0, "{told:#?}");
    let told = &told[0];
    assert_eq!(told["record"]["id"], json!(record.id));
    assert_eq!(
        (&told["decided_by"], &told["gateway_said"]),
        (&json!("token_service"), &json!("allow"))
    );
    assert_eq!(told["policy"]["revision"], json!(record.service_policy));
    assert_eq!(
        told["answer"],
        json!({"outcome": "deny", "reason": "only echo is allowed"})
    );
    let rules = told["rules"].as_array().unwrap();
    let on = |line: u64| rules.iter().find(|rule| rule["line"] == line).unwrap();
    assert_eq!(on(3)["held"]["reason"], "only echo is allowed");
    assert_eq!(on(4)["path"], "test.rego");
    assert_eq!(
        on(4)["stopped"],
        json!({"line": 4, "text": "input.mcp.tool == \"echo\""})
    );

    let words = service.policy_in_words(&["explain", &record.id]);
    let words = String::from_utf8(words.stdout).unwrap();
    for part in [
        "denied by the token service",
        "after the gateway had allowed it by revision gateway-revision",
        "test.rego:3 ",
        "line 4: input.mcp.tool == \"echo\"",
    ] {
        assert!(words.contains(part), "{part}\n{words}");
    }

    // What was published is found for as long as there is a trail, whatever is in force.
    let candidate = service.candidate(CLOSED).display().to_string();
    let published = service.policy(&["publish", &candidate, "--message", "m", "--author", "a"]);
    assert_eq!(published.0, 0, "{published:?}");
    service.calls("echo").await;
    let by_published = service.last().await;
    let open = service.dir.path().join("policy").display().to_string();
    let (status, _) = service.policy(&["publish", &open, "--message", "m", "--author", "a"]);
    assert_eq!(status, 0);
    let (_, told) = service.policy(&["explain", &by_published.id]);
    assert_eq!(told[0]["policy"]["origin"], "policy 1");
    assert_eq!(told[0]["answer"]["reason"], "echo is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_explained_is_said() {
    let service = Service::start().await;
    let explain = |id: &str| {
        let output = service.policy_in_words(&["explain", id]);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let refused = |id: &str, why: &str| {
        let (status, _, said) = explain(id);
        assert_eq!(status, Some(1));
        assert!(said.contains(why), "{said}");
    };
    refused("no-such-record", "there is no audit record");

    service.report(&json!([denied(None)])).await;
    refused(&service.last().await.id, "nothing is kept");
    service.report(&json!([denied(Some(input("{}")))])).await;
    refused(
        &service.last().await.id,
        "revision 0123456789abcdef decided this, which was never published",
    );

    let unknown = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/burn", "params": {}});
    let answer = service
        .exchange(&Form::new(&service.caller_token(), &unknown))
        .await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    refused(&service.last().await.id, "no policy decided this");

    // Rules that look at what was not kept are not passed off for what they were.
    let argued = service.candidate(ARGUED).display().to_string();
    let published = service.policy(&["publish", &argued, "--message", "m", "--author", "a"]);
    assert_eq!(published.0, 0, "{published:?}");
    service.calls("echo").await;
    let (status, words, _) = explain(&service.last().await.id);
    assert_eq!(status, Some(0));
    assert!(
        words.contains("what the call carried was not kept"),
        "{words}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_of_which_not_all_is_kept_are_no_arguments_to_ask_with() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("writ.toml");
    let toml = "[keys]\nencryption_key_env = \"SEAL\"\n[audit.arguments]\ndefault = \"redacted\"\nredact = [\"text\"]\n";
    std::fs::write(&file, toml).unwrap();
    let seal = ("SEAL".to_owned(), EncryptionKey::generate().to_string());
    let rules = Config::load(Some(&file), [seal]).unwrap().audit.arguments;
    let service = Service::start_with(|config| config.audit.arguments = rules).await;
    service.calls("echo").await;
    service.calls("other").await;
    let (status, told) = service.replay(&service.candidate(ARGUED), &[]);
    assert_eq!(status, 0, "{told:#?}");
    assert_eq!(
        (&told[0]["fate"], &told[0]["count"]),
        (&json!("redacted_arguments"), &json!(1))
    );
    assert_eq!(
        (&told[1]["asked"], &told[1]["unasked"]),
        (&json!(1), &json!(1))
    );
}
