//! The disk takes nothing any more: nothing is minted without a record, everybody is told why, and it goes on by itself.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use serde_json::{Value, json};
use writ_tests::deployment::demo_policy;
use writ_tests::mcp::call_message;
use writ_tests::oauth::{Client, client_credentials};
use writ_tests::registrations::{BATCH, GATEWAY, Registrations, SCOPES, SERVER};
use writ_tests::scratch::Scratch;
use writ_tests::token_service::{Options, TokenService};
use writ_tests::{binaries, exchange};

const RESOURCE: &str = "http://127.0.0.1:10000/mcp";

/// Lets a process write to files up to this size only; from then on it is told that they are too large, as by a disk quota.
fn limit_files(pid: u32, bytes: &str) -> Result<()> {
    let fsize = format!("--fsize={bytes}:unlimited");
    let limited = Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &fsize])
        .status()
        .context("cannot run prlimit (Debian: apt install util-linux)")?;
    ensure!(limited.success());
    Ok(())
}

#[tokio::test]
async fn while_the_disk_takes_nothing_nothing_is_minted_and_then_it_goes_on() -> Result<()> {
    let scratch = Scratch::new("full-disk")?;
    // Who writes too much is killed otherwise, instead of being told.
    let writ = binaries::writ()?;
    let script = format!(
        "#!/bin/sh\ntrap '' XFSZ\nexec '{}' \"$@\"\n",
        writ.display()
    );
    let binary = scratch.write("writ.sh", script)?;
    ensure!(
        Command::new("chmod")
            .arg("700")
            .arg(&binary)
            .status()?
            .success()
    );
    let mut service = TokenService::prepare(
        &scratch,
        Options {
            policy: Some(demo_policy(&scratch)?),
            binary: Some(binary),
            ..Options::default()
        },
    )?;
    let registered = Registrations::make(&service, &scratch, RESOURCE)?;
    service.serve().await?;
    let client = Client::Secret {
        id: BATCH,
        secret: &registered.batch_secret,
    };
    let issuer = service.issuer();
    let caller = client_credentials(&issuer, &client, RESOURCE, SCOPES).await?;
    let message = call_message("getAccount", &json!({"id": "ops"})).to_string();
    let http = reqwest::Client::new();
    let at = format!("http://127.0.0.1:{}/oauth/token", service.gateway_port());
    let mint = async || {
        let form = exchange::form(&caller, SERVER, RESOURCE, &message)?;
        let asked = http
            .post(&at)
            .basic_auth(GATEWAY, Some(&registered.gateway_secret));
        let answer = asked.form(&form).send().await?;
        let (status, wait) = (answer.status(), answer.headers().contains_key(RETRY_AFTER));
        anyhow::Ok((status, wait, answer.json::<Value>().await?))
    };
    let minted = |(status, _, answer): (StatusCode, bool, Value)| {
        ensure!(status == StatusCode::OK, "{answer}");
        Ok(answer["jti"].as_str().context("no id")?.to_owned())
    };
    let mut tokens = vec![minted(mint().await?)?];

    // The log of the service stays below.
    limit_files(service.process()?.id(), "65536")?;
    for _ in 0..3 {
        let (status, wait, answer) = mint().await?;
        ensure!(
            status == StatusCode::SERVICE_UNAVAILABLE && wait,
            "{answer}"
        );
        ensure!(answer["error"] == "temporarily_unavailable", "{answer}");
        let told = answer["error_description"].as_str().unwrap_or_default();
        ensure!(
            told.contains("the database's disk fails"),
            "{answer} {}",
            service.process()?.tail()
        );
    }
    let metrics = http
        .get(format!("{issuer}/metrics"))
        .send()
        .await?
        .text()
        .await?;
    ensure!(metrics.contains("writ_store_unwritable_total{why=\"disk\"}"));

    limit_files(service.process()?.id(), "unlimited")?;
    tokens.push(minted(mint().await?)?);
    let records = service.audit()?;
    let on_record = records.iter().filter(|record| record["kind"] == "mint");
    let on_record: Vec<_> = on_record.map(|record| record["token_id"].clone()).collect();
    ensure!(on_record == tokens, "{on_record:?} {tokens:?}");
    let status = service
        .process_mut()?
        .terminate(writ_tests::wait::PATIENCE)
        .await?;
    ensure!(status.success());
    ensure!(service.text(&["audit", "verify"])?.starts_with("intact"));
    Ok(())
}
