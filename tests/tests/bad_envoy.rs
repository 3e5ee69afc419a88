//! An Envoy that is set up wrong: nothing leaks, nothing hangs, and the log says what to change.

mod bad;

use std::time::{Duration, Instant};

use bad::{Post, assert_nothing_reached, jsonrpc_error};
use writ_tests::deployment::{Deployment, Options};

const OPTION: &str = "allow_on_headers_stop_iteration";

#[tokio::test]
async fn without_header_holding_no_token_leaks_and_a_503_comes_soon() {
    let options = Options {
        open_ledger: true,
        yaml: vec![(format!("{OPTION}: true"), format!("{OPTION}: false"))],
        ..Options::named("bad-holding")
    };
    let deployment = Deployment::start(options).await.unwrap();
    let token = deployment.batch_token().await.unwrap();
    for attempt in ["the first call", "the second call"] {
        let start = Instant::now();
        let answer = Post::good(&token).send(deployment.envoy.listener()).await;
        let elapsed = start.elapsed();
        assert_eq!(answer.status, 503, "{attempt}: {answer}");
        jsonrpc_error(&answer, attempt);
        assert!(
            elapsed < Duration::from_secs(10),
            "{attempt} took {elapsed:?}"
        );
        assert_nothing_reached(&deployment, attempt);
    }
    let log = deployment.envoy.log();
    assert!(
        log.lines().any(|line| line.contains(OPTION)),
        "no line of Envoy's log names {OPTION}:\n{log}"
    );
    assert!(!log.contains(&token), "the token is in Envoy's log");
}
