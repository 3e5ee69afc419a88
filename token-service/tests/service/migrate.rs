//! What calls have left behind on SQLite goes on on PostgreSQL, and the log is proved across the move.

use std::{path::Path, process::Command, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use writ_token_service::{
    log::{archive, erase, sequence},
    serve::Running,
    store::{Place, Store, log::Signed, sinks::Lease},
};

use crate::{
    database,
    harness::{Form, Service, call},
    process::writ,
    waiting::until,
};

/// How a command ended that must succeed.
fn success(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    String::from_utf8(output.stdout).unwrap()
}

/// All of the trail but the last record.
fn but_the_last(list: &str) -> &str {
    list.trim_end().rsplit_once('\n').unwrap().0
}

/// A checkpoint that has every record.
async fn all_signed(store: &Store) -> Signed {
    let size = sequence::catch_up_with_all(store).await.unwrap();
    until("a checkpoint of all", async || {
        let newest = store.newest_checkpoint().await.unwrap()?;
        (newest.size >= size).then_some(newest)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_calls_left_behind_is_verified_and_gone_on_with_on_postgresql() {
    let dir = tempfile::tempdir().unwrap();
    let (data, archives) = (dir.path().join("data"), dir.path().join("archives"));
    std::fs::create_dir(&archives).unwrap();
    let service = Service::start_with(|config| {
        config.data_dir.clone_from(&data);
        config.store = Some(Place::Directory(data.clone()));
        config.audit.checkpoint_interval = Duration::from_millis(1);
    })
    .await;
    let store = service.store();
    let mut claims = service.caller_claims();
    claims["sub"] = "bob".into();
    let bob = service.sign(&claims);
    let mut tokens = Vec::new();
    for caller in [&service.caller_token(), &bob] {
        let answer = service.exchange(&Form::new(caller, &call("echo"))).await;
        let answer: Value = answer.json().await.unwrap();
        tokens.push(answer["jti"].as_str().unwrap().to_owned());
    }
    let outcome = json!([{"type": "outcome", "token_id": tokens[0], "request_id": "req-1", "time": "2026-11-23T18:00:00Z",
        "status": 200, "result": "ok", "duration_us": 10, "request_bytes": 10, "response_bytes": 10}]);
    assert!(service.report(&outcome).await.status().is_success());

    let later = Timestamp::now() + SignedDuration::from_hours(1);
    all_signed(store).await;
    let archived = archive::archive(store, &archives, later, &[], Timestamp::now()).await;
    let archived = archived.unwrap().unwrap();
    service.mint(&call("echo")).await;
    service
        .exchange(&Form::new(&bob, &call("echo")))
        .await
        .error_for_status()
        .unwrap();
    let erased = erase::erase(store, "bob", "their wish", Timestamp::now()).await;
    assert_eq!(erased.unwrap(), 1, "the first one is archived");
    let now = Timestamp::now();
    let lease = Lease {
        sink: "siem",
        holder: "gone",
        now,
        until: now,
    };
    store.hold_sink(lease, archived.size + 1).await.unwrap();
    let sinks = store.sinks().await.unwrap();
    let kept = all_signed(store).await;
    let config = service.running.app.config.clone();
    service.running.stop().await;

    let kept_at = dir.path().join("kept.checkpoint");
    std::fs::write(&kept_at, &kept.note).unwrap();
    let on_sqlite = || {
        let mut command = writ(dir.path());
        command.env_remove("WRIT_STORE_URL");
        command
    };
    let list = ["--json", "audit", "list", "--limit", "1000"];
    let key = success(on_sqlite().args(["audit", "key"]));
    let before = success(on_sqlite().args(list));
    let url = database::postgres_of(&database::cluster(), &dir.path().join("new"));
    let on_postgres = || {
        let mut command = writ(dir.path());
        command.env("WRIT_STORE_URL", url.as_str());
        command
    };
    success(on_postgres().args(["migrate", "sqlite-to-postgres"]));
    assert_eq!(
        but_the_last(&success(on_postgres().args(list))),
        before.trim_end()
    );
    assert_eq!(success(on_postgres().args(["audit", "key"])), key);
    let place = Place::Postgres(url.clone().into());
    let moved = Store::open(&place).await.unwrap();
    assert_eq!(moved.sinks().await.unwrap(), sinks);
    moved.close().await;

    // It goes on there, and whoever kept a checkpoint of before can tell.
    let mut config = config;
    config.store = Some(place);
    config.public = "127.0.0.1:0".parse().unwrap();
    let clock = std::sync::Arc::new(writ_token_service::clock::SystemClock);
    let running = Running::start(config, clock, None).await.unwrap();
    running.stop().await;
    let verify = |archive: &Path| {
        let verified = success(
            on_postgres()
                .args(["--json", "audit", "verify", "--key", key.trim()])
                .args(["--checkpoint".as_ref(), kept_at.as_os_str()])
                .args(["--archive".as_ref(), archive.as_os_str()]),
        );
        serde_json::from_str::<Value>(&verified).unwrap()
    };
    let verified = verify(&archives.join(&archived.file));
    assert_eq!(verified["intact"]["archived"], 0, "{verified}");
    assert_eq!(verified["intact"]["erased"], 1, "{verified}");
    assert!(
        verified["intact"]["size"].as_u64() > Some(kept.size),
        "{verified}"
    );
}
