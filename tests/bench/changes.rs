//! How soon a change is in force on the last of an Envoy's workers, and how long it holds a worker to put one in force.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use writ_tests::envoy::{Envoy, Options};
use writ_tests::scratch::Scratch;

use crate::filter;
use crate::noise::Spread;
use crate::plan::Plan;
use crate::policy;
use crate::report::{Bound, Limit};
use crate::rows::{Filters, yaml};
use crate::service::{AGENT, Bench, SERVER};
use crate::setup::Setup;

/// Envoy's workers.
const WORKERS: u32 = 4;
/// Revocations that are in place.
const REVOCATIONS: u32 = 100_000;
/// Tools in a policy that is published.
const TOOLS: u64 = 10_000;
/// Tools in a small one.
const FEW_TOOLS: u64 = 10;
/// What a filter logs of a snapshot.
const IN_FORCE: &str = "is in force";
/// After so long a change has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the log is looked at.
const LOOK: Duration = Duration::from_millis(1);

/// Times in milliseconds, from the command's end.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Changes {
    /// Until the last worker refuses whoever was disabled, or lets them in again.
    pub disabled_ms: Spread,
    /// The 99th percentile of these.
    pub disabled_p99_ms: f64,
    /// Until the last worker decides by the policy that was published, with ten tools in its data.
    pub published_ms: Spread,
    /// The same with 10,000 tools.
    pub large_published_ms: Spread,
    /// The longest that a worker kept a request waiting while such a policy was put in force.
    pub stall_ms: Spread,
    /// The longest in as many times of the same length in which nothing was changed.
    pub quiet_ms: Spread,
    /// Changes of the first kind.
    pub changes: usize,
}

impl Changes {
    /// What the issue sets limits for.
    pub fn limits(&self) -> Vec<Limit> {
        vec![
            Limit::new(
                "p99 from `disable` to the last worker, in ms",
                self.disabled_p99_ms,
                Bound::AtMost(250.0),
            ),
            Limit::new(
                "most from `publish` to the last worker, in ms",
                self.published_ms.max,
                Bound::AtMost(250.0),
            ),
            Limit::new(
                "the same with 10,000 tools",
                self.large_published_ms.max,
                Bound::AtMost(250.0),
            ),
            Limit::new(
                "ms that a policy of 10,000 tools holds a worker",
                self.stall_ms.median,
                Bound::AtMost(20.0),
            ),
        ]
    }

    /// Names and values for people.
    pub fn also(&self) -> Vec<(String, String)> {
        let spread = |name: &str, of: Spread| {
            let value = format!("{:.1} ms ({:.1}-{:.1})", of.median, of.min, of.max);
            (name.to_owned(), value)
        };
        vec![
            spread("`disable` to the last of 4 workers", self.disabled_ms),
            spread("`publish` to the last of 4 workers", self.published_ms),
            spread("the same with 10,000 tools", self.large_published_ms),
            spread("longest wait at a worker meanwhile", self.stall_ms),
            spread("longest wait without a change", self.quiet_ms),
        ]
    }
}

/// Measures them on a token service of their own, with 100,000 revocations in place.
pub async fn measure(setup: &Setup, plan: &Plan) -> Result<Changes> {
    let scratch = Scratch::new("bench-changes")?;
    let bench = Bench::start(&scratch).await?;
    revoke(&bench).await?;
    let many = Followed::start(setup, &bench, &scratch, WORKERS).await?;
    let mut disabled = Vec::new();
    for change in 0..plan.changes {
        let command = if change % 2 == 0 { "disable" } else { "enable" };
        disabled.push(
            many.until_in_force(&bench, &["agent", command, AGENT])
                .await?,
        );
    }
    disabled.sort_by(f64::total_cmp);
    let p99 = disabled.get(disabled.len() * 99 / 100).copied();

    let small = Candidates::write(&scratch, FEW_TOOLS)?;
    let published = many.publish(&bench, &small, plan.publishes).await?;
    let large = Candidates::write(&scratch, TOOLS)?;
    let large_published = many.publish(&bench, &large, plan.publishes).await?;
    drop(many);
    let one = Followed::start(setup, &bench, &scratch, 1).await?;
    let (mut stalls, mut quiet) = (Vec::new(), Vec::new());
    for change in 0..plan.publishes {
        let command = publish(large.in_turn(change));
        let waits = one.watch();
        one.until_in_force(&bench, &command).await?;
        let (stall, took) = waits.longest()?;
        stalls.push(stall);
        let waits = one.watch();
        tokio::time::sleep(took).await;
        quiet.push(waits.longest()?.0);
    }
    Ok(Changes {
        changes: disabled.len(),
        disabled_p99_ms: p99.unwrap_or(f64::NAN),
        disabled_ms: Spread::of(disabled),
        published_ms: Spread::of(published),
        large_published_ms: Spread::of(large_published),
        stall_ms: Spread::of(stalls),
        quiet_ms: Spread::of(quiet),
    })
}

