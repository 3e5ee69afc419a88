//! How much: bodies up to the filter's own limit, and no more requests than the service stands.

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;
use writ_tests::mcp;
use writ_tests::traps::table::LIMITS;
use writ_tests::traps::{Edit, Trap};

use super::bad::{Post, jsonrpc_error};
use super::{Site, WORKS, instead};

/// The shipped bucket with room for this many calls and nothing more for an hour.
const FEW: usize = 5;
const SMALL_BUCKET: Edit = (
    "token_bucket: { max_tokens: 10000, tokens_per_fill: 10000, fill_interval: 1s }",
    "token_bucket: { max_tokens: 5, tokens_per_fill: 1, fill_interval: 3600s }",
);
const SMALL_BUCKETS: [Trap; 3] = [
    Trap {
        name: "small-bucket",
        listener: &[SMALL_BUCKET],
        cluster: &[],
        noticed: &[],
    },
    Trap {
        name: "rate-limit-not-enforced",
        listener: &[
            SMALL_BUCKET,
            (
                "                      filter_enforced: { default_value: { numerator: 100, denominator: HUNDRED } }\n",
                "",
            ),
        ],
        cluster: &[],
        noticed: &[],
    },
    Trap {
        name: "no-rate-limit",
        listener: &[
            SMALL_BUCKET,
            (
                "name: envoy.filters.http.local_ratelimit\n",
                "name: envoy.filters.http.local_ratelimit\n                    disabled: true\n",
            ),
        ],
        cluster: &[],
        noticed: &[],
    },
];

#[tokio::test]
async fn bodies_are_refused_by_the_filter_and_floods_by_envoy() {
    let traps = instead(LIMITS, &SMALL_BUCKETS);
    let site = Site::start("traps-bounds", traps).await;
    buffers(&site).await;
    windows(&site).await;
    floods(&site).await;
}

/// A call with this much of an argument.
fn padded(bytes: usize) -> String {
    mcp::call_message(WORKS, &json!({ "padding": "x".repeat(bytes) })).to_string()
}

async fn buffers(site: &Site) {
    let large: Post = site.call(WORKS).body(padded(200_000));
    let (answer, reached) = site.send(&large, site.spoilt("small-buffer")).await;
    assert_eq!((answer.status, reached.len()), (413, 0), "{answer}");
    assert!(
        serde_json::from_slice::<serde_json::Value>(&answer.body).is_err(),
        "Envoy's own answer tells an MCP client nothing: {answer}"
    );
    let (answer, reached) = site.send(&large, site.shipped()).await;
    assert_eq!((answer.status, reached.len()), (200, 1), "{answer}");
    let too_large = site.call(WORKS).body(padded(1_100_000));
    let (answer, reached) = site.send(&too_large, site.shipped()).await;
    assert_eq!((answer.status, reached.len()), (413, 0), "{answer}");
    jsonrpc_error(&answer, "too large");
}

/// Over HTTP/2 the stream's window is the buffer.
async fn windows(site: &Site) {
    let post = async |to| {
        let stream = TcpStream::connect(to).await.unwrap();
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = Request::post(site.writ.url())
            .header("authorization", site.own_credential())
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", WORKS)
            .body(Full::new(Bytes::from(padded(900_000))))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap_or_default();
        (status, body.to_bytes())
    };
    let (status, body) = post(site.spoilt("small-window")).await;
    assert_eq!(status, 413, "{body:?}");
    assert!(serde_json::from_slice::<serde_json::Value>(&body).is_err());
    let (status, body) = post(site.shipped()).await;
    assert_eq!(status, 200, "{body:?}");
}

/// Every call that is decided on costs a mint.
async fn floods(site: &Site) {
    let call = site.call(WORKS);
    for (trap, reached) in [
        ("no-rate-limit", 2 * FEW),
        ("rate-limit-not-enforced", 2 * FEW),
        ("small-bucket", FEW),
    ] {
        site.upstream.reached();
        let mut refused = 0;
        for _ in 0..2 * FEW {
            let answer = call.send(site.spoilt(trap)).await;
            refused += usize::from(answer.status == 429);
        }
        assert_eq!(site.upstream.count(), reached, "{trap}");
        assert_eq!(refused, 2 * FEW - reached, "{trap}");
    }
}
