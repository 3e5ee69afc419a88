//! An agent is switched off while it works, and everything after that, with the time it took.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use writ_tests::deployment::Deployment;
use writ_tests::mcp;
use writ_tests::registrations::BATCH;
use writ_tests::wait::{PATIENCE, until};

use crate::stage::Stage;

/// Why nobody is let through in a lockdown.
const ALL: &str = "an administrator has stopped all calls but some";

/// (m): one command, and the next call is refused.
pub async fn an_agent_and_everything(demo: &Deployment, stage: &mut Stage) {
    stage.heading("the kill switch");
    let token = stage
        .step("(m) the batch agent is at work", async {
            let token = demo.batch_token().await?;
            until("the call to go through", PATIENCE, async || {
                call(demo, &token).await.ok()?.is_none().then_some(())
            })
            .await?;
            Ok((token, "its call went through".to_owned()))
        })
        .await;
    let Some(token) = token else { return };
    stage
        .step(
            "(m) `writ agent disable batch`: its next call is refused",
            refused_after(
                demo,
                &token,
                &["agent", "disable", BATCH],
                [
                    (401, "the agent is disabled or not registered"),
                    (401, "the agent is not approved"),
                ],
            ),
        )
        .await;
    stage
        .step("(m) `writ agent enable batch`: it goes on", async {
            goes_on(demo, &token, &["agent", "enable", BATCH]).await
        })
        .await;
    stage
        .step(
            "(m) `writ lockdown`: so is everybody's",
            refused_after(demo, &token, &["lockdown"], [(200, ALL), (401, ALL)]),
        )
        .await;
    stage
        .step("(m) `writ lockdown --off`: all go on", async {
            goes_on(demo, &token, &["lockdown", "--off"]).await
        })
        .await;
}

/// Runs the command; the next call is refused with one of these statuses and reasons: the service's, and the gateway's own
/// once it has heard of it.
async fn refused_after(
    demo: &Deployment,
    token: &str,
    command: &[&str],
    told: [(u16, &str); 2],
) -> Result<((), String)> {
    let on_record = [command, &["--reason", "it went astray"]].concat();
    demo.service.cli(&on_record)?;
    let done = Instant::now();
    let (status, said) = call(demo, token).await?.context("the call went through")?;
    let after = done.elapsed().as_secs_f64() * 1e3;
    ensure!(
        told.iter()
            .any(|(code, why)| status == *code && said.contains(why)),
        "refused otherwise: {status}, {said}"
    );
    Ok(((), format!("after {after:.1} ms: “{said}”")))
}

async fn goes_on(demo: &Deployment, token: &str, command: &[&str]) -> Result<((), String)> {
    demo.service.cli(command)?;
    let done = Instant::now();
    until("the call to go through", PATIENCE, async || {
        call(demo, token).await.ok()?.is_none().then_some(())
    })
    .await?;
    let after = done.elapsed().as_secs_f64() * 1e3;
    Ok(((), format!("after {after:.0} ms")))
}

/// The batch agent's call: nothing where it had a result, else the status and why it had none.
pub async fn call(demo: &Deployment, token: &str) -> Result<Option<(u16, String)>> {
    let answer = demo
        .post_call(token, "reconcile", &json!({}))
        .send()
        .await?;
    let status = answer.status().as_u16();
    let body = answer.text().await?;
    let message = mcp::message_in(&body)?;
    if message.get("result").is_some() {
        return Ok(None);
    }
    let said = message.pointer("/error/message").and_then(Value::as_str);
    ensure!(said.is_some(), "neither a result nor a reason: {body}");
    Ok(said.map(|said| (status, said.to_owned())))
}
