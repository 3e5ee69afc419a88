//! Who could use a tool and why, and who did: `writ access explain`.

use serde_json::{Value, json};
use writ_token_service::{registry::Status, store::registrations::Registered};

use crate::{
    harness::{Form, RESOURCE, Service, call},
    process::writ,
};

const POLICY: &str = r#"package writ

default call := {"allow": false, "reason": "not for you"}

call := {"allow": true, "reason": "finance may"} if {
	input.mcp.tool == "echo"
	"finance" in input.subject.groups
}

call := {"allow": true} if {
	input.mcp.tool == "pay"
	"finance" in input.subject.groups
	input.mcp.arguments.amount <= 10
}

default visible := {"allow": false}

visible := {"allow": true} if "finance" in input.subject.groups
"#;

/// A service with alice of finance, and bob.
async fn stage() -> Service {
    let service = Service::start().await;
    let mut tx = service.store().write().await.unwrap();
    for (name, groups) in [("alice", r#"["finance"]"#), ("bob", "[]")] {
        sqlx::query("INSERT INTO users (name, password_hash, groups, status, created_at) VALUES ($1, 'none', $2, 'approved', '')")
            .bind(name)
            .bind(groups)
            .execute(tx.conn())
            .await
            .unwrap();
    }
    let consent = "INSERT INTO consents (user_name, client_id, redirect_host, resource, scope, given_at)
                   VALUES ('alice', 'assistant', 'here', $1, 'ledger:read', '2026-11-01T00:00:00.000000Z')";
    sqlx::query(consent)
        .bind(RESOURCE)
        .execute(tx.conn())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let policy = service.dir.path().join("finance");
    std::fs::create_dir(&policy).unwrap();
    std::fs::write(policy.join("p.rego"), POLICY).unwrap();
    let publish = [
        "policy",
        "publish",
        policy.to_str().unwrap(),
        "--message",
        "m",
        "--author",
        "a",
    ];
    assert!(
        writ(service.dir.path())
            .args(publish)
            .status()
            .unwrap()
            .success()
    );
    service
}

impl Service {
    fn explain(&self, arguments: &[&str]) -> (Vec<Value>, String) {
        let mut command = writ(self.dir.path());
        let output = command
            .args(["--json", "access", "explain"])
            .args(arguments)
            .output()
            .unwrap();
        let lines = output
            .stdout
            .split(|b| *b == b'\n')
            .filter(|line| !line.is_empty());
        let told = lines
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        (told, String::from_utf8(output.stderr).unwrap())
    }

    /// Whether, and because of what, the one way there is.
    fn could(&self, arguments: &[&str]) -> [Value; 2] {
        let (told, said) =
            self.explain(&[arguments, &["--agent", "assistant", "--server", "ledger"]].concat());
        assert_eq!(told.len(), 1, "{said} {told:#?}");
        ["could", "because"].map(|member| told[0]["access"][member].clone())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_whether_a_call_could_be_made_why_and_who_made_it() {
    let service = stage().await;
    for (asked, told) in [
        (
            &["alice", "nothing"][..],
            "no server is known to have a tool",
        ),
        (
            &["alice", "echo", "--agent", "nope"],
            "there is no agent \"nope\"",
        ),
    ] {
        let (none, said) = service.explain(asked);
        assert!(none.is_empty() && said.contains(told), "{said}");
    }

    for tool in ["echo", "echo", "other"] {
        service
            .exchange(&Form::new(&service.caller_token(), &call(tool)))
            .await;
    }
    let (told, said) = service.explain(&["alice", "echo"]);
    let [assistant, helper] = told.as_slice() else {
        panic!("{said} {told:#?}")
    };
    let access = &assistant["access"];
    assert_eq!(
        (
            &access["could"],
            &access["because"],
            &access["reason"],
            &access["listed"]
        ),
        (
            &json!("allow"),
            &json!("policy"),
            &json!("finance may"),
            &json!(true)
        )
    );
    assert_eq!(access["rules"], json!(["p.rego:5 data.writ.call"]));
    assert_eq!(assistant["policy"]["origin"], "policy 1");
    assert_eq!(assistant["leave"]["consent"], "2026-11-01T00:00:00.000000Z");
    let uses = &assistant["uses"];
    assert_eq!((&uses["allowed"], &uses["denied"]), (&json!(2), &json!(0)));
    let last = service.records().await[1].time.clone();
    assert_eq!(uses["last_allowed"], last);
    assert_eq!(
        (
            &helper["agent"],
            &helper["leave"],
            &helper["uses"]["allowed"]
        ),
        (&json!("helper"), &Value::Null, &json!(0))
    );

    let words = writ(service.dir.path())
        .args(["access", "explain", "alice", "echo", "--agent", "assistant"])
        .output()
        .unwrap();
    let words = String::from_utf8(words.stdout).unwrap();
    for part in [
        "policy 1",
        "yes",
        "finance may",
        "agreed 2026",
        "2 let through, last",
        "p.rego:5",
    ] {
        assert!(words.contains(part), "{part}\n{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_arguments_decide_that_is_said_and_nothing_is_guessed() {
    let service = stage().await;
    let (told, _) =
        service.explain(&["alice", "pay", "--agent", "assistant", "--server", "ledger"]);
    let access = &told[0]["access"];
    assert_eq!(access["could"], "depends_on_arguments");
    assert_eq!(
        (&access["allowed_without_arguments"], &access["listed"]),
        (&json!(false), &json!(true))
    );
    // Bob's are not looked at.
    assert_eq!(
        service.could(&["bob", "pay"]),
        [json!("deny"), json!("policy")]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stopped_before_any_policy_is_named() {
    let service = stage().await;
    let store = service.store();
    let now = jiff::Timestamp::now();
    let allowed = [json!("allow"), json!("policy")];
    assert_eq!(service.could(&["alice", "echo"]), allowed);
    for (what, id, because) in [
        (Registered::Gateway, "edge", "gateway"),
        (Registered::Agent, "assistant", "agent"),
        (Registered::Server, "ledger", "server"),
    ] {
        store
            .set_status(what, id, Status::Disabled, None, now)
            .await
            .unwrap();
        assert_eq!(
            service.could(&["alice", "echo"]),
            [json!("deny"), json!(because)]
        );
        store
            .set_status(what, id, Status::Approved, None, now)
            .await
            .unwrap();
    }
    let switch = |to: &str| {
        writ(service.dir.path())
            .args(["user", to, "alice"])
            .status()
            .unwrap()
    };
    assert!(switch("disable").success());
    assert_eq!(
        service.could(&["alice", "echo"]),
        [json!("deny"), json!("subject")]
    );
    assert!(switch("enable").success());
    let nobody = writ_policy::stops::Lockdown::default();
    store.lock_down(Some(&nobody), None, now).await.unwrap();
    assert_eq!(
        service.could(&["alice", "echo"]),
        [json!("deny"), json!("lockdown")]
    );
    store.lock_down(None, None, now).await.unwrap();
    // The assistant acts for users only.
    assert_eq!(
        service.could(&["assistant", "echo"]),
        [json!("deny"), json!("grant")]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_tool_alone_it_says_who_could_and_who_did_even_through_what_is_gone() {
    let service = stage().await;
    service
        .exchange(&Form::new(&service.caller_token(), &call("echo")))
        .await;
    service
        .store()
        .remove(Registered::Agent, "assistant", jiff::Timestamp::now())
        .await
        .unwrap();
    let (told, said) = service.explain(&["echo"]);
    let ways: Vec<_> = told
        .iter()
        .map(|one| {
            [
                &one["subject"],
                &one["agent"],
                &one["access"]["could"],
                &one["uses"]["allowed"],
            ]
        })
        .collect();
    assert_eq!(
        ways,
        [
            [
                &json!("alice"),
                &json!("assistant"),
                &Value::Null,
                &json!(1)
            ],
            [
                &json!("alice"),
                &json!("helper"),
                &json!("allow"),
                &json!(0)
            ],
        ],
        "{said}"
    );
    let (told, said) = service.explain(&["nobody", "echo"]);
    assert!(
        told.is_empty() && said.contains("\"nobody\" is no user or agent"),
        "{said}"
    );
}
