//! Clients that are named by the URL of their metadata document, published by a real https server.

use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};
use writ_token_service::{
    audit::Verdict,
    registry::{Origin, Status},
    store::registrations::Registered,
};

use crate::{
    browser::{Answer, Browser, Request, redeem},
    issuer::{Issuer, RESOURCE},
    platform::{Platform, answer},
    registration::text,
};

const PATH: &str = "/client.json";

async fn issuer(platform: &Platform, outbound: &str, domains: &str) -> (Issuer, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, &platform.authority_pem).unwrap();
    let toml = format!(
        "[outbound]\nca_file = {ca:?}\n{outbound}\n[registration.client_documents]\nenabled = true\ndomains = {domains}\n"
    );
    (Issuer::start_from(&toml, &[]).await, dir)
}

async fn start() -> (Platform, Issuer, tempfile::TempDir) {
    let platform = Platform::start().await;
    let (issuer, dir) = issuer(&platform, "allow = [\"127.0.0.0/8\"]", "[\"localhost\"]").await;
    (platform, issuer, dir)
}

fn document(platform: &Platform, redirect: &str) -> Value {
    json!({
        "client_id": platform.url(PATH),
        "client_name": "Notebook",
        "redirect_uris": [redirect],
        "grant_types": ["authorization_code"],
        "token_endpoint_auth_method": "none",
    })
}

/// With cache rules.
fn cached(document: &Value, cache: &str) -> String {
    let headers = format!("content-type: application/json\r\ncache-control: {cache}\r\n");
    answer("200 OK", &headers, &document.to_string())
}

async fn ask(issuer: &Issuer, platform: &Platform, redirect: &str) -> Answer {
    let query = Request::new()
        .with("client_id", &platform.url(PATH))
        .with("redirect_uri", redirect)
        .query();
    Browser::new(issuer).get(&query).await
}

const LOOPBACK: &str = "http://127.0.0.1/callback";

#[tokio::test]
async fn a_client_that_nobody_registered_gets_a_user_to_a_token() {
    let (platform, issuer, _dir) = start().await;
    platform.publish(PATH, document(&platform, LOOPBACK));
    let id = platform.url(PATH);
    let browser = Browser::new(&issuer);
    let code = browser.code(&Request::new().with("client_id", &id)).await;
    let (status, answer) = redeem(&issuer, &code, &[("client_id", id.as_str())]).await;
    assert_eq!(status, 200, "{answer}");
    let claims = issuer.claims(text(&answer, "access_token")).await;
    assert_eq!(claims["client_id"], id);
    assert_eq!(claims["aud"], RESOURCE);
    assert_eq!(platform.asked(PATH), 1, "one fetch served all of it");

    let registry = issuer.running.app.current_registry().await.unwrap();
    assert_eq!(
        registry.agent(&id).unwrap().origin,
        Origin::MetadataDocument
    );
    let record = &issuer.registration_records().await[0];
    assert_eq!(record.method.as_deref(), Some("client document"));
    assert_eq!(record.target.as_deref(), Some(id.as_str()));
}

#[tokio::test]
async fn clients_find_out_that_they_can_be_named_by_a_document() {
    let (_platform, issuer, _dir) = start().await;
    let url = format!("{}/.well-known/oauth-authorization-server", issuer.url);
    let metadata: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    assert_eq!(metadata["client_id_metadata_document_supported"], true);
    assert_eq!(
        metadata["registration_endpoint"],
        format!("{}/oauth/register", issuer.url)
    );
}

