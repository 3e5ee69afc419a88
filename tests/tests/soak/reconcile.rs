//! What was accepted, answered and acknowledged, against the log as it is exported.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;
use writ_tests::exchange::content_digest;
use writ_tests::ledger::tap::Heard;
use writ_tests::registrations::BATCH;
use writ_tests::wait::{PATIENCE, until};

use crate::load::Told;
use crate::stage::Stage;

/// Why the batch agent is disabled in the end.
const LAST: &str = "the soak is over";

/// What the log has.
pub struct Trail {
    /// What each token was minted for.
    mints: HashMap<String, Value>,
    /// The requests of refusals.
    refused: HashSet<String>,
    /// The tokens whose calls' ends are known.
    ended: HashSet<String>,
}

impl Trail {
    /// Reads it, once all that was committed is in it.
    pub async fn of(stage: &Stage) -> Result<Self> {
        // Records become leaves in the order of their commits: with this one all before it are there.
        stage.text(&["agent", "disable", BATCH, "--reason", LAST])?;
        let export = until("all records to be leaves", PATIENCE, async || {
            let export = stage.text(&["audit", "export"]).ok()?;
            export.contains(LAST).then_some(export)
        })
        .await?;
        let mut trail = Self {
            mints: HashMap::new(),
            refused: HashSet::new(),
            ended: HashSet::new(),
        };
        for line in export.lines() {
            let line: Value = serde_json::from_str(line)?;
            let leaf = &line["record"]["leaf"];
            let text = |name: &str| leaf[name].as_str().map(str::to_owned);
            match leaf["kind"].as_str() {
                Some("mint") => {
                    let token = text("token_id").context("a mint without a token")?;
                    let twice = trail.mints.insert(token, leaf.clone());
                    ensure!(twice.is_none(), "two records of one token: {leaf}");
                }
                Some("denied") => trail.refused.extend(text("request_id")),
                Some("outcome") => trail.ended.extend(text("token_id")),
                _ => {}
            }
        }
        Ok(trail)
    }

    /// Everything is on record, and nothing was good twice.
    pub fn has_all_that_was(&self, told: &Told, heard: &[Heard]) -> Result<()> {
        let mut accepted = HashSet::new();
        for heard in heard.iter().filter(|heard| heard.calls("getAccount")) {
            let id = token_id(heard.bearer().context("a call without a token")?)?;
            let Some(mint) = self.mints.get(&id) else {
                bail!("the server accepted the token {id}, which is not on record");
            };
            ensure!(
                mint["decision"] == "allow"
                    && mint["content_digest"] == content_digest(&heard.body),
                "the token {id} is on record for something else: {mint}"
            );
            ensure!(accepted.insert(id), "a token was accepted twice: {mint}");
        }
        ensure!(accepted.len() >= told.results, "results without a call");
        for id in &told.minted {
            ensure!(
                self.mints.contains_key(id),
                "the token {id} is not on record"
            );
        }
        for request in &told.refused {
            ensure!(
                self.refused.contains(request),
                "the refusal of {request} is not on record"
            );
        }
        for id in &told.ended {
            ensure!(self.ended.contains(id), "the end of {id} is not on record");
        }
        let mut spent = HashSet::new();
        for id in &told.spent {
            ensure!(spent.insert(id), "the token {id} was spent twice");
        }
        Ok(())
    }
}

/// The id in a token, which is not verified.
fn token_id(token: &str) -> Result<String> {
    let claims = token.split('.').nth(1).context("no token")?;
    let claims: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims)?)?;
    Ok(claims["jti"].as_str().context("no id")?.to_owned())
}
