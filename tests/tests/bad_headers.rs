//! Headers that are no good: refused with 400 or 401, and the VM lives on.

mod bad;

use bad::{Post, a_good_call_succeeds, assert_nothing_reached, deployment};

/// Not UTF-8, and yet allowed in a header by HTTP (RFC 9110 section 5.5, obs-text).
const NOT_TEXT: &[u8] = b"caf\xe9\xff";

#[tokio::test]
async fn bad_headers_are_refused_and_reach_nobody() {
    let deployment = deployment("bad-headers").await;
    let token = deployment.batch_token().await.unwrap();
    let good = || Post::good(&token);
    let bearer = format!("Bearer {token}");
    let spoilt = [bearer.as_bytes(), NOT_TEXT].concat();
    let in_query = format!("/mcp?access_token={token}");
    let cases = [
        (
            "a token that is not UTF-8",
            good().header("authorization", &spoilt),
        ),
        (
            "a tool name that is not UTF-8",
            good().header("mcp-name", NOT_TEXT),
        ),
        (
            "a method that is not UTF-8",
            good().header("mcp-method", NOT_TEXT),
        ),
        (
            "a version that is not UTF-8",
            good().header("mcp-protocol-version", NOT_TEXT),
        ),
        (
            "a session that is not UTF-8",
            good().header("mcp-session-id", NOT_TEXT),
        ),
        (
            "any header that is not UTF-8",
            good().header("x-anything", NOT_TEXT),
        ),
        (
            "the same token twice",
            good().another_header("authorization", &bearer),
        ),
        (
            "a token and a password",
            good().another_header("authorization", "Basic YTpi"),
        ),
        (
            "two tokens in one header",
            good().header("authorization", format!("{bearer}, {bearer}")),
        ),
        (
            "a token in the query",
            good().without("authorization").path(&in_query),
        ),
        ("a token in the query too", good().path(&in_query)),
        (
            "an oversized token",
            good().header("authorization", format!("Bearer {}", "x".repeat(40_000))),
        ),
        (
            "an oversized JWT",
            good().header(
                "authorization",
                format!("Bearer {token}{}", "A".repeat(40_000)),
            ),
        ),
        (
            "another scheme",
            good().header("authorization", "Basic YTpi"),
        ),
        (
            "a scheme without a token",
            good().header("authorization", "Bearer"),
        ),
        ("an empty token", good().header("authorization", "Bearer ")),
        ("an empty header", good().header("authorization", "")),
        ("no token", good().without("authorization")),
    ];
    for (name, post) in cases {
        let answer = post.send(deployment.envoy.listener()).await;
        assert!([400, 401].contains(&answer.status), "{name}: {answer}");
        if answer.status == 401 {
            let challenge = answer.header("www-authenticate").unwrap_or_default();
            assert!(challenge.starts_with("Bearer "), "{name}: {answer}");
            assert!(challenge.contains("resource_metadata="), "{name}: {answer}");
        }
        let shown = answer.to_string();
        assert!(
            !shown.contains(&token),
            "{name}: the answer repeats the token"
        );
        assert_nothing_reached(&deployment, name);
    }
    let log = deployment.envoy.log();
    assert!(!log.contains(&token), "a token is in Envoy's log");
    a_good_call_succeeds(&deployment).await;
}
