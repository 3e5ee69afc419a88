//! A token that was minted for one request is sent once, and to its server.

use std::collections::BTreeMap;

use writ_tests::traps::table::SENT_ONCE;
use writ_tests::traps::upstream::{CLOSES, FAILS, HANGS, MOVES, Reached};
use writ_tests::wait::{PATIENCE, until};

use super::{Site, WORKS};

/// How often each token reached the server.
fn times(reached: &[Reached]) -> Vec<usize> {
    let mut times = BTreeMap::<&str, usize>::new();
    for one in reached {
        assert!(one.authorization().starts_with("Bearer "), "{one:?}");
        *times.entry(one.authorization()).or_default() += 1;
    }
    times.into_values().collect()
}

#[tokio::test]
async fn a_minted_token_is_sent_once_and_to_its_server() {
    let site = Site::start("traps-once", SENT_ONCE.iter().copied()).await;
    retries(&site).await;
    hedging(&site).await;
    redirects(&site).await;
    mirroring(&site).await;
    destinations(&site).await;
    idle_connections(&site).await;
}

async fn retries(site: &Site) {
    let failing = site
        .call(FAILS)
        .header("x-envoy-retry-on", "5xx,reset,connect-failure")
        .header("x-envoy-max-retries", "1");
    for (trap, expected) in [
        ("retries-on-a-route", 2),
        ("retries-on-a-host", 2),
        ("retries-on-a-cluster", 2),
        ("retries-by-header", 2),
        // Each of the two is enough where the other is missing.
        ("retries-behind-the-breaker", 1),
        ("without-a-breaker", 1),
    ] {
        let (answer, reached) = site.send(&failing, site.spoilt(trap)).await;
        assert_eq!(times(&reached), [expected], "{trap}: {answer}");
    }
    let (answer, reached) = site.send(&failing, site.shipped()).await;
    assert_eq!(answer.status, 503);
    assert_eq!(times(&reached), [1], "as shipped");
}

async fn hedging(site: &Site) {
    let hanging = site.call(HANGS);
    site.upstream.reached();
    let send = |address| {
        let hanging = hanging.clone();
        tokio::spawn(async move { hanging.send(address).await })
    };
    let shipped = send(site.shipped());
    until("the shipped listener's call", PATIENCE, async || {
        (site.upstream.count() == 1).then_some(())
    })
    .await
    .unwrap();
    let hedged = send(site.spoilt("hedges"));
    until("the hedged call, twice", PATIENCE, async || {
        (site.upstream.count() == 3).then_some(())
    })
    .await
    .unwrap();
    shipped.abort();
    hedged.abort();
    let reached = site.upstream.reached();
    let mut times = times(&reached);
    times.sort_unstable();
    assert_eq!(
        times,
        [1, 2],
        "one token from the shipped listener, once; one hedged, twice"
    );
}

/// Envoy would follow a redirect by sending the request again through all filters.
async fn redirects(site: &Site) {
    let moved = site.call(MOVES);
    let (answer, reached) = site.send(&moved, site.spoilt("redirects")).await;
    assert_eq!(
        times(&reached),
        [1],
        "the filter takes no minted token: {answer}"
    );
    assert_eq!(answer.status, 401, "{answer}");
    let (answer, reached) = site.send(&moved, site.shipped()).await;
    assert_eq!(times(&reached), [1], "{answer}");
    assert_ne!(answer.status, 401, "{answer}");
}

async fn mirroring(site: &Site) {
    for trap in ["mirrors-a-route", "mirrors-a-host"] {
        site.upstream.reached();
        let answer = site.call(WORKS).send(site.spoilt(trap)).await;
        assert_eq!(answer.status, 200, "{trap}: {answer}");
        until("the copy", PATIENCE, async || {
            (site.upstream.count() == 2).then_some(())
        })
        .await
        .unwrap();
        let reached = site.upstream.reached();
        assert_eq!(times(&reached), [2], "{trap}: the copy has the token");
    }
    let (answer, reached) = site.send(&site.call(WORKS), site.shipped()).await;
    assert_eq!(answer.status, 200, "{answer}");
    assert_eq!(times(&reached), [1], "as shipped");
}

/// The token is for one server; where the request goes is not for the caller to say.
async fn destinations(site: &Site) {
    let elsewhere = site.call(WORKS).header("x-cluster", "writ");
    let trap = site.spoilt("caller-names-the-cluster");
    let (answer, reached) = site.send(&elsewhere, trap).await;
    assert_eq!(
        reached.len(),
        0,
        "it went to the cluster the caller named: {answer}"
    );
    assert_ne!(answer.status, 200, "{answer}");
    let (answer, reached) = site.send(&elsewhere, site.shipped()).await;
    assert_eq!(answer.status, 200, "{answer}");
    assert_eq!(times(&reached), [1], "as shipped");
}

/// A server closes a connection that was idle too long; a request that is just then on its way is lost, and its token
/// with it.
async fn idle_connections(site: &Site) {
    let trap = "keeps-idle-connections";
    let call = site.call(CLOSES);
    let open = async |cluster: &str| {
        let name = format!("cluster.{cluster}.upstream_cx_active");
        site.writ.envoy.stat(&name).await.unwrap()
    };
    let (answer, _) = site.send(&call, site.spoilt(trap)).await;
    assert_eq!(answer.status, 200, "{answer}");
    let (answer, _) = site.send(&call, site.shipped()).await;
    assert_eq!(answer.status, 200, "{answer}");
    until(
        "Envoy closing the server's idle connections",
        PATIENCE,
        async || (open("ledger").await == 0).then_some(()),
    )
    .await
    .unwrap();
    assert_eq!(open(trap).await, 1, "without the setting it stays open");
    let (answer, _) = site.send(&call, site.spoilt(trap)).await;
    assert_eq!(answer.status, 503, "on a connection that closes: {answer}");
    let (answer, reached) = site.send(&call, site.shipped()).await;
    assert_eq!(answer.status, 200, "on a new connection: {answer}");
    assert_eq!(times(&reached), [1]);
}
