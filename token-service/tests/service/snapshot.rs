//! The snapshot: whole, for this gateway only, signed, and sent as soon as it has changed.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use reqwest::StatusCode;
use writ_core::snapshot::assembly::{Refused, Taken};
use writ_policy::{
    engine::{self, ENGINE, Evaluator, Program},
    snapshot::{FORMAT, Policy},
};
use writ_token_service::{
    clock::{SystemClock, rfc3339},
    registry::Status,
    snapshot::{self, new_secret},
    store::{Store, registrations::Registered, stops::Revocation},
};

use crate::{
    follower::{Follower, key_of, path},
    harness::{AUDIENCE, GUARD, RESOURCE, Service, refusal},
};

async fn edge(service: &Service) -> Follower {
    Follower::up_to_date(service, "edge", &service.gateway_secret).await
}

async fn switch(store: &Store, what: Registered, id: &str, status: Status) {
    store
        .set_status(what, id, status, None, Timestamp::now())
        .await
        .unwrap();
}

async fn disable(store: &Store, what: Registered, id: &str) {
    switch(store, what, id, Status::Disabled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_sees_its_own_servers_and_a_program_it_can_run() {
    let service = Service::start().await;
    let edge = edge(&service).await;
    let head = edge.head();
    assert_eq!((head.format, head.aud.as_str()), (FORMAT, "edge"));
    assert_eq!(head.iss, service.running.app.config.issuer);
    assert_eq!(head.exp - head.iat, 15 * 60);
    let servers = edge.servers();
    assert_eq!(servers.keys().collect::<Vec<_>>(), ["ledger"]);
    assert_eq!(servers["ledger"].resource, RESOURCE);
    assert_eq!(servers["ledger"].upstream_audience, AUDIENCE);
    let tools = &edge.agents()["assistant"].tools;
    assert_eq!(tools.keys().collect::<Vec<_>>(), ["ledger"]);
    let Policy::Program { engine, program } = edge.policy() else {
        panic!("not compiled")
    };
    assert_eq!(engine, ENGINE);
    assert_eq!(edge.revision(), service.running.app.policy().revision());
    let program = Program::from_bytes(&URL_SAFE_NO_PAD.decode(&program).unwrap()).unwrap();
    Evaluator::new(&program, &edge.data()).unwrap();
    assert!(edge.jwks()["keys"][0]["kid"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_of_one_server_seal_its_names_alike_and_get_no_other_servers_key() {
    let service = Service::start().await;
    let elsewhere = service.elsewhere().await;
    let gateways = elsewhere.gateways().await.unwrap();
    let mut gateway = gateways.into_iter().find(|g| g.id.as_str() == "edge");
    let gateway = gateway.as_mut().unwrap();
    gateway.id = "edge-2".parse().unwrap();
    gateway.servers.insert("other".to_owned());
    elsewhere
        .add_gateway(gateway, Timestamp::now())
        .await
        .unwrap();

    let first = edge(&service).await.servers();
    let second = Follower::up_to_date(&service, "edge-2", &service.gateway_secret).await;
    let second = second.servers();
    let key = |servers: &std::collections::BTreeMap<String, writ_policy::snapshot::ServerEntry>,
               server: &str| *servers[server].seal_key.as_ref().unwrap().bytes();
    assert_eq!(key(&first, "ledger"), key(&second, "ledger"));
    assert_ne!(key(&first, "ledger"), key(&second, "other"));
    assert!(!first.contains_key("other"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_gets_no_key_no_rules_and_nobodys_labels_or_tools() {
    let service = Service::start().await;
    for (id, secret) in [
        (GUARD, &service.guard_secret),
        ("ledger", &service.server_secret),
    ] {
        let guard = Follower::up_to_date(&service, id, secret).await;
        let server = &guard.servers()["ledger"];
        assert_eq!(server.upstream_audience, AUDIENCE);
        assert!(server.seal_key.is_none());
        let text = String::from_utf8(guard.answer.clone()).unwrap();
        assert!(text.contains(AUDIENCE) && !text.contains("seal_key"));
        assert!(server.labels.is_empty());
        let agent = &guard.agents()["assistant"];
        assert_eq!(agent.status, Status::Approved);
        assert!(agent.labels.is_empty() && agent.tools.is_empty());
        assert_eq!(guard.revision(), "none");
        assert_eq!(guard.data().value().to_string(), "{}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_has_changed_for_this_gateway_is_sent() {
    let service = Service::start().await;
    let mut edge = edge(&service).await;
    let (first, all) = (edge.head().clone(), edge.answer.len());
    assert_eq!(edge.ask(0).await.unwrap(), Taken::Unchanged);
    assert_eq!(edge.head().manifest, first.manifest);

    let elsewhere = service.elsewhere().await;
    disable(&elsewhere, Registered::Server, "other").await;
    assert_eq!(edge.ask(0).await.unwrap(), Taken::Unchanged);
    assert!(edge.head().revision > first.revision);

    disable(&elsewhere, Registered::Agent, "assistant").await;
    assert_eq!(edge.ask(0).await.unwrap(), Taken::Whole);
    assert_eq!(edge.agents()["assistant"].status, Status::Disabled);
    assert!(
        edge.answer.len() < all / 2,
        "{} of {all}",
        edge.answer.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_is_told_at_once_by_whichever_process_it_was_changed() {
    let service = Service::start().await;
    let mut edge = edge(&service).await;
    let elsewhere = service.elsewhere().await;
    for status in [Status::Disabled, Status::Approved] {
        let changed = async {
            let asked = edge.ask(10);
            let change = switch(&elsewhere, Registered::Agent, "assistant", status);
            tokio::join!(asked, change).0
        };
        let taken = tokio::time::timeout(Duration::from_secs(5), changed).await;
        assert_eq!(taken.unwrap().unwrap(), Taken::Whole);
        assert_eq!(edge.agents()["assistant"].status, status);
    }
    // Its own end is news, too.
    let waiting = edge.send(10);
    let disabled = disable(&elsewhere, Registered::Gateway, "edge");
    let (answer, ()) = tokio::join!(waiting, disabled);
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_service_that_ends() {
    let service = Service::start().await;
    let edge = edge(&service).await;
    let waiting = tokio::spawn(async move { edge.send(10).await.status() });
    let changes = &service.running.app.changes;
    while !changes.is_awaited() {
        tokio::task::yield_now().await;
    }
    let stopped = tokio::time::timeout(Duration::from_secs(5), service.running.stop()).await;
    assert!(stopped.is_ok());
    assert_eq!(waiting.await.unwrap(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_revocation_more_costs_its_part_however_many_there_are() {
    let service = Service::start().await;
    let elsewhere = service.elsewhere().await;
    let mut tx = elsewhere.write().await.unwrap();
    sqlx::query(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
         INSERT INTO revoked_tokens (token_id, expires_at) SELECT 'token-' || i, $1 FROM n",
    )
    .bind(rfc3339(Timestamp::now() + SignedDuration::from_hours(1)))
    .execute(tx.conn())
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let mut edge = Follower::new(&service, "edge", &service.gateway_secret);
    let (mut answers, mut largest) = (0, 0);
    while edge.ask(0).await.unwrap() != Taken::Whole {
        (answers, largest) = (answers + 1, edge.answer.len().max(largest));
    }
    assert!(answers > 0 && largest < 512 * 1024, "{answers}, {largest}");
    assert_eq!(edge.revoked().len(), 20_000);

    let what = Revocation::Token("one-more".to_owned());
    elsewhere.revoke(&what, None, &SystemClock).await.unwrap();
    assert_eq!(edge.ask(0).await.unwrap(), Taken::Whole);
    assert!(edge.revoked().contains("one-more"));
    assert!(edge.answer.len() < 32 * 1024, "{}", edge.answer.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_policy_is_published_and_a_wrong_one_is_not() {
    let service = Service::start().await;
    let mut edge = edge(&service).await;
    let file = service.dir.path().join("policy/test.rego");
    std::fs::write(&file, "package writ\ncall := {").unwrap();
    let error = service
        .running
        .reload_policy()
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("test.rego:2"), "{error}");
    assert_eq!(edge.ask(0).await.unwrap(), Taken::Unchanged);
    std::fs::write(
        &file,
        "package writ\nimport rego.v1\ncall := {\"allow\": false, \"reason\": \"closed\"}",
    )
    .unwrap();
    service.running.reload_policy().await.unwrap();
    assert_eq!(edge.ask(0).await.unwrap(), Taken::Whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_with_another_engine_gets_what_it_can_compile_itself() {
    let service = Service::start().await;
    let mut edge = Follower::new(&service, "edge", &service.gateway_secret);
    edge.engine = "regorus-0.1.0".to_owned();
    edge.catch_up().await;
    let Policy::Source { modules } = edge.policy() else {
        panic!("it cannot run that")
    };
    assert_eq!(edge.revision(), service.running.app.policy().revision());
    engine::compile(&modules).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_introduced_by_the_one_before_unless_that_is_not_to_be_trusted() {
    let service = Service::start().await;
    let mut edge = edge(&service).await;
    let elsewhere = service.elsewhere().await;
    let sealing = &service.running.app.config.keys.sealing;
    let rotate = async |distrust| {
        snapshot::rotate(&elsewhere, sealing, distrust, Timestamp::now())
            .await
            .unwrap()
    };
    rotate(false).await;
    let third = rotate(false).await;
    assert_eq!(edge.ask(0).await.unwrap(), Taken::Unchanged);
    assert_eq!(edge.assembly.trusted(), third);
    // One that was away all the time, too.
    let again = Follower::up_to_date(&service, "edge", &service.gateway_secret).await;
    assert_eq!(again.assembly.trusted(), third);

    rotate(true).await;
    let refused = edge.ask(0).await;
    assert!(matches!(refused, Err(Refused::Signed(_))), "{refused:?}");
    let secret = new_secret(&elsewhere, sealing).await.unwrap();
    assert_ne!(key_of(&secret), third);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_backup_was_restored_gateways_go_on_with_a_new_epoch() {
    let service = Service::start().await;
    let edge = edge(&service).await;
    assert_eq!(edge.head().epoch, 0);
    let elsewhere = service.elsewhere().await;
    let epoch = snapshot::new_epoch(&elsewhere, Timestamp::now()).await;
    assert_eq!(epoch.unwrap(), 1);
    let mut edge = edge;
    assert_eq!(edge.ask(0).await.unwrap(), Taken::Unchanged);
    assert_eq!(edge.head().epoch, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_wrongly_is_refused_with_the_reason() {
    let service = Service::start().await;
    let key = key_of(&service.gateway_secret);
    let good = path(key);
    let ask = async |path: &str, secret: &str| {
        let request = service.http.get(service.gateway_url(path));
        let request = request.basic_auth("edge", Some(secret));
        refusal(request.send().await.unwrap()).await
    };
    let secret = service.gateway_secret.as_str();
    let many = format!("{good}&parts={}", ["policy"; 65].join(","));
    let newer = good.replace(&format!("format={FORMAT}"), "format=99");
    for (path, secret, status) in [
        (good.as_str(), "wrong", 401),
        ("/gateway/v1/snapshot", "wrong", 401),
        ("/gateway/v1/snapshot", secret, 400),
        (many.as_str(), secret, 400),
        (newer.as_str(), secret, 406),
    ] {
        assert_eq!(ask(path, secret).await.0, status, "{path}");
    }
    let nobody = service.http.get(service.gateway_url(&good)).send().await;
    assert_eq!(nobody.unwrap().status(), StatusCode::UNAUTHORIZED);
}
