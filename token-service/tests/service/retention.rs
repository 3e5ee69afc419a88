//! A service that archives by itself, others that do it at the same time, and what an archiving that was interrupted has left.

use std::{fs::File, path::Path, time::Duration};

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use sqlx::AssertSqlSafe;
use writ_token_service::{
    audit::{Kind, Record},
    config::audit::Archiving,
    log::{
        archive::{self, ArchiveError},
        erase, keep, sequence,
    },
    store::{Store, StoreError, archives::Archive, audit::Filter},
};

use crate::{
    database,
    harness::{Service, place},
    log::{Log, audit},
    waiting::{PATIENCE, until},
};

impl Log {
    /// Records of a moment; a checkpoint only where `signed`.
    async fn grow_at(&self, time: Timestamp, records: usize, signed: bool) {
        let millis = u64::try_from(time.as_millisecond()).unwrap();
        for n in 0..records {
            let mut record = Record::new(Kind::Mint, time);
            let unlike_others = [u8::try_from(n).unwrap(); 10];
            record.id = uuid::Builder::from_unix_timestamp_millis(millis, &unlike_others)
                .into_uuid()
                .to_string();
            record.subject = Some("alice".to_owned());
            self.store.record(record).await.unwrap();
        }
        let size = sequence::catch_up(&self.store).await.unwrap();
        if signed {
            keep::sign(&self.store, &self.key, size, time)
                .await
                .unwrap();
        }
    }
}

/// Archives all that a checkpoint has.
async fn archived(store: &Store, to: &Path) -> Result<Option<Archive>, ArchiveError> {
    let now = Timestamp::now();
    archive::archive(store, to, now + SignedDuration::from_hours(1), &[], now).await
}

/// The names of the archives in a directory.
fn files(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !name.ends_with(".lock")).collect();
    names.sort();
    names
}

