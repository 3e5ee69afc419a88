//! What is switched off is refused at once: by the service, whatever the gateway's snapshot still says.

mod bad;

use bad::{Answer, Post, a_good_call_succeeds, assert_nothing_reached, deployment};
use writ_tests::deployment::Deployment;
use writ_tests::registrations::{BATCH, PASSWORD, SERVER, USER};
use writ_tests::wait::{PATIENCE, until};

async fn call(deployment: &Deployment, token: &str) -> Answer {
    Post::good(token).send(deployment.envoy.listener()).await
}

fn has_result(answer: &Answer) -> bool {
    String::from_utf8_lossy(&answer.body).contains(r#""result""#)
}

/// Disables, sees the very next call refused, and enables again.
async fn disable_and_enable(kind: &str, id: &str, token: &str, deployment: &Deployment) {
    let answer = call(deployment, token).await;
    assert!(has_result(&answer), "{kind} {id} before: {answer}");
    deployment.ledger.tap().clear();

    deployment.service.cli(&[kind, "disable", id]).unwrap();
    let answer = call(deployment, token).await;
    assert!(!has_result(&answer), "{kind} {id} while disabled: {answer}");
    assert!(
        !answer.body.is_empty(),
        "{kind} {id}: a refusal says why: {answer}"
    );
    assert_nothing_reached(deployment, kind);

    deployment.service.cli(&[kind, "enable", id]).unwrap();
}

/// Waits until calls go through again: the gateway has to hear of it.
async fn goes_through(token: &str, deployment: &Deployment) {
    until("the call to go through again", PATIENCE, async || {
        let answer = call(deployment, token).await;
        has_result(&answer).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_disabled_agent_server_or_user_is_refused_at_once() {
    let deployment = deployment("bad-disabled").await;
    let batch = deployment.batch_token().await.unwrap();
    for (kind, id) in [("agent", BATCH), ("server", SERVER)] {
        disable_and_enable(kind, id, &batch, &deployment).await;
        goes_through(&batch, &deployment).await;
    }
    let user = deployment.user_token().await.unwrap();
    disable_and_enable("user", USER, &user, &deployment).await;
    // What they had signed in for has ended with it.
    let again = deployment.user_token().await.unwrap();
    goes_through(&again, &deployment).await;
    assert!(!has_result(&call(&deployment, &user).await));
    a_good_call_succeeds(&deployment).await;
}

#[tokio::test]
async fn a_disabled_agent_or_user_gets_no_token() {
    let deployment = deployment("bad-disabled-token").await;
    deployment
        .service
        .cli(&["agent", "disable", BATCH])
        .unwrap();
    assert!(deployment.batch_token().await.is_err());
    deployment.service.cli(&["user", "disable", USER]).unwrap();
    assert!(deployment.user_token_for(USER, PASSWORD).await.is_err());
    deployment.service.cli(&["agent", "enable", BATCH]).unwrap();
    let token = deployment.batch_token().await.unwrap();
    goes_through(&token, &deployment).await;
}
