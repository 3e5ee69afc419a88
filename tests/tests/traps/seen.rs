//! Nothing reaches the server past the filter.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use writ_tests::deployment::gateway_yaml;
use writ_tests::envoy::{Envoy, Options};
use writ_tests::scratch::Scratch;
use writ_tests::traps::table::SEEN;
use writ_tests::traps::upstream::Upstream;
use writ_tests::traps::{Trap, beside};
use writ_tests::{binaries, ports};

use super::bad::Post;
use super::{Site, WORKS};

#[tokio::test]
async fn nothing_reaches_the_server_past_the_filter() {
    let site = Site::start("traps-seen", SEEN.iter().copied()).await;
    upgrades(&site).await;
    connects(&site).await;
    bypasses(&site).await;
    routes(&site).await;
}

/// Writes, and reads once.
async fn say(stream: &mut TcpStream, bytes: &[u8]) -> String {
    stream.write_all(bytes).await.unwrap();
    let mut answer = vec![0; 16 * 1024];
    let read = stream.read(&mut answer);
    let size = tokio::time::timeout(writ_tests::wait::PATIENCE, read)
        .await
        .expect("an answer")
        .unwrap_or(0);
    String::from_utf8_lossy(&answer[..size]).into_owned()
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

async fn upgrades(site: &Site) {
    let upgrade = |authorization: &str| {
        format!(
            "GET /mcp HTTP/1.1\r\nhost: {}\r\naccept: text/event-stream\r\n{authorization}connection: upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            site.shipped()
        )
    };
    let anonymous = upgrade("");
    let known = upgrade(&format!("authorization: {}\r\n", site.own_credential()));

    let mut past = connect(site.spoilt("upgrades-past-the-filter")).await;
    let answer = say(&mut past, anonymous.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert_eq!(say(&mut past, b"anything at all").await, "heard");
    assert_eq!(site.upstream.upgraded(), b"anything at all");
    site.upstream.reached();

    // Where the filter sees the upgrade it refuses it itself; as shipped Envoy does.
    for (address, status) in [(site.spoilt("upgrades"), "400"), (site.shipped(), "403")] {
        let answer = say(&mut connect(address).await, known.as_bytes()).await;
        let expected = format!("HTTP/1.1 {status}");
        assert!(answer.starts_with(&expected), "{answer}");
        assert_eq!(site.upstream.count(), 0, "reached the server");
    }
}

async fn connects(site: &Site) {
    let tunnel = format!("CONNECT {0} HTTP/1.1\r\nhost: {0}\r\n\r\n", site.shipped());
    let mut past = connect(site.spoilt("connects")).await;
    let answer = say(&mut past, tunnel.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let call = site
        .anonymous()
        .head(site.shipped(), "content-length: 2\r\n");
    let answer = say(&mut past, &[call, b"{}".to_vec()].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let reached = site.upstream.reached();
    assert_eq!(reached.len(), 1, "through the tunnel");
    assert_eq!(reached[0].authorization(), "", "nobody was asked who it is");

    let answer = say(&mut connect(site.shipped()).await, tunnel.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(site.upstream.count(), 0, "reached the server");
}

async fn bypasses(site: &Site) {
    let known = site.call(WORKS);
    for trap in ["bypassed", "bypassed-by-weight", "switched-off"] {
        let (answer, reached) = site.send(&site.anonymous(), site.spoilt(trap)).await;
        assert_eq!((answer.status, reached.len()), (200, 1), "{trap}: {answer}");
        let (_, reached) = site.send(&known, site.spoilt(trap)).await;
        assert_eq!(
            reached[0].authorization(),
            site.own_credential(),
            "{trap}: the caller's own token goes upstream"
        );
    }
    let (answer, reached) = site.send(&site.anonymous(), site.shipped()).await;
    assert_eq!((answer.status, reached.len()), (401, 0), "{answer}");
    let (answer, reached) = site.send(&known, site.shipped()).await;
    assert_eq!(answer.status, 200, "{answer}");
    assert_ne!(reached[0].authorization(), site.own_credential());
}

/// A route that names no server, or an unknown one, leads nowhere: the filter refuses what it knows nothing about.
async fn routes(site: &Site) {
    let other = site.call(WORKS).path("/other");
    for (trap, call) in [
        ("a-route-without-a-server", &other),
        ("an-unknown-server", &site.call(WORKS)),
    ] {
        let (answer, reached) = site.send(call, site.spoilt(trap)).await;
        assert_eq!(reached.len(), 0, "{trap}: {answer}");
        assert_eq!(answer.status, 404, "{trap}: {answer}");
    }
}

/// A module of the filter's interface that fails on every request:
///
/// ```wat
/// (module
///   (func (export "proxy_abi_version_0_2_1"))
///   (func (export "proxy_on_memory_allocate") (param i32) (result i32) i32.const 0)
///   (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) unreachable)
///   (memory (export "memory") 1))
/// ```
fn failing_module() -> Vec<u8> {
    let types = [&[
        3, 0x60, 0, 0, 0x60, 1, 0x7f, 1, 0x7f, 0x60, 3, 0x7f, 0x7f, 0x7f, 1, 0x7f,
    ][..]];
    let export = |name: &str, kind: u8, index: u8| {
        [&[name.len() as u8], name.as_bytes(), &[kind, index]].concat()
    };
    let exports = [
        vec![4],
        export("proxy_abi_version_0_2_1", 0, 0),
        export("proxy_on_memory_allocate", 0, 1),
        export("proxy_on_request_headers", 0, 2),
        export("memory", 2, 0),
    ]
    .concat();
    let section = |id: u8, content: &[u8]| [&[id, content.len() as u8], content].concat();
    [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &types.concat()),
        section(3, &[3, 0, 1, 2]),
        section(5, &[1, 0, 1]),
        section(7, &exports),
        section(10, &[3, 2, 0, 0x0b, 4, 0, 0x41, 0, 0x0b, 3, 0, 0, 0x0b]),
    ]
    .concat()
}

#[tokio::test]
async fn when_the_filter_fails_so_does_the_request() {
    let scratch = Scratch::new("traps-failing").unwrap();
    let upstream = Upstream::start().await.unwrap();
    let failing = scratch.write("failing.wasm", failing_module()).unwrap();
    let open: Trap = *SEEN.iter().find(|trap| trap.name == "fails-open").unwrap();
    let port = ports::free().unwrap();
    let yaml = gateway_yaml(upstream.port(), 1)
        .unwrap()
        .replace(
            &binaries::wasm().unwrap().display().to_string(),
            &failing.display().to_string(),
        )
        .unwrap();
    let yaml = beside(&yaml, &[(open, port)]).unwrap();
    let envoy = Envoy::start(&scratch, yaml, Options::default())
        .await
        .unwrap();

    let anonymous = Post::good("nobody's").without("authorization");
    for attempt in ["the request that breaks it", "the one after"] {
        let answer = anonymous.send(envoy.listener()).await;
        assert_eq!(answer.status, 503, "{attempt}: {answer}");
    }
    assert_eq!(upstream.reached().len(), 0, "as shipped");
    let answer = anonymous.send(([127, 0, 0, 1], port).into()).await;
    assert_eq!(answer.status, 200, "nobody decided: {answer}");
    assert_eq!(upstream.reached().len(), 1);
}
