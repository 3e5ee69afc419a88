//! One row under load: rates, latencies, and the CPU time that Envoy and the token service took for it.

use anyhow::Result;
use writ_tests::envoy::Envoy;

use crate::load::{self, Callers};
use crate::noise::Spread;
use crate::{cpu, report};

/// Connections of the load generator: enough to keep one worker busy.
pub const CONNECTIONS: usize = 16;

/// An Envoy to be measured.
#[derive(Debug)]
pub struct Row {
    /// Its name in the report.
    pub name: &'static str,
    /// The Envoy.
    pub envoy: Envoy,
    /// Who calls it.
    pub callers: Callers,
    /// The token service's process id, where the row has one.
    pub service: Option<u32>,
    rounds: Vec<Round>,
    sent: u64,
}

#[derive(Clone, Copy, Debug)]
struct Round {
    rps: f64,
    p50_us: f64,
    p99_us: f64,
    cpu_us: f64,
    service_cpu_us: f64,
}

impl Row {
    /// A row without rounds.
    pub fn new(name: &'static str, envoy: Envoy, callers: Callers, service: Option<u32>) -> Self {
        Self {
            name,
            envoy,
            callers,
            service,
            rounds: Vec::new(),
            sent: 0,
        }
    }

    /// Sends `requests` without measuring: connections, caches and V8's optimising compiler settle.
    pub async fn warm_up(&mut self, requests: u64) -> Result<()> {
        let first = self.sent;
        self.sent += requests;
        load::run(
            self.envoy.listener(),
            &self.callers,
            CONNECTIONS,
            first,
            requests,
        )
        .await?;
        Ok(())
    }

    /// One measured round.
    pub async fn round(&mut self, requests: u64) -> Result<()> {
        let first = self.sent;
        self.sent += requests;
        let pid = self.envoy.process().id();
        let (envoy_before, service_before) =
            (cpu::of(pid)?, self.service.map(cpu::of).transpose()?);
        let run = load::run(
            self.envoy.listener(),
            &self.callers,
            CONNECTIONS,
            first,
            requests,
        )
        .await?;
        let envoy = cpu::of(pid)?.saturating_sub(envoy_before);
        let service = match (self.service, service_before) {
            (Some(pid), Some(before)) => cpu::of(pid)?.saturating_sub(before),
            _ => std::time::Duration::ZERO,
        };
        let each = |time: std::time::Duration| time.as_secs_f64() * 1e6 / run.requests as f64;
        self.rounds.push(Round {
            rps: run.rate(),
            p50_us: run.percentile(50).into(),
            p99_us: run.percentile(99).into(),
            cpu_us: each(envoy),
            service_cpu_us: each(service),
        });
        Ok(())
    }

    /// Requests sent so far.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// CPU of Envoy per request.
    pub fn cpu_us(&self) -> Spread {
        Spread::of(self.rounds.iter().map(|round| round.cpu_us))
    }

    /// CPU of Envoy per request, round by round.
    pub fn cpu_us_by_round(&self) -> impl Iterator<Item = f64> {
        self.rounds.iter().map(|round| round.cpu_us)
    }

    /// The row in the report.
    pub fn report(&self) -> report::Row {
        let of = |figure: fn(&Round) -> f64| Spread::of(self.rounds.iter().map(figure));
        let cpu = self.cpu_us();
        report::Row {
            name: self.name.to_owned(),
            rps: of(|round| round.rps).median,
            p50_us: of(|round| round.p50_us).median,
            p99_us: of(|round| round.p99_us).median,
            cpu_us: cpu.median,
            service_cpu_us: of(|round| round.service_cpu_us).median,
            cpu_us_min: cpu.min,
            cpu_us_max: cpu.max,
        }
    }
}
