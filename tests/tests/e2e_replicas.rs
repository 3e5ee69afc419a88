//! Two services behind one gateway are replaced one after the other, and no call is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;
use tokio::task::JoinSet;
use writ_tests::deployment::Options;
use writ_tests::mcp;
use writ_tests::replicas::Replicas;
use writ_tests::token_service::TokenService;
use writ_tests::wait::{PATIENCE, until};

/// Agents that call all the time.
const AGENTS: usize = 3;
/// How many calls have to get through before the next step.
const CALLS: usize = 30;
/// A little longer than two health checks.
const CONFIG: &str = "drain = \"3s\"\n";

/// Ends it as whoever replaces it does, and starts it again.
async fn replace(service: &mut TokenService) {
    let process = service.process_mut().unwrap();
    let ended = process.terminate(PATIENCE).await.unwrap();
    assert!(ended.success(), "{ended}");
    service.serve().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_replaced_one_after_the_other_without_a_refused_call() {
    let mut replicas = Replicas::start(Options {
        // It would ask the first service about each token.
        open_ledger: true,
        workers: 2,
        service_config: Some(CONFIG.to_owned()),
        ..Options::named("replaced")
    })
    .await
    .unwrap();
    let writ = &replicas.deployment;
    let (token, url) = (writ.batch_token().await.unwrap(), writ.url());
    let (answered, over) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let mut agents = JoinSet::new();
    for _ in 0..AGENTS {
        let (http, token, url) = (writ.http.clone(), token.clone(), url.clone());
        let (answered, over) = (Arc::clone(&answered), Arc::clone(&over));
        agents.spawn(async move {
            while !over.load(Ordering::SeqCst) {
                let arguments = json!({"id": "ops"});
                let call = mcp::post_call(&http, &url, &token, "getAccount", &arguments);
                let answer = call.send().await.unwrap();
                let (status, text) = (answer.status(), answer.text().await.unwrap());
                let message = mcp::message_in(&text).unwrap_or_default();
                assert!(message["result"].is_object(), "{status} {text}");
                answered.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    let goes_on = async || {
        let before = answered.load(Ordering::SeqCst);
        until("more answers", PATIENCE, async || {
            (answered.load(Ordering::SeqCst) >= before + CALLS).then_some(())
        })
        .await
        .unwrap();
    };
    goes_on().await;
    replace(&mut replicas.deployment.service).await;
    goes_on().await;
    replace(&mut replicas.other).await;
    goes_on().await;
    over.store(true, Ordering::SeqCst);
    while let Some(agent) = agents.join_next().await {
        agent.unwrap();
    }
}
