//! Services, database and Envoys are killed and started again in random order while agents work; then everything that was accepted,
//! answered or acknowledged is looked for in the audit trail, and the trail is verified against a checkpoint from before.
//!
//! `SOAK_SECONDS` says for how long, and `SOAK_SEED` in which order.

mod killing;
mod load;
mod reconcile;
mod stage;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use writ_tests::wait::{PATIENCE, until};

use load::Load;
use reconcile::Trail;
use stage::Stage;

/// How many calls have to get through between two kills.
const CALLS: usize = 20;

fn setting(name: &str, default: u64) -> Result<u64> {
    match std::env::var(name) {
        Ok(value) => value.parse().with_context(|| format!("{name}={value}")),
        Err(_) => Ok(default),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_no_record_is_lost_and_no_token_is_good_twice() -> Result<()> {
    let lasting = Duration::from_secs(setting("SOAK_SECONDS", 20)?);
    let seed = setting("SOAK_SEED", u64::from(std::process::id()))?;
    anstream::println!("SOAK_SECONDS={} SOAK_SEED={seed}", lasting.as_secs());
    let mut stage = Stage::set().await?;
    let load = Load::start(&stage).await?;
    load.goes_on(CALLS).await?;
    let kept = until("a first checkpoint", PATIENCE, async || {
        stage.checkpoint().ok()
    })
    .await?;

    let start = Instant::now();
    let mut order = killing::Order::of(seed);
    while start.elapsed() < lasting {
        let victim = order.next_victim();
        stage.kill(victim)?;
        tokio::time::sleep(order.next_pause()).await;
        stage.start_again(victim).await?;
        load.goes_on(CALLS).await.with_context(|| {
            format!(
                "nothing gets through after {victim:?} was killed and started again; SOAK_SEED={seed}\n{}",
                stage.logs()
            )
        })?;
        anstream::println!(
            "{:4.0} s  {victim:?}  {}",
            start.elapsed().as_secs_f64(),
            load.summary()
        );
    }

    let told = load.end().await?;
    let trail = Trail::of(&stage).await?;
    trail.has_all_that_was(&told, &stage.heard())?;
    stage.verify(&kept)?;
    Ok(())
}
