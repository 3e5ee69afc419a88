//! `target/bench/report.json`, and the same for people.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use writ_tests::binaries::workspace;

use crate::added::Messages;
use crate::changes::Changes;
use crate::guard::Guards;
use crate::noise::Spread;
use crate::trail::Trail;

/// One way through Envoy. Times are microseconds; everything is the median over the rounds.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub name: String,
    pub rps: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// CPU time of the Envoy process per request.
    pub cpu_us: f64,
    /// CPU time of the token service per request.
    pub service_cpu_us: f64,
    pub cpu_us_min: f64,
    pub cpu_us_max: f64,
}

/// What the issue sets limits for.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Ratios {
    pub policy_overhead_over_native: f64,
    pub governed_overhead_over_native: f64,
    pub mint_cost_over_eddsa_sign: f64,
}

/// The filter's memory in one worker, in bytes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Memory {
    pub after_start: u64,
    pub after_half: u64,
    pub at_the_end: u64,
    pub requests: u64,
}

/// Everything.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub rows: Vec<Row>,
    pub ratios: Ratios,
    /// CPU time of one decision in the request path, by number of tool rules.
    pub decision_us: BTreeMap<String, f64>,
    /// The same, from the least to the most that a round gave.
    pub decision_us_spread: BTreeMap<String, Spread>,
    /// The filter's linear memory, by number of tool rules.
    pub vm_memory_bytes: BTreeMap<String, Memory>,
    /// Hits per lookup of the filter's caches, by row.
    pub cache_hit_rates: BTreeMap<String, BTreeMap<String, f64>>,
    pub guards: Guards,
    /// One EdDSA signature over a minted token's claims, by the same library.
    pub eddsa_sign_us: f64,
    pub messages: Messages,
    pub changes: Changes,
    pub trail: Trail,
    pub wasm_bytes: u64,
    pub rounds: usize,
    pub requests_per_round: u64,
    /// Work that others gave this machine's cores while it measured, as load average per core just before.
    pub load_per_core: f64,
    pub limits: Vec<Limit>,
}

/// A figure and what it should be.
#[derive(Clone, Debug, Serialize)]
pub struct Limit {
    pub figure: &'static str,
    pub value: f64,
    pub bound: Bound,
    pub met: bool,
}

/// Which side of a limit is the good one.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Limit {
    /// Compares.
    pub fn new(figure: &'static str, value: f64, bound: Bound) -> Self {
        let met = match bound {
            Bound::AtMost(limit) => value <= limit,
            Bound::AtLeast(limit) => value >= limit,
        };
        Self {
            figure,
            value,
            bound,
            met,
        }
    }
}

impl Report {
    /// Works out the ratios and the limits from what was measured.
    pub fn conclude(&mut self) {
        let cpu = |name: &str| {
            self.rows
                .iter()
                .find(|row| row.name == name)
                .map(|row| row.cpu_us)
        };
        let overhead = |name: &str| Some(cpu(name)? - cpu("plain")?);
        let over_native = |name: &str| Some(overhead(name)? / overhead("native_mcp_rbac")?);
        self.ratios = Ratios {
            policy_overhead_over_native: over_native("writ_policy").unwrap_or(f64::NAN),
            governed_overhead_over_native: over_native("writ_governed").unwrap_or(f64::NAN),
            mint_cost_over_eddsa_sign: self.trail.cost_us() / self.eddsa_sign_us,
        };
        let megabyte = 1024.0 * 1024.0;
        let memory = |rules: &str| {
            self.vm_memory_bytes
                .get(rules)
                .map_or(f64::NAN, |memory| memory.at_the_end as f64)
        };
        let decision = |rules: &str| self.decision_us.get(rules).copied().unwrap_or(f64::NAN);
        self.limits = vec![
            Limit::new(
                "policy_overhead_over_native",
                self.ratios.policy_overhead_over_native,
                Bound::AtMost(1.2),
            ),
            Limit::new(
                "governed_overhead_over_native",
                self.ratios.governed_overhead_over_native,
                Bound::AtMost(3.5),
            ),
            Limit::new(
                "decision_us with 100,000 tool rules",
                decision("100000"),
                Bound::AtMost(40.0),
            ),
            Limit::new(
                "p50 added by a guard, local, in ms",
                self.guards.local_added_ms(),
                Bound::AtMost(0.35),
            ),
            Limit::new(
                "wasm MB",
                self.wasm_bytes as f64 / megabyte,
                Bound::AtMost(4.0),
            ),
            Limit::new(
                "VM MB with 1,000 tool rules",
                memory("1000") / megabyte,
                Bound::AtMost(32.0),
            ),
        ];
        self.limits.extend(self.messages.limits());
        self.limits.extend(self.changes.limits());
        self.limits.extend(self.trail.limits());
    }

