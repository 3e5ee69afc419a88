//! How long: a request has to arrive soon, and its response may take its time.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use writ_tests::mcp;
use writ_tests::traps::table::LIMITS;
use writ_tests::traps::upstream::STREAMS;
use writ_tests::traps::{Edit, Trap};
use writ_tests::wait::{PATIENCE, until};

use super::{Site, WORKS, instead};

/// The shipped times, so short that a test can wait for them.
const QUICK_REQUESTS: Edit = ("request_timeout: 30s", "request_timeout: 1s");
const QUICK_HEADERS: Edit = (
    "request_headers_timeout: 10s",
    "request_headers_timeout: 1s",
);
const QUICK_STREAMS: Edit = ("stream_idle_timeout: 300s", "stream_idle_timeout: 1s");

const fn quick(name: &'static str, listener: &'static [Edit]) -> Trap {
    Trap {
        name,
        listener,
        cluster: &[],
        noticed: &[],
    }
}

const QUICK: [Trap; 4] = [
    quick("quick-requests", &[QUICK_REQUESTS]),
    quick("quick-headers", &[QUICK_HEADERS]),
    quick("quick-streams", &[QUICK_STREAMS]),
    quick(
        "silent-streams",
        &[
            QUICK_STREAMS,
            ("                            idle_timeout: 3600s\n", ""),
        ],
    ),
];

#[tokio::test]
async fn requests_arrive_soon_and_responses_take_their_time() {
    let traps = instead(LIMITS, &QUICK);
    let site = Site::start("traps-time", traps).await;
    slow_requests(&site).await;
    streams(&site).await;
}

/// A connection on which part of a request has been sent.
async fn begun(address: SocketAddr, part: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(part).await.unwrap();
    stream
}

/// Everything until Envoy closes.
async fn to_the_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("Envoy closes")
        .ok();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Who sends a request byte by byte holds a stream and its context in the filter.
async fn slow_requests(site: &Site) {
    let message = mcp::call_message(WORKS, &serde_json::json!({})).to_string();
    let length = format!("content-length: {}\r\nconnection: close\r\n", message.len());
    let head = site.call(WORKS).head(site.shipped(), &length);
    let whole = [head.as_slice(), message.as_bytes()].concat();
    for (trap, quick, part) in [
        ("slow-bodies", "quick-requests", head.len() + 5),
        ("slow-headers", "quick-headers", head.len() - 5),
    ] {
        // First the one without a limit: it has waited longer than the other when that one is cut off.
        let mut unlimited = begun(site.spoilt(trap), &whole[..part]).await;
        let mut limited = begun(site.spoilt(quick), &whole[..part]).await;
        let answer = to_the_end(&mut limited).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{quick}: {answer}");
        unlimited.write_all(&whole[part..]).await.unwrap();
        let answer = to_the_end(&mut unlimited).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{trap}: {answer}");
    }
}

/// A stream is open as long as it is needed, silent or not.
async fn streams(site: &Site) {
    let message = mcp::call_message(STREAMS, &serde_json::json!({})).to_string();
    let length = format!("content-length: {}\r\nconnection: close\r\n", message.len());
    let head = site.call(STREAMS).head(site.shipped(), &length);
    // First those that go on, so that they are older than the others when those are cut off.
    site.upstream.reached();
    let whole = [head.as_slice(), message.as_bytes()].concat();
    let mut lasting = Vec::new();
    for (name, to) in [
        ("shipped", site.shipped()),
        ("quick-streams", site.spoilt("quick-streams")),
    ] {
        lasting.push((name, begun(to, &whole).await));
    }
    until("both streams", PATIENCE, async || {
        (site.upstream.count() >= 2).then_some(())
    })
    .await
    .unwrap();
    for trap in ["silent-streams", "short-responses"] {
        let mut stream = begun(site.spoilt(trap), &whole).await;
        let answer = to_the_end(&mut stream).await;
        assert!(answer.contains("first"), "{trap}: {answer}");
        assert!(!answer.contains("\"result\""), "{trap}: cut off: {answer}");
    }
    site.upstream.go_on();
    for (name, mut stream) in lasting {
        let answer = to_the_end(&mut stream).await;
        assert!(answer.contains("\"result\""), "{name}: {answer}");
    }
}
