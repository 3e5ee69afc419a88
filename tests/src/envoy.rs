//! A real Envoy on a shipped YAML: only ports and paths are replaced, in the text, so that what is tested is
//! what ships.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process::Process;
use crate::scratch::Scratch;
use crate::wait::PATIENCE;
use crate::{binaries, ports, tools};

/// The path of the filter in the shipped YAML.
const SHIPPED_WASM: &str = "target/wasm32-wasip1/wasm/writ_plugin.wasm";
/// The listener's port in the shipped YAML.
const SHIPPED_LISTENER: u16 = 10000;
/// The admin interface's port in the shipped YAML.
const SHIPPED_ADMIN: u16 = 9901;

/// The filter in the shipped YAML.
const FILTER: &str = "- name: writ\n                    typed_config:";

/// An Envoy configuration: a shipped one, with replacements.
#[derive(Clone, Debug)]
pub struct Yaml(String);

impl Yaml {
    /// Reads `envoy/<name>` and points it at the filter that this tree builds.
    pub fn shipped(name: &str) -> Result<Self> {
        let path = binaries::workspace().join("envoy").join(name);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let wasm = binaries::wasm()?;
        Self(text).replace(SHIPPED_WASM, &wasm.display().to_string())
    }

    /// Any other configuration, with the listener on 10000 and the admin interface on 9901 likewise.
    pub fn text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Replaces every occurrence of `from`; there must be one, so that no test drifts from the file.
    pub fn replace(self, from: &str, to: &str) -> Result<Self> {
        ensure!(
            self.0.contains(from),
            "the Envoy YAML does not contain {from:?}"
        );
        Ok(Self(self.0.replace(from, to)))
    }

    /// Replaces the port of a shipped address.
    pub fn port(self, shipped: u16, port: u16) -> Result<Self> {
        self.replace(
            &format!("port_value: {shipped} }}"),
            &format!("port_value: {port} }}"),
        )
    }

    /// Lets filters wait longer for the token service than the shipped second, which an unoptimised one on a busy machine may take.
    #[must_use]
    pub fn patient(self) -> Self {
        let text = self
            .0
            .replace("\"timeout\": \"1s\"", "\"timeout\": \"10s\"");
        Self(text.replace("connect_timeout: 0.5s", "connect_timeout: 5s"))
    }

    /// Puts this bearer token on every request before the filter sees it, whatever the caller sent.
    pub fn bearing(self, token: &str) -> Result<Self> {
        let bearing = format!(
            "- name: envoy.filters.http.header_mutation
                    typed_config:
                      \"@type\": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
                      mutations:
                        request_mutations:
                          - append:
                              header: {{ key: authorization, value: \"Bearer {token}\" }}
                              append_action: OVERWRITE_IF_EXISTS_OR_ADD
                  {FILTER}"
        );
        self.replace(FILTER, &bearing)
    }

    /// The text as it stands.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How to start Envoy.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names its log and its configuration file.
    pub name: String,
    /// Worker threads. One makes "the same worker" certain.
    pub workers: u32,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// The listener's port, where others had to know it beforehand.
    pub port: Option<u16>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "envoy".to_owned(),
            workers: 1,
            env: Vec::new(),
            port: None,
        }
    }
}

/// A running Envoy, killed when dropped.
#[derive(Debug)]
pub struct Envoy {
    process: Process,
    http: reqwest::Client,
    listener: SocketAddr,
    admin: SocketAddr,
}

impl Envoy {
    /// Starts Envoy and waits until its `/ready` says so.
    pub async fn start(scratch: &Scratch, yaml: Yaml, options: Options) -> Result<Self> {
        let mut envoy = Self::spawn(scratch, yaml, &options)?;
        envoy.ready().await?;
        Ok(envoy)
    }

    async fn ready(&mut self) -> Result<()> {
        let (http, url) = (self.http.clone(), self.admin_url("/ready"));
        self.process
            .until("Envoy's /ready", PATIENCE, async |_| {
                let answer = http.get(&url).send().await.ok()?;
                answer.status().is_success().then_some(())
            })
            .await
    }

    /// Kills it without asking.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again as it was, once it was killed, and waits until its `/ready` says so.
    pub async fn start_again(&mut self) -> Result<()> {
        self.process.start_again()?;
        self.ready().await
    }

    /// Starts Envoy on a configuration it must refuse; returns what it logged when it ended.
    pub async fn refuse(scratch: &Scratch, yaml: Yaml, options: Options) -> Result<String> {
        let mut envoy = Self::spawn(scratch, yaml, &options)?;
        let status = envoy.process.exited(PATIENCE).await?;
        ensure!(!status.success(), "Envoy ended without an error");
        Ok(envoy.log())
    }

    fn spawn(scratch: &Scratch, yaml: Yaml, options: &Options) -> Result<Self> {
        let port = options.port.map_or_else(ports::free, Ok)?;
        let admin = ports::free()?;
        let text = yaml
            .port(SHIPPED_LISTENER, port)?
            .port(SHIPPED_ADMIN, admin)?
            .0
            .replace(
                &format!("http://127.0.0.1:{SHIPPED_LISTENER}"),
                &format!("http://127.0.0.1:{port}"),
            );
        let config = scratch.write(&format!("{}.yaml", options.name), text)?;
        let mut command = Command::new(tools::envoy()?);
        command
            .arg("--config-path")
            .arg(config)
            .args(["--disable-hot-restart", "--log-level", "warning"])
            .args(["--component-log-level", "wasm:info"])
            .args(["--concurrency", &options.workers.to_string()])
            .envs(options.env.iter().map(|(name, value)| (name, value)));
        Ok(Self {
            process: Process::spawn(&options.name, command, scratch.path())?,
            http: reqwest::Client::new(),
            listener: (Ipv4Addr::LOCALHOST, port).into(),
            admin: (Ipv4Addr::LOCALHOST, admin).into(),
        })
    }

    /// Where callers reach it.
    pub fn listener(&self) -> SocketAddr {
        self.listener
    }

    /// A URL on the listener; `path` starts with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.listener)
    }

    /// A URL on the admin interface; `path` starts with a slash.
    pub fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin)
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The process, to stop it or to wait for it.
    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Its counters and gauges whose names contain `filter`.
    pub async fn stats(&self, filter: &str) -> Result<BTreeMap<String, u64>> {
        let text = self
            .http
            .get(self.admin_url("/stats"))
            .query(&[("filter", filter)])
            .send()
            .await?
            .error_for_status()?
            .text()
            .await?;
        Ok(text
            .lines()
            .filter_map(|line| line.split_once(": "))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect())
    }

    /// One counter or gauge; 0 while Envoy has not made it.
    pub async fn stat(&self, name: &str) -> Result<u64> {
        Ok(self.stats(name).await?.get(name).copied().unwrap_or(0))
    }
}