#[tokio::test]
async fn a_document_that_is_not_in_order_is_no_client() {
    let (platform, issuer, _dir) = start().await;
    let good = document(&platform, LOOPBACK);
    let json = "content-type: application/json\r\n";
    let mut other = good.clone();
    other["client_id"] = platform.url("/other.json").into();
    let mut secret = good.clone();
    secret["client_secret"] = "s".into();
    let elsewhere = format!("location: {}\r\n", platform.url("/moved.json"));
    platform.publish("/moved.json", good.clone());
    let mut padded = good.clone();
    padded["padding"] = "x".repeat(17 * 1024).into();
    for (given, told) in [
        (answer("302 Found", &elsewhere, ""), "answered 302"),
        (
            answer("404 Not Found", json, &good.to_string()),
            "answered 404",
        ),
        (answer("200 OK", json, &padded.to_string()), "16 KiB"),
        (
            answer("200 OK", json, &other.to_string()),
            "not the document&#39;s URL",
        ),
        (
            answer("200 OK", json, &secret.to_string()),
            "no client_secret",
        ),
        (answer("200 OK", json, "[]"), "one JSON object"),
        (
            answer("200 OK", "content-type: text/html\r\n", &good.to_string()),
            "application/json",
        ),
        (
            answer(
                "200 OK",
                json,
                &document(&platform, "http://evil.test/cb").to_string(),
            ),
            "not in order",
        ),
    ] {
        platform.answer(PATH, given);
        let page = ask(&issuer, &platform, LOOPBACK).await;
        assert_eq!((page.status, page.location.clone()), (400, None), "{told}");
        assert!(page.html.contains(told), "{told}: {}", page.html);
        issuer.pass(31);
    }
    assert_eq!(
        platform.asked("/moved.json"),
        0,
        "redirects are not followed"
    );
    let registry = issuer.running.app.current_registry().await.unwrap();
    assert!(registry.agent(&platform.url(PATH)).is_none());
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_and_not_asked_again_at_once() {
    let (platform, issuer, _dir) = start().await;
    platform.answer(PATH, String::new());
    let started = Instant::now();
    let page = ask(&issuer, &platform, LOOPBACK).await;
    assert!(page.html.contains("could not be fetched"), "{}", page.html);
    assert!(started.elapsed().as_secs() < 10);
    platform.publish(PATH, document(&platform, LOOPBACK));
    assert_eq!(ask(&issuer, &platform, LOOPBACK).await.status, 400);
    assert_eq!(platform.asked(PATH), 1);
    issuer.pass(31);
    assert_eq!(ask(&issuer, &platform, LOOPBACK).await.status, 200);
}

#[tokio::test]
async fn nothing_is_fetched_from_the_network_behind_the_service_or_for_other_domains() {
    let platform = Platform::start().await;
    platform.publish(PATH, document(&platform, LOOPBACK));
    let (inside, _dir) = issuer(&platform, "", "[\"localhost\"]").await;
    let page = ask(&inside, &platform, LOOPBACK).await;
    assert!(page.html.contains("could not be fetched"), "{}", page.html);
    let (elsewhere, _dir) = issuer(
        &platform,
        "allow = [\"127.0.0.0/8\"]",
        "[\"app.test\", \"*.localhost\"]",
    )
    .await;
    let page = ask(&elsewhere, &platform, LOOPBACK).await;
    assert!(page.html.contains("not accepted here"), "{}", page.html);
    assert_eq!(platform.asked(PATH), 0);
    let off = Issuer::start().await;
    assert_eq!(ask(&off, &platform, LOOPBACK).await.status, 400);
}

#[tokio::test]
async fn a_document_is_kept_as_long_as_it_says_within_bounds() {
    let (platform, issuer, _dir) = start().await;
    let good = document(&platform, LOOPBACK);
    platform.answer(PATH, cached(&good, "max-age=600"));
    for (seconds, fetched) in [(0, 1), (590, 1), (11, 2)] {
        issuer.pass(seconds);
        assert_eq!(ask(&issuer, &platform, LOOPBACK).await.status, 200);
        assert_eq!(platform.asked(PATH), fetched);
    }
    platform.answer(PATH, cached(&good, "no-store"));
    issuer.pass(601);
    for (seconds, fetched) in [(0, 3), (50, 3), (11, 4)] {
        issuer.pass(seconds);
        assert_eq!(ask(&issuer, &platform, LOOPBACK).await.status, 200);
        assert_eq!(platform.asked(PATH), fetched);
    }
    let before = issuer.registration_records().await.len();
    assert_eq!(before, 1, "what has not changed is not recorded again");
}

#[tokio::test]
async fn a_document_that_disappears_or_changes_its_redirect_uris_stops_working() {
    let (platform, issuer, _dir) = start().await;
    platform.publish(PATH, document(&platform, LOOPBACK));
    assert_eq!(ask(&issuer, &platform, LOOPBACK).await.status, 200);

    platform.publish(PATH, document(&platform, "https://localhost/cb"));
    issuer.pass(3601);
    let page = ask(&issuer, &platform, LOOPBACK).await;
    assert!(
        page.html.contains("not registered for this application"),
        "{}",
        page.html
    );
    assert_eq!(
        ask(&issuer, &platform, "https://localhost/cb").await.status,
        200
    );

    platform.answer(PATH, answer("410 Gone", "", ""));
    issuer.pass(3601);
    assert_eq!(
        ask(&issuer, &platform, "https://localhost/cb").await.status,
        400
    );
    let id = platform.url(PATH);
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", id.as_str()),
        ("code", "c"),
    ];
    let (status, answer) = issuer.token(&form).await;
    assert_eq!((status, text(&answer, "error")), (401, "invalid_client"));
}

#[tokio::test]
async fn a_changed_document_is_judged_whole_and_a_persons_word_holds_for_what_they_saw() {
    let (platform, issuer, _dir) = start().await;
    let held = document(&platform, "https://elsewhere.test/cb");
    platform.publish(PATH, held.clone());
    let page = ask(&issuer, &platform, "https://elsewhere.test/cb").await;
    assert!(
        page.html.contains("waits for an administrator"),
        "{}",
        page.html
    );
    let id = platform.url(PATH);
    let store = &issuer.running.app.store;
    store
        .decide(Registered::Agent, &id, Verdict::Allow, Timestamp::now())
        .await
        .unwrap();
    issuer.pass(3601);
    assert_eq!(
        ask(&issuer, &platform, "https://elsewhere.test/cb")
            .await
            .status,
        200
    );
    assert_eq!(platform.asked(PATH), 2);

    let mut changed = held;
    changed["client_name"] = "Notebook of somebody else".into();
    platform.publish(PATH, changed);
    issuer.pass(3601);
    assert_eq!(
        ask(&issuer, &platform, "https://elsewhere.test/cb")
            .await
            .status,
        400
    );
    let registry = issuer.running.app.current_registry().await.unwrap();
    assert_eq!(registry.agent(&id).unwrap().status, Status::Pending);
}

#[tokio::test]
async fn a_client_that_was_switched_off_stays_off_whatever_its_document_says() {
    let (platform, issuer, _dir) = start().await;
    platform.publish(PATH, document(&platform, LOOPBACK));
    assert_eq!(ask(&issuer, &platform, LOOPBACK).await.status, 200);
    issuer.disable(Registered::Agent, &platform.url(PATH)).await;
    issuer.pass(3601);
    let page = ask(&issuer, &platform, LOOPBACK).await;
    assert!(page.html.contains("switched off"), "{}", page.html);
}
