//! What is kept of what calls carry: as the configuration says for each tool, encrypted, shown to whoever administers, and gone with
//! the person.

use std::path::Path;

use serde_json::{Value, json};
use writ_token_service::{
    audit::{Keep, Kind, Record},
    config::{Config, arguments::Rules},
    keys::EncryptionKey,
    secret,
    store::inputs::Decisions,
};

use crate::{
    harness::{Form, Service, call},
    process::writ,
};

/// What is in a call's arguments.
const IBAN: &str = "DE02120300000000202051";

/// As a configuration file says it.
fn rules(toml: &str) -> Rules {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("writ.toml");
    std::fs::write(
        &file,
        format!("[keys]\nencryption_key_env = \"SEAL\"\n{toml}"),
    )
    .unwrap();
    let key = writ_token_service::keys::EncryptionKey::generate();
    let environment = [("SEAL".to_owned(), key.to_string())];
    Config::load(Some(&file), environment)
        .unwrap()
        .audit
        .arguments
}

impl Service {
    /// The record of a call of `tool`.
    async fn transferred(&self, tool: &str) -> Record {
        let mut call = call(tool);
        call["params"]["arguments"] = json!({"amount": 0.1, "to": {"iban": IBAN, "name": "Bob"}});
        self.exchange(&Form::new(&self.caller_token(), &call)).await;
        let mut records = self.records().await;
        // That a tool is new is told of after its first call.
        records.retain(|record| record.kind != Kind::Rogue);
        records.pop().unwrap()
    }

    fn audit(&self, arguments: &[&str]) -> (bool, Value, String) {
        let mut command = writ(self.dir.path());
        let output = command.arg("--json").args(arguments).output().unwrap();
        let printed = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), printed, said)
    }
}

fn kept(record: &Record) -> Option<&str> {
    record.detail.as_ref()?.get("arguments")?["kept"].as_str()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_of_arguments_is_said_for_each_tool() {
    let rules = rules(
        "[audit.arguments.servers.ledger]\ndefault = \"redacted\"\nredact = [\"iban\"]\ntools.echo = \"full\"\ntools.personal = \"none\"\n\
         tools.other = \"digest\"\n",
    );
    let service = Service::start_with(|config| config.audit.arguments = rules).await;
    let whole = json!({"arguments": {"amount": 0.1, "to": {"iban": IBAN, "name": "Bob"}}});
    let mut redacted = whole.clone();
    redacted["arguments"]["to"]["iban"] = "[redacted]".into();
    // Echo and brief are allowed, the others denied.
    for (tool, word, carried) in [
        ("echo", Some("full"), whole),
        ("brief", Some("redacted"), redacted.clone()),
        ("another", Some("redacted"), redacted),
        ("personal", None, Value::Null),
        ("other", Some("digest"), Value::Null),
    ] {
        let record = service.transferred(tool).await;
        assert_eq!(record.target.as_deref(), Some(tool));
        assert_eq!(kept(&record), word, "{tool}");
        let (_, shown, said) = service.audit(&["audit", "show", &record.id]);
        assert_eq!(shown["carried"], carried, "{tool}: {said}");
        let in_clear = format!(
            "{record:?}{:?}",
            service.store().kept_arguments(&record.id).await
        );
        assert!(
            !in_clear.contains(IBAN) && !in_clear.contains("Bob"),
            "{in_clear}"
        );
    }
    let all = Decisions::default();
    let inputs = service.store().decisions_after(&all, 0, 10).await.unwrap();
    let inputs = format!("{inputs:?}");
    assert!(
        inputs.contains("192.0.2.7") && !inputs.contains(IBAN) && !inputs.contains("Bob"),
        "{inputs}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_no_policy_was_asked_about_has_its_arguments_kept_too() {
    let service = Service::start_with(|config| {
        config.policy_inputs.keep = std::time::Duration::ZERO;
        config.audit.arguments = Rules::all(Keep::Full);
    })
    .await;
    let mut form = Form::new(&service.caller_token(), &call("echo"));
    form = form.with(
        "mcp_context",
        json!({"request_id": "r", "task": secret::new_id()}).to_string(),
    );
    service.exchange(&form).await;
    let record = service.records().await.pop().unwrap();
    assert_eq!(record.detail.as_ref().unwrap()["cause"], "task");
    let (_, shown, _) = service.audit(&["audit", "show", &record.id]);
    assert_eq!(shown["carried"], json!({"arguments": {"text": "hi"}}));
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_are_erased_with_the_person() {
    let service =
        Service::start_with(|config| config.audit.arguments = Rules::all(Keep::Full)).await;
    let record = service.transferred("echo").await;
    let store = service.store();
    assert!(store.kept_arguments(&record.id).await.unwrap().is_some());
    let subject = record.subject.unwrap();
    let (done, _, said) = service.audit(&["user", "erase", &subject, "--reason", "asked"]);
    assert!(done, "{said}");
    assert_eq!(store.kept_arguments(&record.id).await.unwrap(), None);
    let (_, shown, _) = service.audit(&["audit", "show", &record.id]);
    assert_eq!(
        (&shown["carried"], &shown["record"]["detail"]),
        (&Value::Null, &Value::Null)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_arguments_can_find_out_whether_they_were_these() {
    let service = Service::start().await;
    let (one, other) = (
        service.transferred("echo").await,
        service.transferred("echo").await,
    );
    let digest = |record: &Record| record.detail.as_ref().unwrap()["arguments"]["digest"].clone();
    assert!(digest(&one).is_string());
    assert_ne!(digest(&one), digest(&other));
    let file = |name: &str, text: &str| {
        let path = service.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let these = file(
        "these.json",
        &format!(r#"{{"to": {{"name": "Bob", "iban": "{IBAN}"}}, "amount": 0.10}}"#),
    );
    let others = file(
        "others.json",
        &format!(r#"{{"to": {{"name": "Bob", "iban": "{IBAN}"}}, "amount": 0.2}}"#),
    );
    let asked = |file: &str| service.audit(&["audit", "show", &one.id, "--arguments", file]);
    let (same, printed, said) = asked(&these);
    assert!(same && printed["same"] == true, "{printed} {said}");
    let (same, _, said) = asked(&others);
    assert!(!same && said.contains("other arguments"), "{said}");
    let missing = Path::new("nowhere.json").display().to_string();
    assert!(asked(&missing).2.contains("cannot read nowhere.json"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_shown_to_whoever_has_no_key_to_what_the_call_carried() {
    let service = Service::start_with(|config| {
        config.keys.sealing = EncryptionKey::parse(&EncryptionKey::generate(), "SEAL").ok();
        config.audit.arguments = Rules::all(Keep::Full);
    })
    .await;
    let record = service.transferred("echo").await;
    let (done, shown, said) = service.audit(&["audit", "show", &record.id]);
    assert!(done, "{said}");
    assert_eq!(
        (&shown["record"]["id"], &shown["carried"]),
        (&json!(record.id), &Value::Null)
    );
    let mut command = writ(service.dir.path());
    let words = command
        .args(["audit", "show", &record.id])
        .output()
        .unwrap();
    let words = String::from_utf8(words.stdout).unwrap();
    assert!(words.contains("keys.encryption_key_file"), "{words}");
}
