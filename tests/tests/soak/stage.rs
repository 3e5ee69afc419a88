//! All that can be killed: two services, their database, a gateway, a guard; and an MCP server behind them that believes whatever
//! gets that far.

use anyhow::{Context, Result, ensure};
use writ_tests::deployment::Options;
use writ_tests::envoy::Envoy;
use writ_tests::guard;
use writ_tests::ledger::tap::Heard;
use writ_tests::ports;
use writ_tests::replicas::Replicas;

use crate::killing::Victim;

/// A checkpoint a second, so that there is one soon.
const CONFIG: &str = "[audit]\ncheckpoint_interval = \"1s\"\n";

/// See the module. Fields are dropped in order: callers' side first.
pub struct Stage {
    pub guard: Envoy,
    pub guard_secret: String,
    pub replicas: Replicas,
}

impl Stage {
    /// Starts everything.
    pub async fn set() -> Result<Self> {
        let port = ports::free()?;
        let replicas = Replicas::start(Options {
            upstream: Some(port),
            open_ledger: true,
            workers: 2,
            service_config: Some(CONFIG.to_owned()),
            ..Options::named("soak")
        })
        .await?;
        let writ = &replicas.deployment;
        let options = guard::Options {
            workers: 1,
            yaml: replicas.both.clone(),
            server: writ.ledger.address().port(),
            port,
        };
        let guard_secret = guard::register(&writ.service)?;
        let guard = guard::start(&writ.scratch, &writ.service, &guard_secret, &options).await?;
        Ok(Self {
            guard,
            guard_secret,
            replicas,
        })
    }

    /// Kills it without asking.
    pub fn kill(&mut self, victim: Victim) -> Result<()> {
        match victim {
            Victim::Service => self.replicas.deployment.service.stop(),
            Victim::OtherService => self.replicas.other.stop(),
            Victim::Database => self.replicas.cluster.kill()?,
            Victim::Gateway => self.replicas.deployment.envoy.kill(),
            Victim::Guard => self.guard.kill(),
        }
        Ok(())
    }

    /// Starts it again.
    pub async fn start_again(&mut self, victim: Victim) -> Result<()> {
        match victim {
            Victim::Service => self.replicas.deployment.service.serve().await,
            Victim::OtherService => self.replicas.other.serve().await,
            Victim::Database => self.replicas.cluster.start_again(),
            Victim::Gateway => self.replicas.deployment.envoy.start_again().await,
            Victim::Guard => self.guard.start_again().await,
        }
    }

    /// What reached the MCP server.
    pub fn heard(&self) -> Vec<Heard> {
        self.replicas.deployment.ledger.tap().heard()
    }

    /// The newest checkpoint.
    pub fn checkpoint(&self) -> Result<String> {
        self.text(&["audit", "checkpoint"])
    }

    /// Verifies the log with this one.
    pub fn verify(&self, kept: &str) -> Result<()> {
        let scratch = &self.replicas.deployment.scratch;
        let kept = scratch.write("kept.checkpoint", kept)?;
        let key = self.text(&["audit", "key"])?;
        let verdict = self.text(&[
            "audit",
            "verify",
            "--key",
            key.trim(),
            "--checkpoint",
            kept.to_str().context("a path that is text")?,
        ])?;
        ensure!(verdict.starts_with("intact"), "{verdict}");
        Ok(())
    }

    /// What a command prints, for people.
    pub fn text(&self, arguments: &[&str]) -> Result<String> {
        self.replicas.deployment.service.text(arguments)
    }

    /// The ends of everybody's logs.
    pub fn logs(&self) -> String {
        let writ = &self.replicas.deployment;
        let services = [&writ.service, &self.replicas.other];
        let services = services.map(|s| s.process().map(|p| p.tail()).unwrap_or_default());
        let envoys = [writ.envoy.process().tail(), self.guard.process().tail()];
        [services, envoys].concat().join("\n--\n")
    }
}
