//! What route, filter and server could read in different ways is refused, or made one.

use writ_tests::traps::table::READ_ONE_WAY;

use super::bad::raw::exchange;
use super::{Site, WORKS};

#[tokio::test]
async fn what_could_be_read_in_two_ways_does_not_get_through() {
    let site = Site::start("traps-reading", READ_ONE_WAY.iter().copied()).await;
    header_names(&site).await;
    paths(&site).await;
    two_lengths(&site).await;
    trailers(&site).await;
}

/// Some servers read `_` and `-` in a header's name as the same.
async fn header_names(site: &Site) {
    let call = site.call(WORKS).header("mcp_name", "transfer");
    let (answer, reached) = site.send(&call, site.spoilt("underscores")).await;
    assert_eq!(answer.status, 200, "{answer}");
    assert_eq!(reached[0].header("mcp_name"), "transfer");
    assert_eq!(reached[0].header("mcp-name"), WORKS);
    let (answer, reached) = site.send(&call, site.shipped()).await;
    assert_eq!((answer.status, reached.len()), (400, 0), "{answer}");
}

/// Beside a route that is open to all, another spelling of `/mcp` would be the open route to Envoy and `/mcp` to a
/// server that reads paths its own way.
async fn paths(site: &Site) {
    for (trap, path, as_shipped) in [
        ("paths-as-they-come", "/public/../mcp", 401),
        ("slashes-as-they-come", "//mcp", 401),
        ("escaped-slashes", "/public/..%2Fmcp", 400),
        ("escaped-slashes", "/public/..%5Cmcp", 400),
    ] {
        let anonymous = site.anonymous().path(path);
        let (answer, reached) = site.send(&anonymous, site.spoilt(trap)).await;
        assert_eq!(answer.status, 200, "{trap}: {answer}");
        assert_eq!(reached[0].path, path, "{trap}");
        // The same open route with the shipped settings; and the shipped routes.
        for to in [site.spoilt("an-open-route"), site.shipped()] {
            let (answer, reached) = site.send(&anonymous, to).await;
            let got = (answer.status, reached.len());
            assert_eq!(got, (as_shipped, 0), "{trap}: {answer}");
        }
    }
}

/// Request smuggling: one length for what stands before Envoy, another for Envoy.
async fn two_lengths(site: &Site) {
    let call = site.call(WORKS);
    let head = call.head(
        site.shipped(),
        "content-length: 4\r\ntransfer-encoding: chunked\r\nconnection: close\r\n",
    );
    let message = writ_tests::mcp::call_message(WORKS, &serde_json::json!({})).to_string();
    let body = format!("{:x}\r\n{message}\r\n0\r\n\r\n", message.len());
    site.upstream.reached();
    let answer = exchange(site.spoilt("two-lengths"), &head, body.as_bytes()).await;
    assert_eq!(answer.status, 200, "{answer}");
    let reached = site.upstream.reached();
    assert_eq!(reached[0].body, message, "not the four bytes announced");
    let answer = exchange(site.shipped(), &head, body.as_bytes()).await;
    assert_eq!((answer.status, site.upstream.count()), (400, 0), "{answer}");
}

/// Headers that come after the decision: as shipped Envoy drops them, and where it passes them the filter refuses.
async fn trailers(site: &Site) {
    let call = site.call(WORKS);
    let head = call.head(
        site.shipped(),
        "transfer-encoding: chunked\r\ntrailer: x-api-key\r\nconnection: close\r\n",
    );
    let message = writ_tests::mcp::call_message(WORKS, &serde_json::json!({})).to_string();
    let body = format!(
        "{:x}\r\n{message}\r\n0\r\nx-api-key: standing-credential\r\n\r\n",
        message.len()
    );
    site.upstream.reached();
    let answer = exchange(site.spoilt("trailers"), &head, body.as_bytes()).await;
    assert_eq!((answer.status, site.upstream.count()), (400, 0), "{answer}");
    let answer = exchange(site.shipped(), &head, body.as_bytes()).await;
    assert_eq!(answer.status, 200, "{answer}");
    let reached = site.upstream.reached();
    assert_eq!(reached[0].header("x-api-key"), "");
    assert_eq!(reached[0].body, message);
}