fn named(first: u64, size: u64) -> String {
    format!("{first:020}-{size:020}.jsonl")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_archives_each_day_that_is_old_enough() {
    let log = Log::of(0).await;
    let today = Timestamp::now().as_second() / 86_400 * 86_400;
    let ago = |days: i64| Timestamp::from_second(today - days * 86_400 + 3600).unwrap();
    log.grow_at(ago(5), 3, true).await;
    log.grow_at(ago(4), 4, true).await;
    // No checkpoint ends with it: it is archived with the next.
    log.grow_at(ago(3), 2, false).await;
    log.grow_at(ago(2), 3, true).await;
    log.grow_at(ago(1), 2, true).await;
    let to = tempfile::tempdir().unwrap();
    let (data, dir) = (log.dir.path().to_owned(), to.path().to_owned());
    let service = Service::start_with(|config| {
        config.data_dir = data;
        config.audit.archive = Some(Archiving {
            after: Duration::from_secs(86_400),
            dir,
        });
    })
    .await;
    let days = [named(0, 3), named(3, 7), named(7, 12)];
    until("archive of each day", async || {
        let (begins, _) = log.store.log_begins().await.unwrap();
        (files(to.path()) == days && begins == 12 && log.store.is_swept().await.unwrap())
            .then_some(())
    })
    .await;
    service.running.stop().await;
    let mints = Filter {
        kind: Some(Kind::Mint),
        ..Filter::default()
    };
    let left = log.store.newest_records(&mints, 10).await.unwrap();
    let left: Vec<_> = left.iter().map(|left| left.leaf).collect();
    assert_eq!(left, [Some(12), Some(13)]);
    let archives = days.map(|day| to.path().join(day).display().to_string());
    let each = archives.iter().flat_map(|file| ["--archive", file]);
    let all: Vec<&str> = ["verify"].into_iter().chain(each).collect();
    let (ok, told, errors) = audit(log.dir.path(), &all);
    assert!(ok && told.contains("\"archived\":0"), "{told}{errors}");
}

#[tokio::test]
async fn however_many_archive_at_once_there_is_one_archive() {
    let log = Log::of(300).await;
    let other = Store::open(&place(log.dir.path())).await.unwrap();
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let both = tokio::time::timeout(PATIENCE, async {
        tokio::join!(
            archived(&log.store, here.path()),
            archived(&other, there.path())
        )
    });
    let both = both.await.unwrap();
    let archives = log.store.archives().await.unwrap();
    assert_eq!(archives.len(), 1);
    // Who comes second may have the same, found that it is done, or that what it was reading is gone.
    for (outcome, directory) in [(both.0, here.path()), (both.1, there.path())] {
        assert!(
            matches!(
                outcome,
                Ok(_) | Err(ArchiveError::Store(StoreError::Conflict(_)))
            ),
            "{outcome:?}"
        );
        for file in files(directory) {
            assert_eq!(file, archives[0].file);
            let text = std::fs::read(directory.join(file)).unwrap();
            let sha256 = Sha256::digest(text);
            let sha256: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(sha256, archives[0].sha256);
        }
    }

    log.grow(5).await;
    let lock = File::create(here.path().join(".writ-archive.lock")).unwrap();
    lock.lock().unwrap();
    let refused = archived(&log.store, here.path()).await.unwrap_err();
    assert!(matches!(refused, ArchiveError::Elsewhere(_)), "{refused}");
    drop(lock);
    assert!(archived(&log.store, here.path()).await.unwrap().is_some());
}

#[tokio::test]
async fn what_was_interrupted_is_taken_up_and_what_is_not_ours_stays() {
    let log = Log::of(8).await;
    let to = tempfile::tempdir().unwrap();
    archived(&log.store, to.path()).await.unwrap().unwrap();
    log.grow(3).await;
    // A process that was killed while it wrote, and one that could not put its archive on record.
    std::fs::write(to.path().join(".writ-archive-x.partial"), "{\"key\":").unwrap();
    let mut conn = database::connect(log.dir.path()).await;
    let mut run = async |statement: &str| {
        let statement = AssertSqlSafe(statement.to_owned());
        sqlx::query(statement).execute(&mut conn).await.unwrap();
    };
    run("CREATE UNIQUE INDEX only_one ON archives ((1))").await;
    archived(&log.store, to.path()).await.unwrap_err();
    let (first, second) = (named(0, 8), named(8, 12));
    assert_eq!(files(to.path()), [first.clone(), second.clone()]);
    run("DROP INDEX only_one").await;
    let taken_up = archived(&log.store, to.path()).await.unwrap().unwrap();
    assert_eq!(taken_up.file, second);

    log.grow(3).await;
    let third = to.path().join(named(12, 16));
    std::fs::write(&third, "another's").unwrap();
    let refused = archived(&log.store, to.path()).await.unwrap_err();
    assert!(
        matches!(&refused, ArchiveError::Taken(path) if *path == third),
        "{refused}"
    );
    assert_eq!(std::fs::read_to_string(&third).unwrap(), "another's");
    assert_eq!(files(to.path()).len(), 3);
    assert_eq!(log.verify().await.unwrap().archived, 12);
}

#[tokio::test]
async fn records_that_are_gone_are_missed_and_not_waited_for() {
    let log = Log::of(0).await;
    let ago = |hours| Timestamp::now() - SignedDuration::from_hours(hours);
    log.grow_at(ago(3), 8, true).await;
    log.grow_at(ago(1), 4, true).await;
    // The last of those that are old enough; others come after it.
    log.tamper(&["DELETE FROM leaves WHERE leaf = 7"]).await;
    let to = tempfile::tempdir().unwrap();
    let archiving = archive::archive(&log.store, to.path(), ago(2), &[], Timestamp::now());
    let ended = tokio::time::timeout(PATIENCE, archiving).await.unwrap();
    assert!(matches!(ended, Err(ArchiveError::Verify(_))), "{ended:?}");
    assert_eq!(files(to.path()), Vec::<String>::new());
}

#[tokio::test]
async fn an_archive_is_none_where_somebody_was_erased_while_it_was_written() {
    let log = Log::of(8).await;
    let other = Store::open(&place(log.dir.path())).await.unwrap();
    let to = tempfile::tempdir().unwrap();
    // While another writes, it is not marked.
    let mut erasing = other.write().await.unwrap();
    let archiving = async { archived(&log.store, to.path()).await };
    let erased_meanwhile = async {
        until("the archive", async || {
            (files(to.path()) == [named(0, 8)]).then_some(())
        })
        .await;
        sqlx::query("UPDATE log_state SET erasures = erasures + 1")
            .execute(erasing.conn())
            .await
            .unwrap();
        erasing.commit().await.unwrap();
    };
    let (ended, ()) = tokio::join!(archiving, erased_meanwhile);
    assert!(
        matches!(ended, Err(ArchiveError::Store(StoreError::Conflict(_)))),
        "{ended:?}"
    );
    assert_eq!(files(to.path()), Vec::<String>::new());

    let before = log.store.erasures().await.unwrap();
    erase::erase(&log.store, "alice", "their wish", Timestamp::now())
        .await
        .unwrap();
    assert_eq!(log.store.erasures().await.unwrap(), before + 1);
}
