//! What is found that should not be, or is new: with its word, once, and turned into registrations.

use std::collections::BTreeSet;

use jiff::Timestamp;
use reqwest::StatusCode;
use serde_json::{Value, json};
use writ_token_service::{
    audit::{Finding, Kind, Record, Verdict},
    registry::{Gateway, GatewayKind, GatewayProof, Id, Server, Status},
    secret::SecretHash,
    serve::Running,
    snapshot::new_secret,
    store::{
        audit::Filter,
        shadow_servers::{Fate, ShadowServer},
    },
};

use crate::{
    follower::Follower,
    harness::{Form, GUARD, Service, call, gateway_url, refusal},
    process::run,
};

const EGRESS: &str = "out";
const HOST: &str = "mcp.example.com";

/// A service with an egress, and its secret; the ledger's own place is known.
async fn with_egress() -> (Service, String) {
    let service = Service::start().await;
    let (store, now) = (service.store(), Timestamp::now());
    let sealing = &service.running.app.config.keys.sealing;
    let secret = new_secret(store, sealing).await.unwrap().to_string();
    let egress = Gateway {
        id: Id::parse(EGRESS).unwrap(),
        kind: GatewayKind::Egress,
        proof: GatewayProof::Secret(SecretHash::of(&secret)),
        servers: BTreeSet::new(),
        status: Status::Approved,
    };
    store.add_gateway(&egress, now).await.unwrap();
    let behind = Server {
        upstream: Some("https://behind.internal/mcp".to_owned()),
        ..Server::new(
            Id::parse("behind").unwrap(),
            "https://gateway.example/behind/mcp".to_owned(),
            "urn:behind".to_owned(),
            SecretHash::of("s"),
        )
    };
    store.add_server(&behind, now).await.unwrap();
    (service, secret)
}

fn seen(changes: &Value) -> Value {
    let mut seen = json!({"type": "shadow_server", "host": HOST, "path": "/mcp", "method": "tools/call", "target": "search",
        "client": "agent/1", "user_agent": "sdk/2", "refused": false, "source_ip": "192.0.2.1", "request_id": "r",
        "first": "2026-11-23T18:00:00Z", "last": "2026-11-23T18:00:00Z", "count": 3});
    let changes = changes.as_object().unwrap().clone();
    seen.as_object_mut().unwrap().extend(changes);
    seen
}

async fn report(service: &Service, secret: &str, events: &[Value]) {
    let answer = service.report_as((EGRESS, secret), &json!(events)).await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
}

async fn found(service: &Service, finding: Finding) -> Vec<Record> {
    let filter = Filter {
        finding: Some(finding),
        ..Filter::default()
    };
    let entries = service.store().newest_records(&filter, 1000).await.unwrap();
    entries.into_iter().map(|entry| entry.record).collect()
}

