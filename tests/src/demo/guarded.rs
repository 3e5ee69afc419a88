//! The last scene: a copy of the ledger that checks nothing itself, and the guard before it.

use anyhow::{Context, Result, ensure};
use reqwest::StatusCode;
use serde_json::{Value, json};
use writ_tests::deployment::Deployment;
use writ_tests::envoy::Envoy;
use writ_tests::guard::{self, GUARD};
use writ_tests::ledger::Ledger;
use writ_tests::{mcp, ports};

use crate::stage::Stage;

/// A server that believes everybody, and its guard.
struct Guarded {
    guard: Envoy,
    ledger: Ledger,
}

/// (i): what the ledger refuses by itself, the guard refuses for a server that would not.
pub async fn a_server_that_checks_nothing(demo: &Deployment, stage: &mut Stage) {
    stage.heading("a ledger that checks nothing itself, behind the guard");
    let started = stage
        .step("(i) a second Envoy goes before it as its guard", async {
            let started = start(demo).await?;
            Ok((started, "the same filter, mode guard".to_owned()))
        })
        .await;
    let Some(Guarded { guard, ledger }) = started else {
        return;
    };
    let personal = format!("ghp_{}", "f6E5d4C3b2A1".repeat(3));
    stage
        .step("(i) a personal access token is refused there, too", async {
            let request = mcp::post_call(
                &demo.http,
                &guard.url("/mcp"),
                &personal,
                "listAccounts",
                &json!({}),
            );
            let said = refused(request, StatusCode::UNAUTHORIZED).await?;
            on_record(demo, "github").await?;
            Ok(((), said))
        })
        .await;
    stage
        .step(
            "(i) so is a minted token that was caught on its way",
            async {
                let token = demo.batch_token().await?;
                let called = demo
                    .post_call(&token, "reconcile", &json!({}))
                    .send()
                    .await?;
                ensure!(
                    called.status().is_success(),
                    "the call was answered {}",
                    called.status()
                );
                let caught = demo.ledger.tap().last_call("reconcile");
                let caught = caught.context("there was no such call")?;
                let request = demo
                    .http
                    .request(caught.method.clone(), guard.url("/mcp"))
                    .headers(caught.headers.clone())
                    .body(caught.body.clone());
                let said = refused(request, StatusCode::FORBIDDEN).await?;
                on_record(demo, "replay").await?;
                Ok(((), said))
            },
        )
        .await;
    stage
        .step("    and nothing of it reached the server", async {
            let reached = ledger.tap().count();
            ensure!(reached == 0, "{reached} requests did");
            Ok((
                (),
                "both are on record as rogue, as the guard saw them".to_owned(),
            ))
        })
        .await;
}

async fn start(demo: &Deployment) -> Result<Guarded> {
    let ledger = Ledger::start_open(Ledger::bind().await?).await?;
    let secret = guard::register(&demo.service)?;
    let options = guard::Options {
        workers: 1,
        yaml: Vec::new(),
        server: ledger.address().port(),
        port: ports::free()?,
    };
    let guard = guard::start(&demo.scratch, &demo.service, &secret, &options).await?;
    Ok(Guarded { guard, ledger })
}

/// Sends what must be refused with this status; answers what was said.
async fn refused(request: reqwest::RequestBuilder, expected: StatusCode) -> Result<String> {
    let answer = request.send().await?;
    let status = answer.status();
    let body = answer.text().await?;
    ensure!(status == expected, "the guard answered {status}: {body}");
    let message = mcp::message_in(&body)?;
    let said = message.pointer("/error/message").and_then(Value::as_str);
    let said = said.context("the guard gave no reason")?;
    Ok(format!("{}, “{said}”", status.as_u16()))
}

/// Waits for the record of a rogue credential of this kind, as the guard saw it.
async fn on_record(demo: &Deployment, kind: &str) -> Result<()> {
    let text = |record: &Value, at: &str| {
        let found = record.pointer(at).and_then(Value::as_str);
        found.unwrap_or_default().to_owned()
    };
    demo.audit_record(&format!("a rogue {kind} at the guard"), |record| {
        text(record, "/kind") == "rogue"
            && text(record, "/gateway") == GUARD
            && text(record, "/detail/credential") == kind
    })
    .await?;
    Ok(())
}
