//! Minting with the trail that it leaves: on SQLite and on PostgreSQL, with few records and with many, and how long it takes to see, prove and
//! verify a record.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::Value;
use sqlx::AnyConnection;
use writ_tests::postgres::Cluster;
use writ_tests::scratch::Scratch;
use writ_tests::wait::until;

use crate::fill::Database;
use crate::mints::{CALLERS, CORE, Exchange};
use crate::noise::Spread;
use crate::plan::Plan;
use crate::report::{Bound, Limit};
use crate::service::{Bench, SERVER};
use crate::{cpu, say};

/// The records of a small trail, as it is begun with.
const FEW: u64 = 1_000;
/// How often a record is waited for, or proved.
const TIMES: usize = 30;
/// The longest that making leaves of all records may take.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How long there is half the load.
const HALF_LOAD: Duration = Duration::from_secs(5);
/// How often it is looked how far the log is meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What mints cost with so many records in the trail.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Durable {
    pub records: u64,
    /// Durable mints per second, the service on one core.
    pub per_second: Spread,
    /// The service's CPU time per mint.
    pub cpu_us: Spread,
    /// At half that rate: the 99th percentile of the time from when a mint was due to its answer.
    pub half_load_p99_ms: f64,
    pub half_load_p50_ms: f64,
    /// The longest that a record waited meanwhile to be a leaf.
    pub leaf_lag_ms: f64,
    /// The most memory that the service has had in use (`VmHWM`).
    pub rss_mb: f64,
}

/// Everything about a large trail.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Trail {
    /// By store: with few records, and with many where that was measured.
    pub mints: BTreeMap<&'static str, Vec<Durable>>,
    /// Records that become leaves per second, when many wait.
    pub leaves_per_second: BTreeMap<&'static str, f64>,
    /// What a record takes on disk, with its indexes and its leaf.
    pub bytes_per_record: BTreeMap<&'static str, f64>,
    /// From a mint's answer until `writ audit tail` has shown it, at half load.
    pub tail_ms: BTreeMap<&'static str, Spread>,
    /// `GET /audit/v1/inclusion` of a record somewhere in the large trail, that was not asked about before.
    pub inclusion_ms: BTreeMap<&'static str, Spread>,
    /// `writ audit verify` of an export, per million records.
    pub verify_s_per_million: f64,
}

impl Trail {
    /// The service's CPU time per mint on SQLite with few records, in microseconds.
    pub fn cost_us(&self) -> f64 {
        let sqlite = self
            .mints
            .get("sqlite")
            .and_then(|measured| measured.first());
        sqlite.map_or(f64::NAN, |few| few.cpu_us.median)
    }

    /// What the issue sets limits for.
    pub fn limits(&self) -> Vec<Limit> {
        let mut limits = Vec::new();
        let stores = [("sqlite", 3_000.0), ("postgres", 2_000.0)];
        for (store, least) in stores {
            let [rate, p99, lag, rss, flat] = match store {
                "sqlite" => [
                    "durable mints per second, SQLite",
                    "p99 at half load, SQLite, in ms",
                    "most until a record is a leaf at half load, SQLite, in ms",
                    "service RSS under load, SQLite, in MB",
                    "mints with many records over mints with few, SQLite",
                ],
                _ => [
                    "durable mints per second, PostgreSQL",
                    "p99 at half load, PostgreSQL, in ms",
                    "most until a record is a leaf at half load, PostgreSQL, in ms",
                    "service RSS under load, PostgreSQL, in MB",
                    "mints with many records over mints with few, PostgreSQL",
                ],
            };
            let measured = self.mints.get(store).map(Vec::as_slice).unwrap_or_default();
            let worst = |of: fn(&Durable) -> f64| measured.iter().map(of).fold(0.0, f64::max);
            let rates = measured.iter().map(|m| m.per_second.median);
            let slowest = rates.clone().fold(f64::INFINITY, f64::min);
            limits.push(Limit::new(rate, slowest, Bound::AtLeast(least)));
            limits.push(Limit::new(
                p99,
                worst(|m| m.half_load_p99_ms),
                Bound::AtMost(20.0),
            ));
            limits.push(Limit::new(
                lag,
                worst(|m| m.leaf_lag_ms),
                Bound::AtMost(1000.0),
            ));
            limits.push(Limit::new(rss, worst(|m| m.rss_mb), Bound::AtMost(80.0)));
            if let [few, many] = measured {
                let ratio = many.per_second.median / few.per_second.median;
                limits.push(Limit::new(flat, ratio, Bound::AtLeast(0.9)));
            }
        }
        let most = |of: &BTreeMap<_, Spread>| of.values().map(|of| of.max).fold(0.0, f64::max);
        limits.push(Limit::new(
            "most from a mint to `audit tail`, in ms",
            most(&self.tail_ms),
            Bound::AtMost(200.0),
        ));
        limits.push(Limit::new(
            "slowest inclusion proof, in ms",
            most(&self.inclusion_ms),
            Bound::AtMost(5.0),
        ));
        limits.push(Limit::new(
            "verifying 1,000,000 records, in s",
            self.verify_s_per_million,
            Bound::AtMost(20.0),
        ));
        limits
    }

