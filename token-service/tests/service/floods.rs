//! What is only counted goes on record when it is over: once, whoever counted, and whether or not somebody was restarted.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use reqwest::StatusCode;
use serde_json::{Value, json};
use writ_token_service::{
    audit::{Kind, Record},
    clock::{Clock, rfc3339},
    log::{sequence, verify},
};

use crate::harness::{Moved, Service};

fn tries(source_ip: &str, count: u64, at: Timestamp) -> Value {
    json!({"type": "unauthenticated", "kind": "missing_token", "source_ip": source_ip, "server": "ledger",
           "first": rfc3339(at), "last": rfc3339(at), "count": count})
}

impl Service {
    async fn flooded(&self, tries: Value) {
        let answer = self.report(&json!([tries])).await;
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    }

    /// The records of tries from this address.
    async fn of(&self, source_ip: &str) -> Vec<Record> {
        let mut records = self.records().await;
        records.retain(|r| {
            r.kind == Kind::Unauthenticated && r.source_ip.as_deref() == Some(source_ip)
        });
        records
    }
}

fn after(minutes: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_mins(minutes)
}

/// A clock that says noon, tomorrow: no day ends while a test runs.
fn noon() -> Arc<Moved> {
    let now = Timestamp::now().as_second();
    let noon = now - now.rem_euclid(86_400) + 86_400 + 43_200;
    Arc::new(Moved((noon - now).into()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_that_is_over_is_on_record_with_its_first_its_last_and_how_many_they_were() {
    let clock = noon();
    let service = Service::start_at(Arc::clone(&clock) as Arc<dyn Clock>).await;
    let after = |minutes| clock.now() + SignedDuration::from_mins(minutes);
    let other = service.elsewhere().await;
    for _ in 0..5 {
        service.flooded(tries("192.0.2.1", 7, clock.now())).await;
    }
    let last = service.of("192.0.2.1").await[0].detail.clone().unwrap()["last"].clone();

    // Not while more may come.
    service.store().tell_floods(after(10)).await.unwrap();
    assert_eq!(service.of("192.0.2.1").await.len(), 1);

    // Two replicas, one of which has counted nothing, find it over at the same time.
    let (one, two) = tokio::join!(
        service.store().tell_floods(after(16)),
        other.tell_floods(after(16))
    );
    one.unwrap();
    two.unwrap();
    let records = service.of("192.0.2.1").await;
    let [first, end] = records.as_slice() else {
        panic!("{records:#?}")
    };
    let detail = end.detail.as_ref().unwrap();
    assert_eq!(
        (&detail["count"], &detail["begins_with"]),
        (&json!(35), &json!(first.id))
    );
    assert_eq!(
        (&detail["first"], &detail["last"]),
        (&first.detail.as_ref().unwrap()["first"], &last)
    );
    assert_eq!(end.reason.as_deref(), Some("missing_token"));
    assert_eq!(end.server.as_deref(), Some("ledger"));

    // What goes on is told once more, when the day is over; and then nothing is left to tell.
    service.flooded(tries("192.0.2.1", 1, clock.now())).await;
    other.tell_floods(after(16)).await.unwrap();
    assert_eq!(service.of("192.0.2.1").await.len(), 2);
    for _ in 0..2 {
        other.tell_floods(after(25 * 60)).await.unwrap();
        let records = service.of("192.0.2.1").await;
        assert_eq!(records.len(), 3);
        assert_eq!(records[2].detail.as_ref().unwrap()["count"], 36);
    }

    // All of it is in the log, which the live count on the first record does not change.
    sequence::catch_up(&other).await.unwrap();
    let verifier = verify::Verifier::new([]).unwrap();
    verify::database(&other, verifier).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_try_is_one_record_that_says_so() {
    let service = Service::start().await;
    service
        .flooded(tries("192.0.2.3", 1, Timestamp::now()))
        .await;
    for minutes in [16, 25 * 60] {
        service.store().tell_floods(after(minutes)).await.unwrap();
        let records = service.of("192.0.2.3").await;
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].detail.as_ref().unwrap()["count"], 1);
    }
}

/// Tries that the service itself counts in memory are on record when it has stopped, and told of by the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_told_of_after_a_restart() {
    let service = Service::start().await;
    for _ in 0..4 {
        let answer = service.report_as(("edge", "wrong"), &json!([])).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    }
    let next = service.elsewhere().await;
    service.running.stop().await;
    next.tell_floods(after(16)).await.unwrap();
    let records = next.newest_records(&Default::default(), 10).await.unwrap();
    let counts: Vec<_> = records
        .iter()
        .filter(|e| e.record.kind == Kind::Unauthenticated)
        .map(|e| {
            (
                e.record.detail.as_ref().unwrap()["count"].as_u64(),
                e.record.reason.clone(),
            )
        })
        .collect();
    let four = (Some(4), Some("invalid_gateway".to_owned()));
    assert!(
        !counts.is_empty() && counts.iter().all(|one| *one == four),
        "{counts:?}"
    );
}
