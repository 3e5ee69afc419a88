//! The trail itself: append-only, with the administrator in it, read as people and machines do.

use jiff::Timestamp;
use writ_token_service::{
    audit::Kind,
    registry::Status,
    store::{audit::Filter, registrations::Registered},
};

use crate::{
    database,
    harness::{Service, call},
};

#[tokio::test(flavor = "multi_thread")]
async fn records_can_be_neither_changed_nor_deleted() {
    let service = Service::start().await;
    service.mint(&call("echo")).await;
    let mut conn = database::connect(&service.running.app.config.data_dir).await;
    for tamper in [
        "UPDATE audit SET agent = 'helper'",
        "UPDATE audit_personal SET subject = 'bob'",
        "UPDATE audit_personal SET salt = NULL, erased_by = 'nobody' WHERE record = 'none' OR salt IS NOT NULL",
        "DELETE FROM audit_personal",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE seq = 1",
    ] {
        let error = sqlx::query(tamper)
            .execute(&mut conn)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("append-only"), "{error}");
    }
    assert_eq!(service.records().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_by_an_administrator_is_on_record_with_it_or_not_made() {
    let service = Service::start().await;
    let store = service.store();
    store
        .set_status(
            Registered::Agent,
            "helper",
            Status::Disabled,
            None,
            Timestamp::now(),
        )
        .await
        .unwrap();
    let missing = store
        .set_status(
            Registered::Agent,
            "nobody",
            Status::Disabled,
            None,
            Timestamp::now(),
        )
        .await;
    assert!(missing.unwrap_err().to_string().contains("writ agent list"));
    let filter = Filter {
        kind: Some(Kind::Admin),
        ..Filter::default()
    };
    let last = store
        .newest_records(&filter, 1)
        .await
        .unwrap()
        .remove(0)
        .record;
    assert_eq!(
        (last.method.as_deref(), last.target.as_deref()),
        (Some("agent disable"), Some("helper"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_narrow_and_the_newest_come_last() {
    let service = Service::start().await;
    let (_, first) = service.mint(&call("echo")).await;
    let (_, second) = service.mint(&call("brief")).await;
    let of = async |filter: Filter| service.store().newest_records(&filter, 10).await.unwrap();
    let mints = of(Filter {
        kind: Some(Kind::Mint),
        ..Filter::default()
    })
    .await;
    let ids: Vec<_> = mints.iter().map(|e| e.record.token_id.as_deref()).collect();
    assert_eq!(ids, [first["jti"].as_str(), second["jti"].as_str()]);
    let brief = of(Filter {
        target: Some("brief".to_owned()),
        ..Filter::default()
    })
    .await;
    assert_eq!(brief.len(), 1);
    assert!(
        of(Filter {
            subject: Some("bob".to_owned()),
            ..Filter::default()
        })
        .await
        .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audience_that_is_somebodys_resource_cannot_be_registered() {
    let service = Service::start().await;
    let mut server = service.store().servers().await.unwrap().remove(0);
    server.id = "third".parse().unwrap();
    server.upstream_audience = server.resource.clone();
    server.resource = "https://third.test/mcp".to_owned();
    let error = service
        .store()
        .add_server(&server, Timestamp::now())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("must never pass for a caller's"), "{error}");
}
