//! Old records go to a file, and the log still verifies: the file alone, the database alone, and both together.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use sqlx::AssertSqlSafe;
use writ_token_service::{
    audit::Record,
    config::sinks::{Endpoint, Format, From, Sink, To},
    log::{
        archive::{self, ArchiveError},
        erase,
        tree::{self, Tiles},
        verify::{ARCHIVE, Fault},
    },
    store::{StoreError, archives::Archive, audit::Filter},
};

use crate::{
    database,
    log::{Log, audit},
};

fn hours(n: i64) -> SignedDuration {
    SignedDuration::from_hours(n)
}

impl Log {
    /// Archives all that a checkpoint has.
    async fn archived(&self, to: &Path) -> Result<Option<Archive>, ArchiveError> {
        let now = Timestamp::now();
        archive::archive(&self.store, to, now + hours(1), &[], now).await
    }

    async fn tiles(&self, of: impl IntoIterator<Item = tree::TileId>) -> Tiles {
        self.store.tiles(of).await.unwrap()
    }
}

#[tokio::test]
async fn archives_and_database_verify_apart_and_together_and_proofs_are_made_as_before() {
    let log = Log::of(300).await;
    erase::erase(&log.store, "alice", "their wish", Timestamp::now())
        .await
        .unwrap();
    log.grow(0).await;
    let to = tempfile::tempdir().unwrap();
    let before = log
        .tiles(tree::for_record(301, 5))
        .await
        .prove_record(301, 5)
        .unwrap();
    let first = log.archived(to.path()).await.unwrap().unwrap();
    assert_eq!((first.first, first.size), (0, 301));
    let left = log
        .store
        .newest_records(&Filter::default(), 10)
        .await
        .unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(
        (left[0].record.method.as_deref(), left[0].leaf),
        (Some(ARCHIVE), Some(301))
    );
    let detail = left[0].record.detail.clone().unwrap();
    assert_eq!(detail["sha256"], first.sha256.as_str());

    log.grow(20).await;
    let second = log.archived(to.path()).await.unwrap().unwrap();
    assert_eq!((second.first, second.size), (301, 322));
    log.grow(5).await;

    let intact = log.verify().await.unwrap();
    assert_eq!(
        (intact.size, intact.archived, intact.checkpoint),
        (328, 322, Some(328))
    );
    assert_eq!(
        log.tiles(tree::for_record(301, 5))
            .await
            .prove_record(301, 5)
            .unwrap(),
        before
    );
    log.tiles(tree::for_tree(328, 150))
        .await
        .prove_tree(328, 150)
        .unwrap();
    assert!(log.archived(to.path()).await.unwrap().is_some());
    log.grow(1).await;

    let dir = log.dir.path();
    let file = |archive: &Archive| to.path().join(&archive.file).display().to_string();
    let (one, two) = (file(&first), file(&second));
    for (arguments, size, archived) in [
        (vec!["verify"], 330, 328),
        (vec!["verify", &one], 301, 0),
        (vec!["verify", &two], 322, 301),
    ] {
        let (ok, told, errors) = audit(dir, &arguments);
        assert!(ok, "{arguments:?}: {errors}");
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert_eq!(
            (&told["intact"]["size"], &told["intact"]["archived"]),
            (&size.into(), &archived.into()),
            "{arguments:?}"
        );
    }
    let third = to
        .path()
        .join("00000000000000000322-00000000000000000328.jsonl")
        .display()
        .to_string();
    let (ok, told, errors) = audit(
        dir,
        &[
            "verify",
            "--archive",
            &two,
            "--archive",
            &one,
            "--archive",
            &third,
        ],
    );
    assert!(ok, "{errors}");
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (
            &told["intact"]["size"],
            &told["intact"]["archived"],
            &told["intact"]["erased"]
        ),
        (&330.into(), &0.into(), &150.into())
    );
    // An export is of what is left, and verifies, too.
    let export = to.path().join("export.jsonl").display().to_string();
    assert!(audit(dir, &["export", "--output", &export]).0);
    let (ok, told, errors) = audit(to.path(), &["verify", &export]);
    assert!(ok && told.contains("\"archived\":328"), "{told}{errors}");

    // One that is missing, cut short, or changed.
    let (ok, _, errors) = audit(dir, &["verify", "--archive", &one, "--archive", &third]);
    assert!(
        !ok && errors.contains("records 301 to 322 are archived"),
        "{errors}"
    );
    let text = std::fs::read_to_string(&one).unwrap();
    std::fs::write(&one, text.lines().take(100).collect::<Vec<_>>().join("\n")).unwrap();
    let (ok, _, errors) = audit(dir, &["verify", &one]);
    assert!(!ok && errors.contains("the rest was dropped"), "{errors}");
    std::fs::write(&one, text.replacen("tool-7\"", "tool-8\"", 1)).unwrap();
    let (ok, _, errors) = audit(
        dir,
        &[
            "verify",
            "--archive",
            &one,
            "--archive",
            &two,
            "--archive",
            &third,
        ],
    );
    assert!(!ok && errors.contains("record 7 ("), "{errors}");
}