/// Takes back as many tokens as there are.
async fn revoke(bench: &Bench) -> Result<()> {
    let path = bench.service.data_dir().join("writ.db");
    let mut database = SqliteConnectOptions::new().filename(path).connect().await?;
    sqlx::query(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
         INSERT INTO revoked_tokens (token_id, expires_at)
         SELECT format('%08x-0000-7000-8000-%012x', i * 2654435761 % 4294967296, i), '2099-01-01T00:00:00.000000Z' FROM n",
    )
    .bind(REVOCATIONS)
    .execute(&mut database)
    .await?;
    Ok(database.close().await?)
}

fn publish(directory: &str) -> [&str; 7] {
    [
        "policy",
        "publish",
        directory,
        "--message",
        "bench",
        "--author",
        "bench",
    ]
}

/// Two policies of a size that differ in one number: one is published after the other.
struct Candidates([String; 2]);

impl Candidates {
    /// The library, with data of so many tools.
    fn write(scratch: &Scratch, tools: u64) -> Result<Self> {
        let one = |most: u64| {
            let directory = format!("candidate-{tools}-{most}");
            for module in writ_policy::library::modules() {
                scratch.write(&format!("{directory}/{}", module.path), module.text)?;
            }
            let mut data = policy::data(tools);
            if let Some(limit) = data.pointer_mut(&format!("/limits/{SERVER}/tool_0/amount/max")) {
                *limit = json!(most);
            }
            scratch.write(&format!("{directory}/data.json"), data.to_string())?;
            anyhow::Ok(scratch.path().join(directory).display().to_string())
        };
        Ok(Self([one(1_000)?, one(2_000)?]))
    }

    fn in_turn(&self, change: usize) -> &str {
        let Self([one, other]) = self;
        if change.is_multiple_of(2) { one } else { other }
    }
}

/// An Envoy whose workers follow the service.
struct Followed {
    envoy: Envoy,
    /// Its workers', and the main thread's.
    filters: usize,
}

impl Followed {
    async fn start(setup: &Setup, bench: &Bench, scratch: &Scratch, workers: u32) -> Result<Self> {
        let gateway = filter::gateway_mode();
        let filters = Filters::Writ(setup.wasm(), &gateway);
        let text = yaml(&filters, setup.backend(), bench.service.gateway_port())?;
        let options = Options {
            name: format!("changes-{workers}"),
            workers,
            env: vec![(
                "WRIT_GATEWAY_SECRET".to_owned(),
                bench.gateway_secret.clone(),
            )],
            port: None,
        };
        let followed = Self {
            envoy: Envoy::start(scratch, text, options).await?,
            filters: usize::try_from(workers)? + 1,
        };
        followed.until_logged(followed.filters).await?;
        Ok(followed)
    }

    async fn until_logged(&self, count: usize) -> Result<()> {
        let start = Instant::now();
        while self.envoy.log().matches(IN_FORCE).count() < count {
            let tail = || self.envoy.process().tail();
            ensure!(
                start.elapsed() < PATIENCE,
                "it is not in force:\n{}",
                tail()
            );
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// The milliseconds from the command's end until its change is in force on every worker.
    async fn until_in_force(&self, bench: &Bench, command: &[&str]) -> Result<f64> {
        let before = self.envoy.log().matches(IN_FORCE).count();
        bench.service.cli(command)?;
        let done = Instant::now();
        self.until_logged(before + self.filters).await?;
        Ok(done.elapsed().as_secs_f64() * 1e3)
    }

    /// The milliseconds of so many publications.
    async fn publish(&self, bench: &Bench, of: &Candidates, times: usize) -> Result<Vec<f64>> {
        let mut took = Vec::with_capacity(times);
        for change in 0..times {
            let command = publish(of.in_turn(change));
            took.push(self.until_in_force(bench, &command).await?);
        }
        Ok(took)
    }

    /// Asks the filter again and again for what it answers by itself, on a thread of its own.
    fn watch(&self) -> Waits {
        let over = Arc::<AtomicBool>::default();
        let is_over = Arc::clone(&over);
        let url = self.envoy.url("/.well-known/oauth-protected-resource/mcp");
        let ask = async move {
            let (http, began) = (reqwest::Client::new(), Instant::now());
            let mut longest = Duration::ZERO;
            while !is_over.load(Ordering::Relaxed) {
                let asked = Instant::now();
                http.get(&url).send().await?.error_for_status()?;
                longest = longest.max(asked.elapsed());
            }
            anyhow::Ok((longest.as_secs_f64() * 1e3, began.elapsed()))
        };
        let asking = std::thread::spawn(|| {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build()?.block_on(ask)
        });
        Waits { over, asking }
    }
}

/// Requests under way one after the other.
struct Waits {
    over: Arc<AtomicBool>,
    asking: JoinHandle<Result<(f64, Duration)>>,
}

impl Waits {
    /// Ends them: the longest in milliseconds, and how long they were made.
    fn longest(self) -> Result<(f64, Duration)> {
        self.over.store(true, Ordering::Relaxed);
        let ended = self.asking.join();
        ended.map_err(|_| anyhow::anyhow!("the requests' thread ended badly"))?
    }
}
