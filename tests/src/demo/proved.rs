//! The audit log is verified, and a copy that was tampered with is caught.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use writ_tests::deployment::Deployment;

use crate::stage::Stage;

/// What somebody does who would rather not have been refused: the record says that the call was let through.
const TAMPER: &str = "DROP TRIGGER audit_is_append_only_update;
    UPDATE audit SET decision = 'allow', kind = 'mint'
    WHERE seq = (SELECT max(seq) FROM audit WHERE kind = 'denied' AND target = 'transfer')";

/// (n): the log, and a copy of it.
pub async fn the_log(demo: &Deployment, stage: &mut Stage) {
    stage.heading("the audit log");
    stage
        .step("(n) `writ audit verify`: nothing was changed", async {
            let verified = demo.service.cli(&["audit", "verify"])?;
            let intact = verified.first().context("it says nothing")?;
            let size = intact.pointer("/intact/size").and_then(Value::as_u64);
            let root = intact.pointer("/intact/root").and_then(Value::as_str);
            let (size, root) = size.zip(root).context("it does not say what is intact")?;
            Ok(((), format!("{size} records, root {root}")))
        })
        .await;
    stage
        .step(
            "(n) a copy in which a refusal was made a permission is caught",
            async {
                let copy = demo.scratch.path().join("tampered");
                tampered(demo.service.data_dir(), &copy).await?;
                let verified = std::process::Command::new(demo.service.binary())
                    .arg("--data-dir")
                    .arg(&copy)
                    .args(["audit", "verify"])
                    .output()?;
                ensure!(!verified.status.success(), "the copy passes for the log");
                let told = String::from_utf8(verified.stderr)?;
                if !told.contains("was changed") {
                    bail!("it fails otherwise: {told}");
                }
                Ok((
                    (),
                    format!("“{}”", told.trim().trim_start_matches("error: ")),
                ))
            },
        )
        .await;
}

async fn tampered(data: &Path, copy: &Path) -> Result<()> {
    std::fs::create_dir(copy)?;
    let copy = copy.join("writ.db");
    let open = |path: &Path| SqliteConnectOptions::new().filename(path);
    let mut log = open(&data.join("writ.db")).connect().await?;
    sqlx::query("VACUUM INTO $1")
        .bind(copy.display().to_string())
        .execute(&mut log)
        .await?;
    log.close().await?;
    let mut copied = open(&copy).connect().await?;
    sqlx::raw_sql(TAMPER).execute(&mut copied).await?;
    Ok(copied.close().await?)
}