#[tokio::test]
async fn nothing_of_a_log_that_does_not_verify_is_archived() {
    let log = Log::of(8).await;
    log.tamper(&["UPDATE audit SET target = 'other' WHERE seq = 4"])
        .await;
    let to = tempfile::tempdir().unwrap();
    let refused = log.archived(to.path()).await.unwrap_err();
    assert!(matches!(refused, ArchiveError::Verify(_)), "{refused}");
    let files = std::fs::read_dir(to.path()).unwrap();
    assert!(
        files
            .map(|f| f.unwrap().file_name())
            .eq([".writ-archive.lock"])
    );
    assert_eq!(
        log.store
            .newest_records(&Filter::default(), 20)
            .await
            .unwrap()
            .len(),
        8
    );
}

#[tokio::test]
async fn records_that_are_gone_without_an_archiving_on_record_are_missed() {
    let log = Log::of(8).await;
    log.tamper(&[
        "INSERT INTO archives (size, first, time, file, sha256, erased) VALUES (3, 0, '', '', '', '{}')",
        "DELETE FROM leaves WHERE leaf < 3",
    ])
    .await;
    assert_eq!(log.fault().await, Fault::Unarchived { size: 3 });
}

#[tokio::test]
async fn what_was_interrupted_lost_nothing_and_is_gone_on_with() {
    let log = Log::of(8).await;
    let archive = Archive {
        first: 0,
        size: 8,
        file: "a".to_owned(),
        sha256: "b".to_owned(),
        erased: Default::default(),
    };
    let now = Timestamp::now();
    let record = || {
        let mut record = Record::admin(now, ARCHIVE, "a");
        record.detail = Some(serde_json::json!({"size": 8}));
        record
    };
    log.store
        .mark_archived(&archive, 0, &record(), now)
        .await
        .unwrap();
    let again = log.store.mark_archived(&archive, 0, &record(), now).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
    log.grow(0).await;
    let intact = log.verify().await.unwrap();
    assert_eq!((intact.size, intact.archived), (9, 0));
    // Nobody is erased of what is as good as gone.
    let erased = erase::erase(&log.store, "alice", "their wish", now)
        .await
        .unwrap();
    assert_eq!(erased, 0);
    archive::sweep(&log.store).await.unwrap();
    let intact = log.verify().await.unwrap();
    assert_eq!((intact.size, intact.archived), (10, 8));

    // What is not archived stays.
    let mut conn = database::connect(log.dir.path()).await;
    for kept in [
        "DELETE FROM leaves",
        "DELETE FROM audit",
        "DELETE FROM audit_personal",
    ] {
        let refused = sqlx::query(AssertSqlSafe(kept))
            .execute(&mut conn)
            .await
            .unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{refused}");
    }
}

#[tokio::test]
async fn what_a_sink_has_not_got_and_what_is_young_is_not_archived() {
    let log = Log::of(8).await;
    log.grow(8).await;
    log.tamper(&["INSERT INTO sinks (name, next_leaf) VALUES ('siem', 10), ('gone', 2)"])
        .await;
    let later = Timestamp::now() + hours(1);
    let sink = |(name, from): &(&str, From)| Sink {
        name: (*name).to_owned(),
        from: *from,
        to: To::Otlp(Endpoint {
            url: "http://127.0.0.1:1".parse().unwrap(),
            credential: None,
            gzip: false,
        }),
        format: Format::Writ,
        batch_records: 1,
        batch_bytes: 1,
        timeout: std::time::Duration::from_secs(1),
    };
    let (siem, gone) = (("siem", From::Start), ("gone", From::Now));
    for (sinks, size) in [
        (&[siem][..], 8),
        (&[], 16),
        (&[siem, gone], 0),
        // Neither was ever sent to: the one is to have all of it.
        (&[siem, ("new", From::Start)], 0),
        (&[siem, ("new", From::Now)], 8),
    ] {
        let configured: Vec<_> = sinks.iter().map(sink).collect();
        let archivable = log.store.archivable(later, &configured).await.unwrap();
        assert_eq!(archivable, size, "{sinks:?}");
    }
    let earlier = Timestamp::now() - hours(1);
    assert_eq!(log.store.archivable(earlier, &[]).await.unwrap(), 0);
    let (dir, before) = (log.dir.path(), earlier.to_string());
    let output = dir.display().to_string();
    let (ok, _, errors) = audit(dir, &["archive", "--before", &before, "--output", &output]);
    assert!(!ok && errors.contains("for a day at least"), "{errors}");
    let (ok, told, errors) = audit(
        dir,
        &[
            "archive",
            "--before",
            "2026-01-01T00:00:00Z",
            "--output",
            &output,
        ],
    );
    assert!(ok && told.contains("\"archived\":0"), "{told}{errors}");
}

#[tokio::test]
async fn after_a_day_one_checkpoint_an_hour_is_kept() {
    // It has signed the empty log a moment ago.
    let log = Log::of(0).await;
    let at = |time: &str| time.parse::<Timestamp>().unwrap();
    for (size, time) in [
        (1, "2026-11-01T10:00:00Z"),
        (2, "2026-11-01T10:59:59Z"),
        (3, "2026-11-01T11:00:00Z"),
        (4, "2026-11-01T11:30:00Z"),
        (5, "2026-11-02T12:00:00Z"),
        (6, "2026-11-02T12:00:05Z"),
    ] {
        log.store
            .add_checkpoint(size, "note", at(time))
            .await
            .unwrap();
    }
    log.store
        .prune_checkpoints(at("2026-11-02T12:00:00Z"))
        .await
        .unwrap();
    let kept = log.store.checkpoints().await.unwrap();
    let sizes: Vec<u64> = kept.iter().map(|kept| kept.size).collect();
    assert_eq!(sizes, [0, 2, 4, 5, 6]);
}