    /// Names and values for people.
    pub fn also(&self) -> Vec<(String, String)> {
        let mut also = Vec::new();
        for (store, measured) in &self.mints {
            for at in measured {
                let Durable { per_second, .. } = at;
                also.push((
                    format!(
                        "mints/s on {store}, {CALLERS} callers, one core, {} records",
                        at.records
                    ),
                    format!(
                        "{:.0} ({:.0}-{:.0})",
                        per_second.median, per_second.min, per_second.max
                    ),
                ));
                also.push((
                    format!("service CPU µs a mint, p50 and p99 ms and most ms to a leaf at half load, MB, {store}"),
                    format!(
                        "{:.0}, {:.1}, {:.1}, {:.0}, {:.0}",
                        at.cpu_us.median,
                        at.half_load_p50_ms,
                        at.half_load_p99_ms,
                        at.leaf_lag_ms,
                        at.rss_mb
                    ),
                ));
            }
        }
        for (store, leaves) in &self.leaves_per_second {
            also.push((
                format!("records made leaves per second, {store}"),
                format!("{leaves:.0}"),
            ));
        }
        for (store, bytes) in &self.bytes_per_record {
            also.push((
                format!("bytes a record, indexes and leaf included, {store}"),
                format!("{bytes:.0}"),
            ));
        }
        let spread = |of: &Spread| format!("{:.1} ({:.1}-{:.1})", of.median, of.min, of.max);
        for (store, tail) in &self.tail_ms {
            also.push((
                format!("mint to `audit tail` at half load, ms, {store}"),
                spread(tail),
            ));
        }
        for (store, inclusion) in &self.inclusion_ms {
            also.push((format!("inclusion proof, ms, {store}"), spread(inclusion)));
        }
        also
    }
}

/// Measures all of it.
pub async fn measure(plan: &Plan) -> Result<Trail> {
    let mut trail = Trail::default();
    let cluster = Cluster::on_disk()?;
    let places = [("sqlite", None), ("postgres", Some(cluster.url()))];
    for (store, url) in places {
        say(&format!("the trail, on {store}"));
        let scratch = Scratch::new(&format!("bench-{store}"))?;
        let mut bench = Bench::start_on(&scratch, url).await?;
        let database = Database::of(&bench, url).await?;
        let mut measured = vec![mints(&bench, &database, plan, FEW).await?];
        let records = if url.is_none() {
            plan.records
        } else {
            plan.postgres_records
        };
        if records > 0 {
            bench.service.stop();
            let before = database.size().await?;
            database.fill(records).await?;
            let start = Instant::now();
            bench.service.serve().await?;
            database.all_are_leaves(PATIENCE).await?;
            let took = start.elapsed().as_secs_f64();
            say(&format!("{records} records are leaves after {took:.0} s"));
            trail.leaves_per_second.insert(store, records as f64 / took);
            database.tidy().await?;
            let grown = database.size().await?.saturating_sub(before);
            trail
                .bytes_per_record
                .insert(store, grown as f64 / records as f64);
            measured.push(mints(&bench, &database, plan, plan.mints / 4).await?);
        }
        let half = measured.last().map_or(0.0, |m| m.per_second.median / 2.0);
        trail.mints.insert(store, measured);
        trail.tail_ms.insert(store, tail(&bench, half).await?);
        let inclusion = inclusion(&bench, &database).await?;
        trail.inclusion_ms.insert(store, inclusion);
        if url.is_none() {
            bench.service.stop();
            trail.verify_s_per_million = verify(&bench, &scratch)?;
        }
    }
    Ok(trail)
}

/// Mints as fast as they come, and then half as fast.
async fn mints(bench: &Bench, database: &Database, plan: &Plan, first: u64) -> Result<Durable> {
    let pid = bench.service.process()?.id();
    cpu::pin(pid, CORE)?;
    let exchange = Arc::new(Exchange::new(bench));
    exchange.run(CALLERS, first).await?;
    let records = database.records().await?;
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    for _ in 0..plan.mint_rounds {
        let (before, start) = (cpu::of(pid)?, Instant::now());
        exchange.run(CALLERS, plan.mints).await?;
        rates.push(plan.mints as f64 / start.elapsed().as_secs_f64());
        costs.push((cpu::of(pid)?.saturating_sub(before)).as_secs_f64() * 1e6 / plan.mints as f64);
    }
    let per_second = Spread::of(rates);
    let mut connection = database.connect().await?;
    let (half_load, leaf_lag) = tokio::join!(
        exchange.run_at(per_second.median / 2.0, HALF_LOAD),
        leaf_lag(&mut connection)
    );
    let mut took = half_load?;
    took.sort();
    let percentile = |percent: usize| {
        let at = took.len().saturating_sub(1) * percent / 100;
        took.get(at)
            .map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
    };
    say(&format!(
        "{:.0} mints a second with {records} records",
        per_second.median
    ));
    Ok(Durable {
        records,
        per_second,
        cpu_us: Spread::of(costs),
        half_load_p99_ms: percentile(99),
        half_load_p50_ms: percentile(50),
        leaf_lag_ms: leaf_lag?.as_secs_f64() * 1e3,
        rss_mb: cpu::peak_rss_mb(pid)?,
    })
}

