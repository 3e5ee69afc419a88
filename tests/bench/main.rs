//! `writ-bench`: what a governed tool call costs, next to what Envoy alone and its own filters cost.
//!
//! The same `tools/call` goes through one Envoy worker with nothing in it, with a Wasm filter that does
//! nothing, with Envoy's own `mcp` and `rbac`, with Writ deciding alone, and with Writ, its token service and the
//! durable audit. Rounds are interleaved, so that whatever else the machine does hits all rows alike, and CPU
//! time is what is compared, since it holds still when wall time does not. Runs on Linux only.

mod added;
mod backend;
mod changes;
mod cpu;
mod decision;
mod fill;
mod filter;
mod guard;
mod load;
mod measure;
mod messages;
mod mints;
mod noise;
mod plan;
mod policy;
mod report;
mod rows;
mod service;
mod setup;
mod trail;

use anyhow::{Result, bail};
use clap::Parser;

use crate::plan::Plan;
use crate::report::Report;
use crate::setup::Setup;

/// Measures Writ's cost per request and writes target/bench/report.json.
#[derive(Debug, Parser)]
struct Arguments {
    /// Longer: more rounds, and more requests in each.
    #[arg(long)]
    full: bool,
    /// Just enough to see that everything runs; the figures mean nothing.
    #[arg(long, conflicts_with = "full")]
    smoke: bool,
    /// The audit trail alone, and no filter; nothing is written down.
    #[arg(long)]
    trail: bool,
    /// Fail when a limit is not met.
    #[arg(long)]
    strict: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    anyhow::ensure!(
        cfg!(target_os = "linux"),
        "the benchmark reads CPU times from /proc: run it on Linux"
    );
    let arguments = Arguments::parse();
    let plan = match (arguments.full, arguments.smoke) {
        (true, _) => plan::FULL,
        (_, true) => plan::SMOKE,
        _ => plan::USUAL,
    };
    if arguments.trail {
        report::print_trail(&trail::measure(&plan).await?);
        return Ok(());
    }
    let report = run(&plan).await?;
    report.print();
    anstream::println!("\nwritten to {}", report.write()?.display());
    if arguments.strict && !report.all_met() {
        bail!("a limit is not met");
    }
    Ok(())
}

async fn run(plan: &Plan) -> Result<Report> {
    let mut report = Report {
        rounds: plan.rounds,
        requests_per_round: plan.requests,
        load_per_core: cpu::load_per_core()?,
        ..Report::default()
    };
    say("building the filter and the token service, as they are released");
    let setup = Setup::prepare().await?;
    report.wasm_bytes = setup.wasm_bytes()?;

    say("the rows, interleaved");
    let mut rows = setup.rows().await?;
    for row in &mut rows {
        row.warm_up(plan.warm_up).await?;
    }
    for round in 0..plan.rounds {
        for at in 0..rows.len() {
            // Each round starts with another row, so that none always comes after the same one.
            let count = rows.len();
            if let Some(row) = rows.get_mut((at + round) % count) {
                row.round(plan.requests).await?;
            }
        }
    }
    report.rows = rows.iter().map(measure::Row::report).collect();
    for row in &rows {
        let rates = filter::hit_rates(&row.envoy).await?;
        if !rates.is_empty() {
            report.cache_hit_rates.insert(row.name.to_owned(), rates);
        }
    }
    drop(rows);

    say("lists, streams, large arguments");
    report.messages = messages::measure(&setup, plan).await?;

    say("decisions by number of tool rules");
    let (mut trivial, mut all) = setup.rules().await?;
    trivial.warm_up(plan.warm_up).await?;
    for one in &mut all {
        one.row.warm_up(plan.warm_up).await?;
    }
    decision::rounds(&mut trivial, &mut all, plan.rounds, plan.requests).await?;
    report.decision_us_spread = decision::differences(&trivial, &all);
    report.decision_us = report
        .decision_us_spread
        .iter()
        .map(|(rules, spread)| (rules.clone(), spread.median))
        .collect();

    say("memory over many requests");
    for one in &mut all {
        decision::grow(one, plan.memory_requests).await?;
        report
            .vm_memory_bytes
            .insert(one.rules.to_string(), one.memory);
    }
    drop((trivial, all));

    say("the guard");
    report.guards = guard::measure(&setup, plan).await?;

    say("changes, on a service of their own");
    report.changes = changes::measure(&setup, plan).await?;

    report.eddsa_sign_us = mints::signature_us()?;
    drop(setup);

    report.trail = trail::measure(plan).await?;
    report.conclude();
    Ok(report)
}

fn say(what: &str) {
    anstream::eprintln!("==> {what}");
}
