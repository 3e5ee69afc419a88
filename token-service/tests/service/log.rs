//! The log over the trail: it holds what was committed, and says so to whoever looks.

use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use writ_token_service::{
    audit::{Kind, Record},
    log::{
        checkpoint::{Head, NoteKey, PublicKey},
        erase, keep, sequence,
        tree::{self, Tiles},
        verify::{self, Fault, Intact, Verifier, VerifyError},
    },
    store::{Store, audit::Filter},
};

use crate::{
    database,
    harness::{Service, call, place, python},
    waiting::until,
};

/// A store with a log of some records.
pub struct Log {
    pub dir: tempfile::TempDir,
    pub store: Store,
    pub key: NoteKey,
}

impl Log {
    pub async fn of(records: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&place(dir.path())).await.unwrap();
        let key = keep::key(&store, &None, "https://writ.example")
            .await
            .unwrap();
        let log = Self { dir, store, key };
        log.grow(records).await;
        log
    }

    /// Records of calls by alice and bob in turn, then a checkpoint.
    pub async fn grow(&self, records: usize) {
        for n in 0..records {
            let mut record = Record::new(Kind::Mint, Timestamp::now());
            record.subject = Some(if n % 2 == 0 { "alice" } else { "bob" }.to_owned());
            record.agent = Some("assistant".to_owned());
            record.method = Some("tools/call".to_owned());
            record.target = Some(format!("tool-{n}"));
            record.detail = Some(serde_json::json!({"n": n}));
            self.store.record(record).await.unwrap();
        }
        let size = sequence::catch_up(&self.store).await.unwrap();
        keep::sign(&self.store, &self.key, size, Timestamp::now())
            .await
            .unwrap();
    }

    fn trusted(&self) -> PublicKey {
        PublicKey::parse(&self.key.public()).unwrap()
    }

    pub async fn heads(&self) -> Vec<Head> {
        let kept = self.store.checkpoints().await.unwrap();
        let read =
            |kept: &writ_token_service::store::log::Signed| Head::read(&kept.note, &self.trusted());
        kept.iter().map(read).collect::<Result<_, _>>().unwrap()
    }

    pub async fn verify(&self) -> Result<Intact, VerifyError> {
        let verifier = Verifier::new(self.heads().await)?;
        verify::database(&self.store, verifier).await
    }

    pub async fn fault(&self) -> Fault {
        match self.verify().await {
            Err(VerifyError::Fault(fault)) => fault,
            other => panic!("{other:?}"),
        }
    }

    /// What somebody does who has the database, and takes the triggers off first.
    pub async fn tamper(&self, statements: &[&str]) {
        let mut conn = database::connect(self.dir.path()).await;
        database::drop_triggers(self.dir.path(), &mut conn).await;
        for statement in statements {
            let statement = AssertSqlSafe((*statement).to_owned());
            sqlx::query(statement).execute(&mut conn).await.unwrap();
        }
    }
}

/// `writ --json audit …` on its database: status, output, errors.
pub fn audit(dir: &Path, arguments: &[&str]) -> (bool, String, String) {
    writ(dir, &[&["audit"], arguments].concat())
}