/// The longest that a record waits to be a leaf, for as long as there is half the load.
async fn leaf_lag(connection: &mut AnyConnection) -> Result<Duration> {
    let begun = Instant::now();
    let mut longest = Duration::ZERO;
    while begun.elapsed() < HALF_LOAD {
        longest = longest.max(Database::leaf_lag(connection).await?);
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(longest)
}

/// Killed when dropped.
struct Tail(Child);

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// From a mint's answer until `writ audit tail` has shown it, while others are minted at this rate.
async fn tail(bench: &Bench, per_second: f64) -> Result<Spread> {
    let mut command = bench.service.command();
    command.args(["--json", "audit", "tail", "--kind", "mint"]);
    let mut tail = Tail(command.stdout(Stdio::piped()).spawn()?);
    let output = tail.0.stdout.take().context("no output")?;
    let (shown, mut seen) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let record: Value = serde_json::from_str(&line).unwrap_or_default();
            let token = record["token_id"].as_str().map(str::to_owned);
            if shown.send((token, Instant::now())).is_err() {
                break;
            }
        }
    });
    let exchange = Arc::new(Exchange::new(bench));
    let others = {
        let exchange = Arc::clone(&exchange);
        tokio::spawn(async move { exchange.run_at(per_second, HALF_LOAD).await })
    };
    // From the first that it shows on, it shows all.
    seen.recv()
        .await
        .context("`writ audit tail` shows nothing")?;
    let mut took = Vec::new();
    while took.len() < TIMES || !others.is_finished() {
        let (token, minted) = (exchange.one().await?, Instant::now());
        let at = loop {
            let (shown, at) = seen.recv().await.context("`writ audit tail` has ended")?;
            if shown.as_deref() == Some(token.as_str()) {
                break at;
            }
        };
        took.push(at.saturating_duration_since(minted).as_secs_f64() * 1e3);
    }
    others.await??;
    Ok(Spread::of(took))
}

/// How long the proof takes that the record of a token is in the log.
async fn inclusion(bench: &Bench, database: &Database) -> Result<Spread> {
    let http = reqwest::Client::new();
    let url = format!("{}/audit/v1/inclusion", bench.service.issuer());
    let ask = async |token: &str| {
        let request = http.get(&url).query(&[("token", token)]);
        request
            .basic_auth(SERVER, Some(&bench.server_secret))
            .send()
            .await
    };
    let tokens = database.some_tokens(TIMES + 1).await?;
    let (newest, others) = tokens.split_last().context("no tokens")?;
    // The checkpoint that has it, and so all before it, may be seconds away.
    until("a checkpoint with the record", PATIENCE, async || {
        ask(newest)
            .await
            .is_ok_and(|a| a.status().is_success())
            .then_some(())
    })
    .await?;
    let mut took = Vec::new();
    for token in others {
        let start = Instant::now();
        let answer = ask(token).await?.error_for_status()?;
        let proof: Value = serde_json::from_str(&answer.text().await?)?;
        took.push(start.elapsed().as_secs_f64() * 1e3);
        ensure!(proof["proof"].is_array(), "{proof}");
    }
    Ok(Spread::of(took))
}

/// Exports the log and verifies the export: seconds per million records.
fn verify(bench: &Bench, scratch: &Scratch) -> Result<f64> {
    let export = scratch.path().join("log.jsonl");
    let run = |arguments: &[&str]| -> Result<()> {
        let mut command: Command = bench.service.command();
        let status = command.args(arguments).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "`writ {}` failed", arguments.join(" "));
        Ok(())
    };
    let path = export.to_str().context("a path that is text")?;
    run(&["audit", "export", "--output", path])?;
    let records = lines(&export)?;
    let start = Instant::now();
    run(&["audit", "verify", path])?;
    Ok(start.elapsed().as_secs_f64() * 1e6 / records as f64)
}

fn lines(path: &Path) -> Result<u64> {
    let file = BufReader::new(std::fs::File::open(PathBuf::from(path))?);
    Ok(file
        .lines()
        .map_while(Result::ok)
        .filter(|l| l.starts_with("{\"record\""))
        .count() as u64)
}