async fn inventory(service: &Service) -> Vec<ShadowServer> {
    service.store().shadow_servers(true).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_server_is_counted_and_what_is_new_of_it_is_on_record() {
    let (service, secret) = with_egress().await;
    for n in 0..3 {
        report(
            &service,
            &secret,
            &[seen(&json!({"request_id": n.to_string()}))],
        )
        .await;
    }
    let other = json!({"target": "write", "source_ip": "192.0.2.2", "client": null, "method": "tools/call"});
    report(&service, &secret, &[seen(&other)]).await;
    let records = found(&service, Finding::ShadowServer).await;
    let [first, second] = records.as_slice() else {
        panic!("{records:?}")
    };
    assert_eq!((first.kind, first.decision), (Kind::Rogue, None));
    assert_eq!(first.gateway.as_deref(), Some(EGRESS));
    assert_eq!(first.detail.as_ref().unwrap()["host"], HOST);
    assert_eq!(second.target.as_deref(), Some("write"));
    let listed = inventory(&service).await;
    let [server] = listed.as_slice() else {
        panic!("{listed:?}")
    };
    assert_eq!(
        (&*server.host, &*server.path, server.calls),
        (HOST, "/mcp", 12)
    );
    assert_eq!(server.tools, ["search", "write"]);
    assert_eq!(server.clients, ["agent/1", "sdk/2"]);
    assert_eq!(server.sources, ["192.0.2.1", "192.0.2.2"]);
    // Each refusal is on record.
    for n in 0..2 {
        let refused = json!({"refused": true, "request_id": format!("refused {n}")});
        report(&service, &secret, &[seen(&refused)]).await;
    }
    let records = found(&service, Finding::ShadowServer).await;
    let refused = records.iter().filter(|r| r.decision == Some(Verdict::Deny));
    assert_eq!(refused.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_says_what_is_shadow_and_what_went_past_a_gateway() {
    let (service, secret) = with_egress().await;
    let at = |host: &str, path: &str| seen(&json!({"host": host, "path": path}));
    let events = [
        at("gateway.example", "/behind/mcp"),
        at("behind.internal", "/mcp"),
        at("behind.internal", "/other"),
        at("*", "*"),
    ];
    report(&service, &secret, &events).await;
    let bypass = found(&service, Finding::GatewayBypass).await;
    assert_eq!(bypass.len(), 1);
    assert_eq!(bypass[0].server.as_deref(), Some("behind"));
    assert_eq!(found(&service, Finding::ShadowServer).await.len(), 2);
    let listed = inventory(&service).await;
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0].path, "/other");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_makes_up_servers_and_clients_fills_nothing() {
    let (service, secret) = with_egress().await;
    let text = "x\u{202e}".repeat(1000);
    let long = json!({"host": text, "path": text, "client": text, "target": text, "source_ip": text, "count": u64::MAX});
    report(&service, &secret, &[seen(&long)]).await;
    let many: Vec<Value> = (0..300)
        .map(|n| seen(&json!({"client": n.to_string(), "target": n.to_string()})))
        .collect();
    report(&service, &secret, &many).await;
    let listed = inventory(&service).await;
    let server = listed.iter().find(|server| server.host == HOST).unwrap();
    assert_eq!((server.clients.len(), server.tools.len()), (100, 100));
    let long = listed.iter().find(|server| server.host != HOST).unwrap();
    assert!(long.host.len() <= 300 && !long.host.contains('\u{202e}'));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_egress_does_nothing_but_report_what_leaves() {
    let (service, secret) = with_egress().await;
    let rogue = json!({"type": "rogue", "server": "ledger", "credential": "none", "reason": "", "source_ip": "",
        "request_id": "", "first": "", "last": "", "count": 1});
    let answer = service
        .report_as((EGRESS, &secret), &json!([rogue, seen(&json!({}))]))
        .await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert_eq!(found(&service, Finding::ShadowServer).await.len(), 1);
    assert_eq!(found(&service, Finding::ForeignCredential).await.len(), 0);
    for other in [
        ("edge", &service.gateway_secret),
        (GUARD, &service.guard_secret),
    ] {
        let answer = service
            .report_as((other.0, other.1), &json!([seen(&json!({}))]))
            .await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{}", other.0);
    }
    let form = Form::new(&service.caller_token(), &call("echo"));
    let minting = service.http.post(service.gateway_url("/oauth/token"));
    let minting = minting.basic_auth(EGRESS, Some(&secret)).form(&form.0);
    let told = refusal(minting.send().await.unwrap()).await;
    assert_eq!(told, (400, "unauthorized_client".to_owned()));
    let (token, _) = service.mint(&call("echo")).await;
    let asked = json!({"server": "ledger", "token": token, "source_ip": "", "request_id": ""});
    let spending = service
        .http
        .post(service.gateway_url("/gateway/v1/consume"));
    let spending = spending.basic_auth(EGRESS, Some(&secret)).json(&asked);
    assert_eq!(refusal(spending.send().await.unwrap()).await.0, 403);
    // It sees where servers are, and whom else it could be about.
    let follower = Follower::up_to_date(&service, EGRESS, &secret).await;
    let servers = follower.servers();
    let behind = &servers["behind"];
    assert_eq!(
        behind.upstream.as_deref(),
        Some("https://behind.internal/mcp")
    );
    assert_eq!(servers.len(), 3);
    assert!(servers.values().all(|server| {
        server.seal_key.is_none() && server.pins.is_empty() && server.upstream_audience.is_empty()
    }));
    assert!(follower.agents().is_empty());
    let edge = Follower::up_to_date(&service, "edge", &service.gateway_secret).await;
    assert!(edge.servers().values().all(|s| s.upstream.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_dismissed_is_only_counted_and_what_was_adopted_is_known() {
    let (service, secret) = with_egress().await;
    report(&service, &secret, &[seen(&json!({}))]).await;
    let id = inventory(&service).await[0].id.clone();
    let (store, now) = (service.store(), Timestamp::now());
    store.dismiss(&id, "a demo", now).await.unwrap();
    assert!(store.dismiss("nothing", "x", now).await.is_err());
    let more = seen(&json!({"source_ip": "192.0.2.9", "request_id": "later"}));
    report(&service, &secret, &[more]).await;
    assert_eq!(found(&service, Finding::ShadowServer).await.len(), 1);
    let listed = inventory(&service).await;
    assert_eq!((listed[0].fate, listed[0].calls), (Fate::Dismissed, 6));
    assert_eq!(listed[0].reason.as_deref(), Some("a demo"));
    let words = run(service.dir.path(), &["rogue", "servers", "--all"]);
    let words = String::from_utf8(words.stdout).unwrap();
    assert!(words.contains("dismissed: a demo"), "{words}");
    assert!(store.shadow_servers(false).await.unwrap().is_empty());

    let server = Server {
        upstream: Some(format!("https://{HOST}/mcp")),
        ..Server::new(
            Id::parse("search").unwrap(),
            "https://gateway.example/search/mcp".to_owned(),
            format!("https://{HOST}/mcp"),
            SecretHash::of("s"),
        )
    };
    store.adopt(&id, &server, now).await.unwrap();
    let listed = inventory(&service).await;
    assert_eq!(listed[0].server.as_deref(), Some("search"));
    let again = seen(&json!({"request_id": "adopted"}));
    report(&service, &secret, &[again]).await;
    assert_eq!(found(&service, Finding::GatewayBypass).await.len(), 1);
    // Once nobody knows it any more, it is a shadow again.
    let what = writ_token_service::store::registrations::Registered::Server;
    store.remove(what, "search", now).await.unwrap();
    let gone = seen(&json!({"request_id": "gone", "source_ip": "192.0.2.77"}));
    report(&service, &secret, &[gone]).await;
    assert_eq!(inventory(&service).await[0].fate, Fate::Open);
    assert_eq!(found(&service, Finding::ShadowServer).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_nobody_registered_is_told_of_once_by_all_services() {
    let service = Service::start().await;
    let other = service.beside().await;
    let form = || Form::new(&service.caller_token(), &call("brief"));
    for _ in 0..4 {
        let (mine, others) = (form(), form());
        let both = tokio::join!(
            service.exchange(&mine),
            service.exchange_at(&other, &others)
        );
        assert_eq!([both.0.status(), both.1.status()], [StatusCode::OK; 2]);
    }
    let news = found(&service, Finding::NewTool).await;
    let [record] = news.as_slice() else {
        panic!("{news:?}")
    };
    assert_eq!(record.server.as_deref(), Some("ledger"));
    assert_eq!(record.target.as_deref(), Some("brief"));
    assert_eq!(record.agent.as_deref(), Some("assistant"));
    let minted = service.records().await;
    let of_token = |r: &&Record| r.kind == Kind::Mint && r.token_id == record.token_id;
    assert!(minted.iter().find(of_token).is_some(), "with its mint");
    other.stop().await;
    // Another process, with nothing in memory.
    let fresh: Running = service.beside().await;
    let request = service.http.post(gateway_url(&fresh, "/oauth/token"));
    let request = request.basic_auth("edge", Some(&service.gateway_secret));
    let answer = request.form(&form().0).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(found(&service, Finding::NewTool).await.len(), 1);
    fresh.stop().await;
    // One that the agent's registration names is no news.
    service.mint(&call("echo")).await;
    assert_eq!(found(&service, Finding::NewTool).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_found_by_what_they_are() {
    let service = Service::start().await;
    let (token, _) = service.mint(&call("echo")).await;
    let form = [("token", token.as_str()), ("consume", "true")];
    for active in [true, false] {
        assert_eq!(service.introspect(&form).await["active"], active);
    }
    let pat = [("token", "ghp_abc"), ("consume", "true")];
    service.introspect(&pat).await;
    let misused = json!({"type": "rogue", "server": "ledger", "credential": "wrong_binding", "reason": "", "source_ip": "",
        "request_id": "", "first": "", "last": "", "count": 2});
    let guard = (GUARD, service.guard_secret.as_str());
    service.report_as(guard, &json!([misused])).await;
    for (finding, credential) in [
        (Finding::ReplayedToken, "replay"),
        (Finding::ForeignCredential, "github"),
        (Finding::MisusedToken, "wrong_binding"),
    ] {
        let found = found(&service, finding).await;
        assert_eq!(found.len(), 1, "{finding:?}");
        assert_eq!(found[0].detail.as_ref().unwrap()["credential"], credential);
    }
}

#[test]
fn an_egress_is_registered_for_no_server_and_stays_one() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str]| {
        let output = run(dir.path(), arguments);
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let added = ["gateway", "add", "out", "--kind", "egress"];
    assert!(run(dir.path(), &added).status.success());
    let for_one = [
        "gateway", "add", "x", "--kind", "egress", "--server", "ledger",
    ];
    assert!(refused(&for_one).contains("for no server"));
    assert!(refused(&["gateway", "add", "edge"]).contains("--server"));
    for kind in ["gateway", "guard", "egress"] {
        let told = refused(&["gateway", "update", "out", "--kind", kind]);
        assert!(told.contains("remove it"), "{told}");
    }
    let told = refused(&["rogue", "dismiss", "a.example", "--reason", "x"]);
    assert!(told.contains("writ rogue servers"), "{told}");
    let told = refused(&["rogue", "adopt", "a.example"]);
    assert!(told.contains("--gateway"), "{told}");
}