    /// Whether every limit is met.
    pub fn all_met(&self) -> bool {
        self.limits.iter().all(|limit| limit.met)
    }

    /// Writes the file and says where.
    pub fn write(&self) -> Result<PathBuf> {
        let path = workspace().join("target/bench/report.json");
        let directory = path.parent().context("a file has a directory")?;
        std::fs::create_dir_all(directory)?;
        std::fs::write(&path, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Prints it.
    pub fn print(&self) {
        let mut rows = table(&[
            "row",
            "requests/s",
            "p50 µs",
            "p99 µs",
            "Envoy CPU µs",
            "min-max",
            "service CPU µs",
        ]);
        for row in &self.rows {
            rows.add_row([
                row.name.clone(),
                format!("{:.0}", row.rps),
                format!("{:.0}", row.p50_us),
                format!("{:.0}", row.p99_us),
                format!("{:.1}", row.cpu_us),
                format!("{:.1}-{:.1}", row.cpu_us_min, row.cpu_us_max),
                format!("{:.1}", row.service_cpu_us),
            ]);
        }
        let (limits, rest) = (limits(&self.limits), pairs(self.also()));
        anstream::println!("{rows}\n\n{limits}\n\n{rest}");
    }

    fn also(&self) -> Vec<(String, String)> {
        let mut also = Vec::new();
        for (rules, spread) in &self.decision_us_spread {
            let value = format!("{:.1} ({:.1}-{:.1})", spread.median, spread.min, spread.max);
            also.push((format!("decision_us, {rules} tool rules"), value));
        }
        for (rules, memory) in &self.vm_memory_bytes {
            let mb = |bytes: u64| bytes as f64 / 1024.0 / 1024.0;
            let value = format!(
                "{:.1} at start, {:.1} after {}, {:.1} after {} requests",
                mb(memory.after_start),
                mb(memory.after_half),
                memory.requests / 2,
                mb(memory.at_the_end),
                memory.requests
            );
            also.push((format!("VM MB, {rules} tool rules"), value));
        }
        also.extend(self.messages.also());
        for (row, caches) in &self.cache_hit_rates {
            for (cache, rate) in caches {
                also.push((
                    format!("{cache} hits, {row}"),
                    format!("{:.1} %", rate * 100.0),
                ));
            }
        }
        also.extend(self.guards.lines());
        also.extend(self.changes.also());
        also.extend(self.trail.also());
        also.push((
            "one EdDSA signature µs".to_owned(),
            format!("{:.1}", self.eddsa_sign_us),
        ));
        let ratio = format!("{:.1}", self.ratios.mint_cost_over_eddsa_sign);
        also.push(("mint_cost_over_eddsa_sign".to_owned(), ratio));
        also.push((
            "rounds x requests".to_owned(),
            format!("{} x {}", self.rounds, self.requests_per_round),
        ));
        also.push((
            "other load per core".to_owned(),
            format!("{:.2}", self.load_per_core),
        ));
        also
    }
}

/// Prints what was measured of the trail alone.
pub fn print_trail(trail: &Trail) {
    let (limits, rest) = (limits(&trail.limits()), pairs(trail.also()));
    anstream::println!("{limits}\n\n{rest}");
}

fn limits(of: &[Limit]) -> Table {
    let mut limits = table(&["figure", "value", "limit", "met"]);
    for limit in of {
        let bound = match limit.bound {
            Bound::AtMost(bound) => format!("<= {bound}"),
            Bound::AtLeast(bound) => format!(">= {bound}"),
        };
        let met = if limit.met { "yes" } else { "NO" };
        limits.add_row([
            limit.figure.to_owned(),
            format!("{:.2}", limit.value),
            bound,
            met.to_owned(),
        ]);
    }
    limits
}

fn pairs(of: Vec<(String, String)>) -> Table {
    let mut pairs = table(&["also", "value"]);
    for (name, value) in of {
        pairs.add_row([name, value]);
    }
    pairs
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_BORDERS_ONLY)
        .set_header(header.to_vec());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
