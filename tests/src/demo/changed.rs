//! The policy is changed while everybody works, what was called so far is asked again of a candidate, and a refusal is
//! explained.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use writ_tests::deployment::Deployment;
use writ_tests::registrations::{BATCH, SERVER};

use crate::stage::Stage;
use crate::stopped::call;

/// Who makes the changes.
const AUTHOR: &str = "ada";

/// (j), (k), (l): publish and roll back, replay, explain.
pub async fn a_policy(demo: &Deployment, stage: &mut Stage) {
    stage.heading("a policy that changes while everybody works");
    published(demo, stage).await;
    stage
        .step(
            "(k) `writ policy replay`: what was called before, by another",
            replayed(demo),
        )
        .await;
    stage
        .step(
            "(l) `writ policy explain`: why 25000 EUR were refused",
            explained(demo),
        )
        .await;
}

/// (j): a change is enforced, and taken back.
async fn published(demo: &Deployment, stage: &mut Stage) {
    let token = stage
        .step("(j) the policy is published as it is", async {
            let number = publish(demo, "as it was", |_| {})?;
            demo.wait_for_registrations().await?;
            let token = demo.batch_token().await?;
            ensure!(call(demo, &token).await?.is_none(), "the call was refused");
            let told = format!("as policy {number}: the batch agent's call goes through");
            Ok((token, told))
        })
        .await;
    let Some(token) = token else { return };
    stage
        .step(
            "(j) `writ policy publish`: that agent is only to read now",
            async {
                let restricted = |data: &mut Value| {
                    data["read_only"] = json!({"agents": {BATCH: true}});
                };
                let before = demo.snapshots();
                let number = publish(demo, "batch only reads", restricted)?;
                let done = Instant::now();
                let after = || format!("{:.1} ms", done.elapsed().as_secs_f64() * 1e3);
                let at_once = refused(demo, &token).await.map(|()| after())?;
                demo.wait_for_snapshots_since(before).await?;
                let in_the_filter = after();
                refused(demo, &token).await?;
                let told = format!(
                    "policy {number} after {at_once}, in the filter itself after {in_the_filter}"
                );
                Ok(((), told))
            },
        )
        .await;
    stage
        .step("(j) `writ policy rollback`: it goes on", async {
            let before = demo.snapshots();
            let back = ["policy", "rollback", "--author", AUTHOR];
            demo.service.cli(&back)?;
            let done = Instant::now();
            demo.wait_for_snapshots_since(before).await?;
            let after = done.elapsed().as_secs_f64() * 1e3;
            ensure!(call(demo, &token).await?.is_none(), "the call was refused");
            Ok(((), format!("after {after:.0} ms, in the filter, too")))
        })
        .await;
}

/// The call is refused because the agent only reads.
async fn refused(demo: &Deployment, token: &str) -> Result<()> {
    let answered = call(demo, token).await?;
    let (_, said) = answered.context("the call went through")?;
    ensure!(said.contains("may only read"), "refused otherwise: {said}");
    Ok(())
}

/// (k): what was called before the policy changed, asked again of one with a lower limit that lets alice have the audit report.
async fn replayed(demo: &Deployment) -> Result<((), String)> {
    let candidate = policy(demo, "stricter", |data| {
        data["limits"][SERVER]["transfer"]["amount"]["max"] = json!(100);
        data["access"][SERVER]["tools"]["exportAuditReport"]["finance"] = json!(true);
    })?;
    let candidate = candidate.display().to_string();
    let change = demo
        .audit_record("the first change", |record| {
            text(record, "/method") == "policy publish"
        })
        .await?;
    let until = text(&change, "/time");
    let output = demo
        .service
        .output(&["policy", "replay", &candidate, "--until", until])?;
    ensure!(
        output.status.code() == Some(1),
        "ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let printed: Vec<Value> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(serde_json::from_slice)
        .collect::<Result<_, _>>()?;
    let of = |fate: &str| -> Vec<&Value> {
        let groups = printed.iter().filter(|one| text(one, "/fate") == fate);
        groups.collect()
    };
    let (denied, allowed) = (of("allow_to_deny"), of("deny_to_allow"));
    let [transfer] = denied.as_slice() else {
        anyhow::bail!("other calls would be denied: {denied:?}")
    };
    ensure!(
        text(transfer, "/target") == "transfer"
            && text(transfer, "/reasons/0") == "amount is above the limit of 100",
        "another call would be denied: {transfer}"
    );
    let [report] = allowed.as_slice() else {
        anyhow::bail!("other calls would be allowed: {allowed:?}")
    };
    ensure!(
        text(report, "/target") == "exportAuditReport",
        "another call would be allowed: {report}"
    );
    let sum = printed.last().context("nothing was printed")?;
    ensure!(
        sum["unasked"] == 0,
        "not all could be asked again: {printed:?}"
    );
    Ok((
        (),
        format!(
            "of {}: the transfer of 250 EUR denied, the audit report allowed",
            sum["asked"]
        ),
    ))
}

/// (l): the refusal of a transfer, down to the rule that objected.
async fn explained(demo: &Deployment) -> Result<((), String)> {
    let record = demo
        .audit_record("the refused transfer", |record| {
            text(record, "/kind") == "denied"
                && text(record, "/target") == "transfer"
                && text(record, "/reason").contains("above the limit")
        })
        .await?;
    let explained = demo
        .service
        .cli(&["policy", "explain", text(&record, "/id")])?;
    let rules = explained.first().and_then(|one| one["rules"].as_array());
    let objects = |rule: &&Value| {
        text(rule, "/rule") == "data.writ.arguments.objections" && rule.get("held").is_some()
    };
    let rule = rules
        .and_then(|rules| rules.iter().find(objects))
        .context("no limit on arguments objected")?;
    Ok((
        (),
        format!(
            "{}:{} objects: {}",
            text(rule, "/path"),
            rule["line"],
            rule["held"][0]
        ),
    ))
}

fn text<'a>(value: &'a Value, at: &str) -> &'a str {
    value
        .pointer(at)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Publishes the demo's policy with a change of its data; answers with its number.
fn publish(demo: &Deployment, message: &str, change: impl FnOnce(&mut Value)) -> Result<u64> {
    let policy = policy(demo, "published", change)?.display().to_string();
    let command = [
        "policy",
        "publish",
        &policy,
        "--message",
        message,
        "--author",
        AUTHOR,
    ];
    let printed = demo.service.cli(&command)?;
    let number = printed.first().and_then(|one| one["number"].as_u64());
    number.context("no number was printed")
}

/// The demo's policy with a change of its data, in a directory of its own.
fn policy(demo: &Deployment, directory: &str, change: impl FnOnce(&mut Value)) -> Result<PathBuf> {
    let scratch = &demo.scratch;
    for entry in std::fs::read_dir(scratch.path().join("policy"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        scratch.write(&format!("{directory}/{name}"), std::fs::read(&path)?)?;
    }
    let data = format!("{directory}/data.json");
    let mut changed = serde_json::from_slice(&std::fs::read(scratch.path().join(&data))?)?;
    change(&mut changed);
    scratch.write(&data, changed.to_string())?;
    Ok(scratch.path().join(directory))
}
