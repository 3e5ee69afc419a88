//! The listeners: both versions of HTTP, health, and a Unix socket for gateways.

use std::os::unix::fs::PermissionsExt as _;

use reqwest::{Client, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use writ_token_service::{config::GatewayListen, store::Place};

use crate::harness::Service;

#[tokio::test(flavor = "multi_thread")]
async fn both_listeners_speak_http_1_and_http_2_without_tls() {
    let service = Service::start().await;
    let h2 = Client::builder().http2_prior_knowledge().build().unwrap();
    for url in [
        service.public_url("/oauth/jwks"),
        service.gateway_url("/gateway/v1/snapshot"),
    ] {
        let one = Client::builder()
            .http1_only()
            .build()
            .unwrap()
            .get(&url)
            .send()
            .await
            .unwrap();
        let two = h2.get(&url).send().await.unwrap();
        assert_eq!(one.version(), reqwest::Version::HTTP_11);
        assert_eq!(two.version(), reqwest::Version::HTTP_2);
        assert_eq!(one.status(), two.status());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_public_and_the_gateways_api_is_not() {
    let service = Service::start().await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(
            service
                .http
                .get(service.public_url(path))
                .send()
                .await
                .unwrap()
                .status(),
            StatusCode::OK
        );
    }
    for path in ["/gateway/v1/snapshot", "/gateway/v1/events"] {
        let status = service
            .http
            .get(service.public_url(path))
            .send()
            .await
            .unwrap()
            .status();
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_may_come_in_on_a_socket_of_the_owners() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gateway.sock");
    let service =
        Service::start_with(|config| config.gateway = GatewayListen::Unix(path.clone())).await;
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    stream
        .write_all(b"GET /gateway/v1/snapshot HTTP/1.1\r\nhost: writ\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    service.running.stop().await;
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_end_is_cut_off() {
    let service = Service::start().await;
    let request = service.http.post(service.gateway_url("/oauth/token"));
    let request = request.basic_auth("edge", Some(&service.gateway_secret));
    let huge = "a=".to_owned() + &"x".repeat(9 * 1024 * 1024);
    let response = request
        .header("content-type", "application/x-www-form-urlencoded")
        .body(huge)
        .send()
        .await;
    assert!(response.map_or(true, |r| r.status() == StatusCode::PAYLOAD_TOO_LARGE));
}

#[tokio::test(flavor = "multi_thread")]
async fn data_directory_and_database_are_their_owners() {
    let service = Service::start_with(|config| {
        config.store = Some(Place::Directory(config.data_dir.clone()));
    })
    .await;
    let dir = &service.running.app.config.data_dir;
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(dir), 0o700);
    for file in ["writ.db", "writ.db-wal"] {
        assert_eq!(mode(&dir.join(file)), 0o600, "{file}");
    }
}
