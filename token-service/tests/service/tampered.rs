//! Whatever somebody does to the log who has its database is found, and named.

use jiff::Timestamp;
use writ_token_service::{
    audit::Record,
    log::{
        keep, sequence,
        verify::{self, Fault, Verifier, VerifyError},
    },
};

use crate::log::Log;

#[tokio::test]
async fn a_record_that_is_changed_is_named() {
    let changes = [
        "UPDATE audit SET target = 'other' WHERE seq = 4",
        "UPDATE audit SET decision = 'deny' WHERE seq = 4",
        "UPDATE audit SET time = '2026-01-01T00:00:00.000000Z' WHERE seq = 4",
        "UPDATE audit SET agent = NULL WHERE seq = 4",
        "UPDATE leaves SET personal = 'x' WHERE leaf = 3",
    ];
    for change in changes {
        let log = Log::of(8).await;
        log.tamper(&[change]).await;
        let fault = log.fault().await;
        assert!(
            matches!(fault, Fault::Changed { index: 3, .. }),
            "{change}: {fault}"
        );
    }
    // The last one, after which comes nothing that would tell more.
    let log = Log::of(8).await;
    log.tamper(&["UPDATE audit SET target = 'other' WHERE seq = 8"])
        .await;
    assert!(matches!(log.fault().await, Fault::Changed { index: 7, .. }));
}

/// What was done to which record, and which other one shows it.
fn told(fault: Fault) -> (&'static str, u64, Option<u64>) {
    match fault {
        Fault::Dropped { index, found, .. } => ("dropped", index, Some(found)),
        Fault::Moved { index, belongs } => ("moved", index, Some(belongs)),
        Fault::Inserted { index, .. } => ("inserted", index, None),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_record_that_is_dropped_moved_or_inserted_is_named() {
    type Case<'a> = (&'a [&'a str], (&'static str, u64, Option<u64>));
    // Eight records have a place in the log, and two that came since have none.
    let cases: [Case; 7] = [
        (
            &["DELETE FROM leaves WHERE leaf = 3"],
            ("dropped", 3, Some(4)),
        ),
        (
            &[
                "DELETE FROM leaves WHERE leaf = 3",
                "UPDATE leaves SET leaf = leaf - 1 WHERE leaf > 3",
            ],
            ("dropped", 3, Some(4)),
        ),
        (
            &[
                "DELETE FROM leaves WHERE leaf IN (3, 4)",
                "UPDATE leaves SET leaf = leaf + 100 WHERE leaf > 4",
                "UPDATE leaves SET leaf = leaf - 102 WHERE leaf > 100",
            ],
            ("dropped", 3, Some(5)),
        ),
        (
            &[
                "UPDATE leaves SET leaf = 100 WHERE leaf = 3",
                "UPDATE leaves SET leaf = 3 WHERE leaf = 4",
                "UPDATE leaves SET leaf = 4 WHERE leaf = 100",
            ],
            ("moved", 3, Some(4)),
        ),
        (
            &[
                "UPDATE leaves SET leaf = 100 WHERE leaf = 2",
                "UPDATE leaves SET leaf = 2 WHERE leaf = 6",
                "UPDATE leaves SET leaf = 6 WHERE leaf = 100",
            ],
            ("moved", 2, Some(6)),
        ),
        (
            &[
                "UPDATE leaves SET leaf = leaf + 101 WHERE leaf >= 3",
                "UPDATE leaves SET leaf = leaf - 100 WHERE leaf > 100",
                "INSERT INTO leaves VALUES (3, 9, 'x')",
            ],
            ("inserted", 3, None),
        ),
        (
            &[
                "UPDATE leaves SET leaf = leaf + 102 WHERE leaf >= 3",
                "UPDATE leaves SET leaf = leaf - 100 WHERE leaf > 100",
                "INSERT INTO leaves VALUES (3, 9, 'x'), (4, 10, 'x')",
            ],
            ("inserted", 3, None),
        ),
    ];
    for (statements, expected) in cases {
        let log = Log::of(8).await;
        for _ in 0..2 {
            let new = Record::admin(Timestamp::now(), "test", "new");
            log.store.record(new).await.unwrap();
        }
        log.tamper(statements).await;
        assert_eq!(told(log.fault().await), expected, "{statements:?}");
    }
}

#[tokio::test]
async fn what_is_in_no_place_of_the_log_or_cut_off_its_end_is_noticed() {
    // Where the log has gone by: it would be listed, and in no place of the log.
    let log = Log::of(8).await;
    log.tamper(&["INSERT INTO audit (seq, id, time, kind) VALUES (-1, 'forged', '', 'mint')"])
        .await;
    let id = "forged".to_owned();
    assert_eq!(log.fault().await, Fault::Stray { id });

    let log = Log::of(8).await;
    log.tamper(&["DELETE FROM leaves WHERE leaf >= 6"]).await;
    let short = Fault::Short {
        size: 6,
        checkpoint: 8,
    };
    assert_eq!(log.fault().await, short);
}

#[tokio::test]
async fn a_log_that_is_written_anew_is_found_out_by_any_checkpoint_that_was_kept() {
    let log = Log::of(3).await;
    log.grow(4).await;
    let kept = log.heads().await;
    log.tamper(&[
        "UPDATE audit SET target = 'other' WHERE seq = 5",
        "DELETE FROM leaves",
        "DELETE FROM tiles",
        "UPDATE log_state SET size = 0, seq = 0",
    ])
    .await;
    sequence::catch_up(&log.store).await.unwrap();
    assert_eq!(log.fault().await, Fault::Rewritten { from: 3, to: 7 });
    log.tamper(&["DELETE FROM checkpoints"]).await;
    keep::sign(&log.store, &log.key, 7, Timestamp::now())
        .await
        .unwrap();
    assert_eq!(log.verify().await.unwrap().size, 7);
    let with_kept = Verifier::new([kept[0].clone()]).unwrap();
    verify::database(&log.store, with_kept).await.unwrap();
    let verifier = Verifier::new(kept.clone()).unwrap();
    let found = verify::database(&log.store, verifier).await;
    assert!(
        matches!(
            found,
            Err(VerifyError::Fault(Fault::Rewritten { from: 3, to: 7 }))
        ),
        "{found:?}"
    );
    let both = kept.into_iter().chain(log.heads().await);
    assert_eq!(Verifier::new(both).unwrap_err(), Fault::Split { size: 7 });
}

#[tokio::test]
async fn hashes_that_no_longer_make_the_tree_are_noticed() {
    let log = Log::of(300).await;
    let zeros = "00".repeat(32);
    let zeroed = format!("UPDATE tiles SET hashes = unhex('{zeros}') WHERE level = 1");
    log.tamper(&[&zeroed]).await;
    assert_eq!(log.fault().await, Fault::Hashes);
    // Records come, and the log says that it cannot go on by what it has.
    log.tamper(&["DELETE FROM tiles WHERE level = 1"]).await;
    log.store
        .record(Record::admin(Timestamp::now(), "test", "x"))
        .await
        .unwrap();
    let stuck = sequence::catch_up(&log.store)
        .await
        .unwrap_err()
        .to_string();
    assert!(stuck.contains("writ audit verify"), "{stuck}");
}
