//! The `writ` program: its output, its errors, and what it keeps when it is killed.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use jiff::Timestamp;
use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use writ_token_service::{
    clock::{SystemClock, unix},
    config::Config,
    keys::Keys,
    secret,
    store::Store,
};

use crate::{
    database,
    harness::{AUDIENCE, Form, RESOURCE, call, place},
    waiting::until,
};

const ALLOW: &str = "package writ\nimport rego.v1\ncall := {\"allow\": true}\n";

pub fn writ(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_writ"));
    command
        .env_clear()
        .env("WRIT_DATA_DIR", dir.join("data"))
        .env("WRIT_PUBLIC__LISTEN", "127.0.0.1:0")
        .env("WRIT_GATEWAY__LISTEN", "127.0.0.1:0")
        .env("WRIT_ISSUER", "https://writ.test")
        .stdin(Stdio::null());
    if let Some(url) = database::url_of(&dir.join("data")) {
        command.env("WRIT_STORE_URL", url.as_str());
    }
    command
}

pub fn run(dir: &Path, arguments: &[&str]) -> Output {
    writ(dir).args(arguments).output().unwrap()
}

/// The one JSON object that a command prints.
pub fn json_of(dir: &Path, arguments: &[&str]) -> Value {
    let output = run(dir, arguments);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

struct Serving {
    child: Child,
    gateway: String,
}

fn serve(dir: &Path) -> Serving {
    let mut child = writ(dir)
        .arg("serve")
        .env("WRIT_POLICY__DIR", dir.join("policy"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let public = lines.next().unwrap();
    assert!(
        public.starts_with("listening public http://127.0.0.1:"),
        "{public}"
    );
    let gateway = lines
        .next()
        .unwrap()
        .strip_prefix("listening gateway ")
        .unwrap()
        .to_owned();
    assert_eq!(lines.next().unwrap(), "ready");
    Serving { child, gateway }
}

pub fn registered() -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("policy")).unwrap();
    std::fs::write(dir.path().join("policy/allow.rego"), ALLOW).unwrap();
    let at = dir.path();
    let server = [
        "--resource",
        RESOURCE,
        "--audience",
        AUDIENCE,
        "--enforcement",
        "introspect",
    ];
    json_of(
        at,
        &[&["--json", "server", "add", "ledger"], server.as_slice()].concat(),
    );
    let agent = [
        "--name",
        "Assistant",
        "--auth",
        "none",
        "--redirect-uri",
        "http://127.0.0.1/cb",
    ];
    json_of(
        at,
        &[&["--json", "agent", "add", "assistant"], agent.as_slice()].concat(),
    );
    let gateway = json_of(
        at,
        &["gateway", "add", "edge", "--server", "ledger", "--json"],
    );
    (dir, gateway["secret"].as_str().unwrap().to_owned())
}

async fn caller_token(dir: &Path) -> String {
    let data_dir = dir.join("data").display().to_string();
    let mut config = Config::load(None, [("WRIT_DATA_DIR".to_owned(), data_dir)]).unwrap();
    config.store = Some(place(&config.data_dir));
    let store = Store::open(&config.place()).await.unwrap();
    let keys = Keys::open(&store, &config, Arc::new(SystemClock))
        .await
        .unwrap();
    let now = unix(Timestamp::now());
    keys.sign(&json!({
        "iss": "https://writ.test", "sub": "alice", "aud": RESOURCE, "client_id": "assistant", "scope": "",
        "iat": now, "exp": now + 600, "jti": secret::new_id(), "subject_type": "user", "agent_authn": "none",
    }))
    .unwrap()
}

/// Mints until the service is gone; the tokens that were answered.
async fn minted_until_it_is_gone(
    url: String,
    secret: String,
    form: Form,
    answered: Arc<AtomicUsize>,
) -> Vec<String> {
    let http = Client::new();
    let mut tokens = Vec::new();
    loop {
        let request = http.post(&url).basic_auth("edge", Some(&secret));
        let Ok(response) = request.form(&form.0).send().await else {
            return tokens;
        };
        let Ok(answer) = response.json::<Value>().await else {
            return tokens;
        };
        tokens.push(answer["jti"].as_str().unwrap().to_owned());
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answered_mint_survives_kill_9_whatever_is_in_flight() {
    const CALLERS: usize = 8;
    const ROUNDS: usize = 3;
    let (dir, secret) = registered();
    // An error says that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let form = Form::new(&caller_token(dir.path()).await, &call("echo"));
    let mut answered = Vec::new();
    for _ in 0..ROUNDS {
        let mut serving = serve(dir.path());
        let count = Arc::new(AtomicUsize::new(0));
        let callers = (0..CALLERS).map(|_| {
            let url = format!("{}/oauth/token", serving.gateway);
            minted_until_it_is_gone(url, secret.clone(), form.clone(), Arc::clone(&count))
        });
        let callers: JoinSet<_> = callers.collect();
        until("enough mints", async || {
            (count.load(Ordering::Relaxed) >= 50).then_some(())
        })
        .await;
        serving.child.kill().unwrap();
        serving.child.wait().unwrap();
        answered.extend(callers.join_all().await.into_iter().flatten());
    }
    // It makes leaves of what the killed ones have left.
    let mut serving = serve(dir.path());
    let ended = Command::new("kill")
        .args(["-TERM", &serving.child.id().to_string()])
        .status();
    assert!(ended.unwrap().success());
    assert!(serving.child.wait().unwrap().success());
    let list = [
        "audit", "list", "--json", "--kind", "mint", "--limit", "1000",
    ];
    let listed = run(dir.path(), &list);
    let kept = listed.stdout.split(|b| *b == b'\n');
    let kept: BTreeSet<String> = kept
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice::<Value>(line).unwrap())
        .map(|record| record["token_id"].as_str().unwrap().to_owned())
        .collect();
    assert!(answered.iter().all(|token| kept.contains(token)));
    // What was in flight may be there, and nothing else.
    assert!(kept.len() <= answered.len() + ROUNDS * CALLERS);
    let verified = json_of(dir.path(), &["audit", "verify", "--json"]);
    assert_eq!(verified["intact"]["checkpoint"], verified["intact"]["size"]);
}

#[test]
fn the_service_ends_in_order_when_it_is_told_to() {
    let (dir, _) = registered();
    let mut serving = serve(dir.path());
    let told = Command::new("kill")
        .args(["-TERM", &serving.child.id().to_string()])
        .status()
        .unwrap();
    assert!(told.success());
    assert!(serving.child.wait().unwrap().success());
}

#[test]
fn tail_shows_records_as_they_come() {
    let (dir, _) = registered();
    let mut tail = writ(dir.path())
        .args(["audit", "tail", "--json", "--limit", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert!(lines.next().unwrap().contains("gateway add"));
    run(dir.path(), &["agent", "disable", "assistant"]);
    let next: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
    assert_eq!(next["method"], "agent disable");
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[test]
fn what_is_wrong_with_the_configuration_or_the_policy_stops_the_start_and_says_where() {
    let (dir, _) = registered();
    let config = dir.path().join("writ.toml");
    let fails = |message: &[&str]| {
        let output = writ(dir.path())
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .output()
            .unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        for part in message {
            assert!(said.contains(part), "{said}");
        }
    };
    std::fs::write(&config, "[tokens]\nminted_ttl = \"5m\"\n").unwrap();
    fails(&["writ.toml", "tokens.minted_ttl", "between 1s and 1m"]);
    std::fs::write(&config, "[gatway]\nlisten = \"x\"\n").unwrap();
    fails(&["writ.toml", "gatway", "line 1"]);
    std::fs::write(
        &config,
        format!("[policy]\ndir = {:?}\n", dir.path().join("policy")),
    )
    .unwrap();
    std::fs::write(
        dir.path().join("policy/broken.rego"),
        "package writ\n\ncall := {",
    )
    .unwrap();
    fails(&["broken.rego", "3"]);
}

#[test]
fn a_secret_is_printed_once_and_never_listed() {
    let (dir, secret) = registered();
    let listed = run(dir.path(), &["gateway", "list", "--json"]);
    assert!(!String::from_utf8_lossy(&listed.stdout).contains(&secret));
    let mut user = writ(dir.path())
        .args([
            "user",
            "add",
            "alice",
            "--group",
            "finance",
            "--password-stdin",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    user.stdin
        .take()
        .unwrap()
        .write_all(b"correct horse battery staple\n")
        .unwrap();
    let mut printed = String::new();
    user.stdout
        .take()
        .unwrap()
        .read_to_string(&mut printed)
        .unwrap();
    assert!(user.wait().unwrap().success());
    assert_eq!(printed, "user alice added\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_registered_before_there_were_kinds_becomes_one_and_a_gateway_can_be_removed() {
    let (dir, secret) = registered();
    let gateways = || json_of(dir.path(), &["gateway", "list", "--json"]);
    let before = gateways();
    let id = before["id"].as_str().unwrap();
    assert_eq!(before["kind"], "gateway");
    let done = json_of(
        dir.path(),
        &["gateway", "update", id, "--kind", "guard", "--json"],
    );
    assert_eq!(done["done"], "a guard now");
    let mut after = before.clone();
    after["kind"] = json!("guard");
    assert_eq!(gateways(), after, "nothing else of it changes");

    let mut serving = serve(dir.path());
    // An error says that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let consume = async || {
        let request = Client::new()
            .post(format!("{}/gateway/v1/consume", serving.gateway))
            .basic_auth(id, Some(&secret))
            .json(&json!({"server": "ledger", "token": "t", "source_ip": "", "request_id": "r"}));
        request.send().await.unwrap().status().as_u16()
    };
    let as_guard = consume().await;
    let removed = run(dir.path(), &["gateway", "remove", id]);
    let removed_one = consume().await;
    serving.child.kill().unwrap();
    serving.child.wait().unwrap();
    assert!(removed.status.success());
    assert_eq!((as_guard, removed_one), (200, 401));
    for arguments in [
        ["gateway", "remove", id].as_slice(),
        &["gateway", "update", id, "--kind", "gateway"],
    ] {
        let told = run(dir.path(), arguments).stderr;
        let told = String::from_utf8_lossy(&told).into_owned();
        assert!(told.contains("writ gateway list"), "{told}");
    }
}

#[test]
fn registrations_that_make_no_sense_are_refused_with_what_to_do() {
    let (dir, _) = registered();
    let cases: [(&[&str], &str); 9] = [
        (
            &["agent", "add", "a", "--name", "A", "--auth", "none"],
            "--redirect-uri",
        ),
        (
            &["agent", "add", "a", "--name", "A", "--auth", "key"],
            "--jwks",
        ),
        (
            &[
                "agent",
                "add",
                "assistant",
                "--name",
                "A",
                "--auth",
                "secret",
            ],
            "exists already",
        ),
        (
            &["gateway", "add", "g", "--server", "nowhere"],
            "writ server list",
        ),
        (&["server", "disable", "nowhere"], "writ server list"),
        (
            &["agent", "add", "a", "--name", "A", "--auth", "workload"],
            "--spiffe-id",
        ),
        (
            &[
                "agent",
                "add",
                "a",
                "--name",
                "A",
                "--auth",
                "workload",
                "--spiffe-id",
                "example.org/a",
            ],
            "spiffe://TRUST-DOMAIN/PATH",
        ),
        (
            &[
                "agent",
                "add",
                "a",
                "--name",
                "A",
                "--auth",
                "key",
                "--jwks-uri",
                "http://a.test/keys",
            ],
            "https",
        ),
        (
            &[
                "agent",
                "add",
                "a",
                "--name",
                "A",
                "--auth",
                "none",
                "--redirect-uri",
                "http://evil.test/",
            ],
            "loopback",
        ),
    ];
    for (arguments, hint) in cases {
        let output = run(dir.path(), arguments);
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(hint), "{said}");
    }
}

#[test]
fn the_kill_switch_says_what_it_did_and_why_is_on_record() {
    let (dir, _) = registered();
    let at = dir.path();
    let id = secret::new_id();
    for (arguments, told) in [
        (
            vec!["revoke", "--jti", &id],
            json!({"revoked": "jti", "id": id}),
        ),
        (
            vec!["revoke", "--txn", &id],
            json!({"revoked": "txn", "id": id}),
        ),
        (
            vec!["revoke", "--agent", "assistant"],
            json!({"revoked": "agent", "id": "assistant"}),
        ),
        (
            vec!["agent", "disable", "assistant"],
            json!({"id": "assistant", "status": "disabled"}),
        ),
        (
            vec!["server", "disable", "ledger"],
            json!({"id": "ledger", "status": "disabled"}),
        ),
        (
            vec!["gateway", "disable", "edge"],
            json!({"id": "edge", "status": "disabled"}),
        ),
        (
            vec!["agent", "enable", "assistant"],
            json!({"id": "assistant", "status": "approved"}),
        ),
        (
            vec![
                "lockdown",
                "--allow",
                "subject:alice",
                "--allow",
                "server:ledger",
            ],
            json!({"lockdown": {"subjects": ["alice"], "servers": ["ledger"]}}),
        ),
        (vec!["lockdown", "--off"], json!({"lockdown": null})),
    ] {
        let why = ["--reason", "a drill", "--json"];
        assert_eq!(json_of(at, &[&arguments[..], &why].concat()), told);
        let last = json_of(at, &["audit", "list", "--limit", "1", "--json"]);
        assert_eq!(last["reason"], "a drill", "{arguments:?}");
    }
    for wrong in [
        vec!["revoke"],
        vec!["revoke", "--jti", "typo"],
        vec!["revoke", "--jti", &id, "--txn", &id],
        vec!["revoke", "--agent", "nobody"],
        vec!["lockdown", "--allow", "alice"],
        vec!["lockdown", "--allow", "gateway:edge"],
        vec!["lockdown", "--off", "--allow", "subject:alice"],
    ] {
        let output = writ(at).args(&wrong).output().unwrap();
        assert!(!output.status.success(), "{wrong:?}");
    }
}
