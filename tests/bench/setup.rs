//! Everything that runs: the binaries as they are released, the backend, the token service, the Envoys.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use writ_tests::binaries;
use writ_tests::envoy::{Envoy, Options};
use writ_tests::scratch::Scratch;
use writ_tests::signer::Signer;
use writ_tests::wait::{PATIENCE, until};

use crate::decision::Rules;
use crate::filter;
use crate::load::{self, Callers};
use crate::measure::Row;
use crate::policy::Policy;
use crate::report::Memory;
use crate::rows::{Filters, yaml};
use crate::service::{self, Bench, TOOLS};

/// The numbers of tool rules that decisions are measured with.
const RULES: [u64; 3] = [10, 1_000, 100_000];
/// A tool that no policy here allows.
const FORBIDDEN: &str = "drop_everything";

/// What all rows share.
#[derive(Debug)]
pub struct Setup {
    /// The token service.
    pub service: Bench,
    backend: SocketAddr,
    signer: Signer,
    static_callers: Callers,
    wasm: PathBuf,
    noop: PathBuf,
    scratch: Scratch,
}

impl Setup {
    /// Builds what is not built, and starts what all rows need.
    pub async fn prepare() -> Result<Self> {
        let scratch = Scratch::new("bench")?;
        let signer = Signer::generate();
        Ok(Self {
            wasm: binaries::wasm()?,
            noop: noop()?,
            service: Bench::start(&scratch).await?,
            backend: crate::backend::start()?,
            static_callers: service::callers(&signer, filter::ISSUER, filter::RESOURCE)?,
            signer,
            scratch,
        })
    }

    /// What answers.
    pub fn backend(&self) -> SocketAddr {
        self.backend
    }

    /// The filter.
    pub fn wasm(&self) -> &Path {
        &self.wasm
    }

    /// Where everything's files go.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// The size of the filter.
    pub fn wasm_bytes(&self) -> Result<u64> {
        Ok(std::fs::metadata(&self.wasm)?.len())
    }

    /// The rows of the issue, each having shown that it lets a call through and, where it decides, that it
    /// refuses another tool.
    pub async fn rows(&self) -> Result<Vec<Row>> {
        let of_policy = filter::static_mode(&self.signer, &Policy::with_rules(TOOLS))?;
        let gateway = filter::gateway_mode();
        let service = Some(self.service.service.process()?.id());
        let (of_static, of_service) = (&self.static_callers, &self.service.callers);
        let rows = vec![
            self.row("plain", Filters::Plain, of_static, None).await?,
            self.row("noop_wasm", Filters::Noop(&self.noop), of_static, None)
                .await?,
            self.row("native_mcp_rbac", Filters::Native, of_static, None)
                .await?,
            self.row(
                "writ_policy",
                Filters::Writ(&self.wasm, &of_policy),
                of_static,
                None,
            )
            .await?,
            self.row(
                "writ_governed",
                Filters::Writ(&self.wasm, &gateway),
                of_service,
                service,
            )
            .await?,
        ];
        for row in &rows {
            let decides = !matches!(row.name, "plain" | "noop_wasm");
            let allowed = load::is_allowed(row.envoy.listener(), &row.callers, FORBIDDEN).await?;
            ensure!(
                allowed != decides,
                "{} should {}refuse {FORBIDDEN}",
                row.name,
                if decides { "" } else { "not " }
            );
        }
        Ok(rows)
    }

    /// Plain Envoy, the filter deciding alone, and the filter with its token service, for large messages.
    pub async fn message_rows(&self) -> Result<[Row; 3]> {
        let of_lists = filter::static_mode(&self.signer, &Policy::for_lists(TOOLS))?;
        let gateway = filter::gateway_mode();
        let (of_static, of_service) = (&self.static_callers, &self.service.callers);
        Ok([
            self.row("large_plain", Filters::Plain, of_static, None)
                .await?,
            self.row(
                "large_policy",
                Filters::Writ(&self.wasm, &of_lists),
                of_static,
                None,
            )
            .await?,
            self.row(
                "large_governed",
                Filters::Writ(&self.wasm, &gateway),
                of_service,
                None,
            )
            .await?,
        ])
    }

    /// An Envoy whose policy allows everything, and one for each number of tool rules.
    pub async fn rules(&self) -> Result<(Row, Vec<Rules>)> {
        let configuration = filter::static_mode(&self.signer, &Policy::trivial())?;
        let trivial = self.static_row("trivial", &configuration, TOOLS).await?;
        let mut all = Vec::new();
        for rules in RULES {
            let configuration = filter::static_mode(&self.signer, &Policy::with_rules(rules))?;
            let row = self.static_row("rules", &configuration, rules).await?;
            let after_start = filter::memory(&row.envoy).await?;
            all.push(Rules {
                rules,
                row,
                memory: Memory {
                    after_start,
                    ..Memory::default()
                },
            });
        }
        Ok((trivial, all))
    }

    async fn static_row(
        &self,
        name: &'static str,
        configuration: &Value,
        tools: u64,
    ) -> Result<Row> {
        let callers = self.static_callers.with_tools(tools);
        self.row(
            name,
            Filters::Writ(&self.wasm, configuration),
            &callers,
            None,
        )
        .await
    }

    async fn row(
        &self,
        name: &'static str,
        filters: Filters<'_>,
        callers: &Callers,
        service: Option<u32>,
    ) -> Result<Row> {
        let yaml = yaml(&filters, self.backend, self.service.service.gateway_port())?;
        let options = Options {
            name: format!("{name}-{}", callers.tools),
            workers: 1,
            env: vec![(
                "WRIT_GATEWAY_SECRET".to_owned(),
                self.service.gateway_secret.clone(),
            )],
            port: None,
        };
        let envoy = Envoy::start(&self.scratch, yaml, options)
            .await
            .with_context(|| format!("row {name}"))?;
        until(
            &format!("a good answer in row {name}"),
            PATIENCE,
            async || {
                let allowed = load::is_allowed(envoy.listener(), callers, &callers.tool(0)).await;
                allowed.is_ok_and(|allowed| allowed).then_some(())
            },
        )
        .await
        .with_context(|| format!("the end of Envoy's log:\n{}", envoy.process().tail()))?;
        Ok(Row::new(name, envoy, callers.clone(), service))
    }
}

/// The filter that does nothing, built.
fn noop() -> Result<PathBuf> {
    let arguments = [
        "build",
        "--quiet",
        "--profile",
        "wasm",
        "--target",
        "wasm32-wasip1",
        "-p",
        "writ-plugin",
        "--example",
        "noop",
    ];
    let status = Command::new("cargo")
        .args(arguments)
        .current_dir(binaries::workspace())
        .status();
    ensure!(
        status.context("cannot run cargo")?.success(),
        "`cargo {}` failed",
        arguments.join(" ")
    );
    let path = binaries::workspace().join("target/wasm32-wasip1/wasm/examples/noop.wasm");
    ensure!(
        path.is_file(),
        "cargo succeeded, but {} is not there",
        path.display()
    );
    Ok(path)
}