fn writ(dir: &Path, arguments: &[&str]) -> (bool, String, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_writ"));
    command.env_clear();
    if let Some(url) = database::url_of(dir) {
        command.env("WRIT_STORE_URL", url.as_str());
    }
    let output = command
        .arg("--data-dir")
        .arg(dir)
        .arg("--json")
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.success(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[tokio::test]
async fn what_was_committed_is_in_the_log_in_its_order_and_verifies() {
    let log = Log::of(5).await;
    log.grow(300).await;
    let intact = log.verify().await.unwrap();
    assert_eq!((intact.size, intact.checkpoint), (305, Some(305)));
    let entries = log
        .store
        .records_after(&Filter::default(), 0, 1000)
        .await
        .unwrap();
    let places: Vec<i64> = entries.iter().map(|e| e.leaf.unwrap()).collect();
    assert_eq!(places, (0..305).collect::<Vec<_>>());
    assert_eq!(log.store.unsequenced_count().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_ends_has_signed_all_that_was_committed() {
    let service = Service::start().await;
    let key = PublicKey::parse(&service.running.app.log_key.public()).unwrap();
    for _ in 0..3 {
        service.mint(&call("echo")).await;
    }
    let elsewhere = service.elsewhere().await;
    service.running.stop().await;
    assert_eq!(elsewhere.unsequenced_count().await.unwrap(), 0);
    let newest = elsewhere.newest_checkpoint().await.unwrap().unwrap();
    let head = Head::read(&newest.note, &key).unwrap();
    assert_eq!(head.size, elsewhere.log_state().await.unwrap().size);
    let verifier = Verifier::new([head]).unwrap();
    verify::database(&elsewhere, verifier).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_could_not_be_laid_down_is_when_it_can_though_nothing_came_since() {
    let elsewhere = tempfile::tempdir().unwrap();
    let mounted = elsewhere.path().join("mounted");
    let service = Service::start_with(|config| {
        config.audit.checkpoint_interval = std::time::Duration::from_millis(1);
        config.audit.checkpoint_dir = Some(mounted.clone());
    })
    .await;
    service.mint(&call("echo")).await;
    let all = service.store().last_record().await.unwrap();
    let signed = until("checkpoint of it all", async || {
        let newest = service.store().newest_checkpoint().await.unwrap()?;
        (newest.size == all as u64).then_some(newest.size)
    });
    let signed = signed.await;
    std::fs::create_dir(&mounted).unwrap();
    let file = mounted.join(format!("{signed:020}.checkpoint"));
    until("checkpoint in its place", async || {
        file.exists().then_some(())
    })
    .await;
    service.running.stop().await;
}

#[tokio::test]
async fn two_who_make_leaves_at_once_make_each_once() {
    let log = Log::of(0).await;
    let other = Store::open(&place(log.dir.path())).await.unwrap();
    for n in 0..20 {
        let record = Record::admin(Timestamp::now(), "test", &n.to_string());
        log.store.record(record).await.unwrap();
        let (one, two) = tokio::join!(sequence::catch_up(&log.store), sequence::catch_up(&other));
        assert_eq!((one.unwrap(), two.unwrap()), (n + 1, n + 1));
    }
    assert_eq!(log.verify().await.unwrap().size, 20);
}

#[tokio::test]
async fn what_is_said_about_a_person_is_as_it_was_or_erased_on_record() {
    let id = "(SELECT id FROM audit WHERE seq = 4)";
    for change in [
        "subject = 'carol'",
        "reason = 'was not me'",
        "detail = '{}'",
        "salt = '00'",
        "source_ip = '192.0.2.1'",
    ] {
        let log = Log::of(8).await;
        let change = format!("UPDATE audit_personal SET {change} WHERE record = {id}");
        log.tamper(&[&change]).await;
        let fault = log.fault().await;
        assert!(
            matches!(fault, Fault::PersonChanged { index: 3, .. }),
            "{change}: {fault}"
        );
    }
    let log = Log::of(8).await;
    let erased = format!(
        "UPDATE audit_personal SET salt = NULL, subject = NULL, detail = NULL, erased_by = 'nobody' WHERE record = {id}"
    );
    log.tamper(&[&erased]).await;
    assert!(matches!(
        log.fault().await,
        Fault::PersonGone { index: 3, .. }
    ));
}

#[tokio::test]
async fn a_person_is_erased_and_the_log_still_verifies() {
    let log = Log::of(8).await;
    let erased = erase::erase(&log.store, "alice", "their wish", Timestamp::now()).await;
    assert_eq!(erased.unwrap(), 4);
    let intact = log.verify().await.unwrap();
    assert_eq!((intact.size, intact.erased), (9, 4));
    let left = log
        .store
        .newest_records(&Filter::default(), 100)
        .await
        .unwrap();
    let about = |e: &&writ_token_service::store::audit::Entry| e.erased_by.is_some();
    assert_eq!(left.iter().filter(about).count(), 4);
    for entry in left.iter().filter(about) {
        let said = serde_json::to_string(&entry.record).unwrap();
        assert!(!said.contains("alice") && !said.contains("\"n\""), "{said}");
        assert!(
            said.contains("tool-") && said.contains("assistant"),
            "{said}"
        );
    }
    // One more, that the erasure on record says nothing of.
    log.tamper(&["UPDATE audit_personal SET salt = NULL, subject = NULL, detail = NULL,
                  erased_by = (SELECT erased_by FROM audit_personal WHERE erased_by IS NOT NULL LIMIT 1)
                  WHERE record = (SELECT id FROM audit WHERE seq = 4)"])
        .await;
    assert!(matches!(log.fault().await, Fault::PersonGone { .. }));
}

#[tokio::test]
async fn what_administrators_said_of_a_person_and_what_tells_whose_a_call_was_goes_with_them() {
    let log = Log::of(2).await;
    let said = |command: &str, of: &str, detail: Value| Record {
        detail: Some(detail),
        ..Record::admin(Timestamp::now(), command, of)
    };
    for record in [
        said("revoke", "alice", json!({"what": "subject"})),
        said("revoke", "alice", json!({"what": "agent"})),
        said(
            "lockdown",
            "on",
            json!({"allow": {"subjects": ["alice", "bob"]}}),
        ),
        said(
            "lockdown",
            "on",
            json!({"allow": {"subjects": ["bob"], "agents": ["alice"]}}),
        ),
    ] {
        log.store.record(record).await.unwrap();
    }
    let mut conn = database::connect(log.dir.path()).await;
    for told in [
        "INSERT INTO tasks (id, txn, subject, agent, purpose, tools, opened_at, expires_at)
         VALUES ('t', 'x', 'alice', 'assistant', 'hers', '{}', '', ''), ('u', 'y', 'bob', 'assistant', 'his', '{}', '', '')",
        "INSERT INTO task_calls (subject, agent, day, calls) VALUES ('alice', 'assistant', '2026-11-30', 1)",
    ] {
        sqlx::query(told).execute(&mut conn).await.unwrap();
    }
    let erased = erase::erase(&log.store, "alice", "their wish", Timestamp::now()).await;
    assert_eq!(erased.unwrap(), 3);
    let left = "SELECT id FROM tasks UNION ALL SELECT subject FROM task_calls";
    let left: Vec<String> = sqlx::query_scalar(left).fetch_all(&mut conn).await.unwrap();
    assert_eq!(left, ["u"]);
    let records = log
        .store
        .newest_records(&Filter::default(), 100)
        .await
        .unwrap();
    let records = records
        .iter()
        .map(|e| serde_json::to_string(&e.record).unwrap());
    // The agent that has her name.
    assert_eq!(records.filter(|record| record.contains("alice")).count(), 2);
    log.verify().await.unwrap();
}

#[tokio::test]
async fn what_shows_nothing_and_what_is_nobody_is_no_success() {
    let log = Log::of(2).await;
    let dir = log.dir.path();
    let empty = dir.join("empty.jsonl");
    std::fs::write(&empty, "").unwrap();
    let key = dir.join("key.jsonl");
    let line = json!({"key": log.key.public()}).to_string();
    std::fs::write(&key, line).unwrap();
    let (empty, key) = (empty.to_str().unwrap(), key.to_str().unwrap());
    let public = log.key.public();
    for (arguments, told) in [
        (
            &["verify", empty, "--key", &public][..],
            "no export of a log",
        ),
        (&["verify", key], "no record in it, and no checkpoint"),
        (&["list", "--before", "nonsense"], "a record's id is a UUID"),
        (
            &["list", "--trace", "nonsense"],
            "a trace's id has 32 digits",
        ),
    ] {
        let (ok, _, said) = audit(dir, arguments);
        assert!(!ok && said.contains(told), "{said}");
    }
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert!(audit(dir, &["list", "--trace", parent]).0);
    let export = dir.join("log.jsonl");
    assert!(audit(dir, &["export", "--output", export.to_str().unwrap()]).0);
    let mode = std::os::unix::fs::PermissionsExt::mode(&export.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    let erased = |name: &str, reason: &str| {
        let (ok, _, said) = writ(dir, &["user", "erase", name, "--reason", reason]);
        (ok, said)
    };
    let (ok, said) = erased("alic", "a typo");
    assert!(!ok && said.contains("nobody is called \"alic\""), "{said}");
    let (ok, said) = erased("alice", "");
    assert!(!ok && said.contains("a reason has"), "{said}");
    assert!(erased("alice", "their wish").0);
    let last = log
        .store
        .newest_records(&Filter::default(), 1)
        .await
        .unwrap();
    let by = last[0].record.subject.as_deref().unwrap_or_default();
    assert!(by.starts_with("os:") && by.len() > 3, "{by}");
}

/// Whoever also makes all hashes anew cannot sign it; and who has the key, too, is found out by a checkpoint that lies elsewhere.

#[tokio::test]
async fn what_the_log_says_of_a_record_is_proved_by_few_hashes() {
    let log = Log::of(700).await;
    let head = log.heads().await.pop().unwrap();
    let (size, index) = (head.size, 333);
    let wanted = tree::for_record(size, index);
    assert!(wanted.len() <= 5, "{wanted:?}");
    let tiles: Tiles = log.store.tiles(wanted).await.unwrap();
    let proof = tiles.prove_record(size, index).unwrap();
    let logged = log.store.logged(index, 1).await.unwrap().remove(0);
    let leaf = logged.leaf.hash().unwrap();
    tlog_tiles::check_record(&proof, size, head.root, index, leaf).unwrap();
}

#[tokio::test]
async fn an_export_is_verified_anywhere_and_by_the_keys_and_checkpoints_that_are_given() {
    let log = Log::of(20).await;
    log.grow(20).await;
    let dir = log.dir.path();
    let file = |name: &str| dir.join(name).display().to_string();
    let (export, kept) = (file("log.jsonl"), file("kept"));
    let first = log.store.checkpoints().await.unwrap().remove(0);
    std::fs::write(&kept, &first.note).unwrap();
    let (ok, _, errors) = audit(dir, &["export", "--output", &export]);
    assert!(ok, "{errors}");
    let elsewhere = tempfile::tempdir().unwrap();
    let verify = |more: &[&str]| audit(elsewhere.path(), &[&["verify", &export], more].concat());
    let (ok, told, errors) = verify(&["--checkpoint", &kept]);
    assert!(ok, "{errors}");
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["intact"]["size"], 40);
    assert_eq!(told["intact"]["checkpoint"], 40);

    // By another key nothing counts.
    let other = NoteKey::log("writ.example/audit", &[1; 32]);
    let (ok, _, errors) = verify(&["--key", &other.public()]);
    assert!(!ok && errors.contains("does not count"), "{errors}");

    // By a witness's alone, what it has cosigned counts, and the rest is left out of it.
    let witness = NoteKey::witness("witness.example", &[3; 32]);
    let (ok, _, errors) = verify(&["--key", &witness.public()]);
    assert!(
        !ok && errors.contains("none of the keys has signed it"),
        "{errors}"
    );
    let head = Head::read(&first.note, &log.trusted()).unwrap();
    let line = witness.cosign(&head.text, 1_700_000_000).unwrap();
    log.store
        .add_cosignature(first.size, "witness.example", &line)
        .await
        .unwrap();
    let (ok, told, errors) = audit(dir, &["verify", "--key", &witness.public()]);
    assert!(ok && told.contains("\"checkpoint\":20"), "{told}{errors}");

    // Somebody who changes an export, its hash and all, and leaves out the checkpoints.
    let lines = std::fs::read_to_string(&export).unwrap();
    let changed = lines.replacen("tool-7", "tool-8", 1);
    std::fs::write(&export, &changed).unwrap();
    let (ok, _, errors) = verify(&[]);
    assert!(!ok && errors.contains("record 7 ("), "{errors}");
    let mut without = String::new();
    for line in changed
        .lines()
        .filter(|line| !line.contains("\"checkpoint\""))
    {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        if let Some(record) = line.get_mut("record") {
            let leaf: writ_token_service::log::leaf::Leaf =
                serde_json::from_value(record["leaf"].clone()).unwrap();
            record["hash"] = leaf.hash().unwrap().to_string().into();
        }
        without.push_str(&format!("{line}\n"));
    }
    std::fs::write(&export, without).unwrap();
    let (ok, told, errors) = verify(&[]);
    assert!(ok && told.contains("\"checkpoint\":null"), "{told}{errors}");
    let (ok, _, errors) = verify(&["--checkpoint", &kept]);
    assert!(!ok && errors.contains("one of 0 to 20"), "{errors}");

    let (ok, _, errors) = audit(dir, &["export", "--agent", "assistant"]);
    assert!(!ok && errors.contains("--format jsonl"), "{errors}");
}

#[tokio::test]
async fn records_are_listed_by_pages_and_exported_in_columns_that_are_no_formulas() {
    let log = Log::of(9).await;
    let mut record = Record::new(Kind::Denied, Timestamp::now());
    record.reason = Some("=HYPERLINK(\"x\"), \"really\"".to_owned());
    record.decision = Some(writ_token_service::audit::Verdict::Deny);
    log.store.record(record).await.unwrap();
    let dir = log.dir.path();
    let ids = |text: &str| -> Vec<String> {
        let records = text
            .lines()
            .map(|line| serde_json::from_str::<Record>(line).unwrap());
        records.map(|record| record.id).collect()
    };
    let all = ids(&audit(dir, &["list"]).1);
    assert_eq!(all.len(), 10);
    let (mut paged, mut before) = (Vec::new(), None::<String>);
    loop {
        let mut arguments = vec!["list", "--limit", "4"];
        if let Some(before) = &before {
            arguments.extend(["--before", before]);
        }
        let page = ids(&audit(dir, &arguments).1);
        let Some(first) = page.first() else { break };
        before = Some(first.clone());
        paged.splice(0..0, page);
    }
    assert_eq!(paged, all);
    for (filter, count) in [
        (["--subject", "alice"], 5),
        (["--agent", "assistant"], 9),
        (["--decision", "deny"], 1),
        (["--target", "tool-3"], 1),
        (["--since", "2020-01-01T00:00:00Z"], 10),
        (["--until", "2020-01-01T00:00:00Z"], 0),
        (["--txn", "none"], 0),
    ] {
        let listed = ids(&audit(dir, &[&["list"][..], &filter].concat()).1);
        assert_eq!(listed.len(), count, "{filter:?}");
    }
    let (_, shown, _) = audit(dir, &["show", &all[2]]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        (&shown["record"]["target"], &shown["leaf"]),
        (&"tool-2".into(), &2.into())
    );
    let (_, _, errors) = audit(dir, &["show", "none"]);
    assert!(errors.contains("no record"), "{errors}");

    let (_, exported, _) = audit(dir, &["export", "--format", "csv"]);
    let mut rows = csv::Reader::from_reader(exported.as_bytes());
    assert_eq!(rows.headers().unwrap().len(), 22);
    let rows: Vec<_> = rows.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 10);
    assert_eq!(&rows[9][10], "'=HYPERLINK(\"x\"), \"really\"");
    assert_eq!(&rows[3][8], "tool-3");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_exported_as_a_table_that_others_read() {
    let log = Log::of(9).await;
    let (dir, file) = (log.dir.path(), log.dir.path().join("records.parquet"));
    let (done, _, errors) = audit(
        dir,
        &[
            "export",
            "--format",
            "parquet",
            "--agent",
            "assistant",
            "--output",
            file.to_str().unwrap(),
        ],
    );
    assert!(done, "{errors}");
    let output = python("parquet.py").arg(&file).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let lines = output
        .stdout
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty());
    let lines: Vec<Value> = lines
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let (types, rows) = lines.split_first().unwrap_or_else(|| panic!("{errors}"));
    assert_eq!(types.as_object().unwrap().len(), 22);
    assert_eq!(
        [&types["time"], &types["subject"], &types["detail"]],
        ["TIMESTAMP WITH TIME ZONE", "VARCHAR", "JSON"]
    );
    let records = log
        .store
        .newest_records(&Filter::default(), 10)
        .await
        .unwrap();
    assert_eq!(rows.len(), 9);
    for (row, entry) in rows.iter().zip(&records) {
        let record = &entry.record;
        let time: Timestamp = record.time.parse().unwrap();
        assert_eq!(row["id"], record.id.as_str());
        assert_eq!(row["time"], time.as_microsecond());
        assert_eq!(row["subject"], record.subject.as_deref().unwrap());
        assert_eq!(row["target"], record.target.as_deref().unwrap());
        assert_eq!(row["detail"], record.detail.as_ref().unwrap().to_string());
        assert_eq!(row["decision"], Value::Null);
    }

    // Nothing is a table, too.
    let nothing = audit(
        dir,
        &[
            "export",
            "--format",
            "parquet",
            "--agent",
            "none",
            "--output",
            file.to_str().unwrap(),
        ],
    );
    assert!(nothing.0, "{}", nothing.2);
    let output = python("parquet.py").arg(&file).output().unwrap();
    assert_eq!(output.stdout.iter().filter(|b| **b == b'\n').count(), 1);
}
