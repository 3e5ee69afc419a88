//! `writ connect … -- COMMAND ARG…`

use std::{ffi::OsString, io::Read as _, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
#[cfg(target_os = "linux")]
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use secrecy::SecretString;
use tokio::signal::unix::SignalKind;
use url::Url;
use zeroize::Zeroizing;

use super::{
    CliError, Output,
    serve::{signals, start_log},
};
use crate::{
    config::{duration, is_loopback_host},
    connect::{ConnectError, Connected, Identity, PATH, Passed, Place, Registration, Settings},
    private_file,
    registry::Id,
};

/// The secret of a gateway.
const GATEWAY_SECRET: &str = "WRIT_GATEWAY_SECRET";
/// What a server registers itself with.
const REGISTRATION_TOKEN: &str = "WRIT_REGISTRATION_TOKEN";
/// Longer than any certificate chain, in bytes.
const MAX_FILE: u64 = 256 * 1024;

/// Put an MCP server that speaks on its standard streams behind an HTTP endpoint that only the gateway can use.
///
/// Every request must carry a token that the gateway got for that one call; anything else is refused and recorded. The
/// server is started by this command, restarted when it ends, and ended with it; it gets no environment variable but
/// PATH, HOME, LANG, LC_*, TMPDIR, TZ and those named with --pass-env.
///
/// At the token service it is a guard (`writ gateway add ID --kind guard --server SERVER`), with its secret in
/// WRIT_GATEWAY_SECRET.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  writ connect --server files --gateway laptop -- npx -y @modelcontextprotocol/server-filesystem /srv/files"
)]
pub(super) struct Connect {
    /// The server's id in the registry.
    #[arg(
        long,
        value_name = "ID",
        required_unless_present = "register",
        requires = "gateway"
    )]
    server: Option<Id>,
    /// Where the endpoint listens; its path is /mcp.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where the token service's listener for gateways is: a URL, or unix:/path.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8182")]
    service: String,
    /// The gateway as which it asks there.
    #[arg(long, value_name = "ID", requires = "server")]
    gateway: Option<Id>,
    /// Register the server instead, with the initial access token in WRIT_REGISTRATION_TOKEN, unless this file has its
    /// registration already; the server then proves who it is with its own secret.
    #[arg(long, value_name = "FILE", requires_all = ["issuer", "resource"], conflicts_with_all = ["server", "secret_file", "identity_file"])]
    register: Option<PathBuf>,
    /// The issuer that it registers at: the public URL of the token service.
    #[arg(long, value_name = "URL", requires = "register")]
    issuer: Option<Url>,
    /// The public URL that it registers with: the gateway's.
    #[arg(long, value_name = "URL", requires = "register")]
    resource: Option<Url>,
    /// A file with the secret, instead of the environment variable.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// For a token service on another machine: this side's certificate chain and private key (PEM), instead of a secret.
    #[arg(
        long,
        value_name = "FILE",
        requires = "gateway",
        conflicts_with = "secret_file"
    )]
    identity_file: Option<PathBuf>,
    /// The key that snapshots are signed with (`writ snapshot key`), where the secret does not end with it.
    #[arg(long, value_name = "KEY", requires = "gateway")]
    snapshot_key: Option<String>,
    /// Certificate authorities (PEM) that are believed besides the system's.
    #[arg(long, value_name = "FILE", requires = "identity_file")]
    ca_file: Option<PathBuf>,
    /// A further Host that requests may ask for, such as the gateway's; may be repeated.
    #[arg(long = "allow-host", value_name = "HOST[:PORT]")]
    hosts: Vec<String>,
    /// A web page's Origin whose requests are taken; may be repeated.
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    origins: Vec<String>,
    /// Who remembers which tokens were used.
    #[arg(long, value_enum, default_value_t = SingleUseArg::Global)]
    single_use: SingleUseArg,
    /// An environment variable that the server gets; may be repeated.
    #[arg(long = "pass-env", value_name = "NAME", value_parser = Passed::parse)]
    passed: Vec<Passed>,
    /// Sessions at a time, each of which is a process (clients of MCP 2025-11-25 and before).
    #[arg(long, value_name = "NUMBER", default_value = "16", value_parser = clap::value_parser!(u16).range(1..=1024))]
    max_sessions: u16,
    /// How long nobody need use a session for it to end.
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = idle)]
    idle_timeout: Duration,
    /// How long the server may take to answer its first request; npx and uvx may have to fetch it.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = start)]
    start_timeout: Duration,
    /// How long requests in flight have to finish at the end.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = grace)]
    grace: Duration,
    /// The largest message in either direction, in KiB.
    #[arg(long, value_name = "KIB", default_value = "4096", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    max_message: u32,
    /// The command that starts the MCP server.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SingleUseArg {
    /// The token service: a token is used once, wherever.
    Global,
    /// This process: without asking the service each time, and each token is used once at this process.
    Local,
}

fn idle(text: &str) -> Result<Duration, String> {
    duration::parse(text, &(1..=86_400))
}

fn start(text: &str) -> Result<Duration, String> {
    duration::parse(text, &(1..=3600))
}

fn grace(text: &str) -> Result<Duration, String> {
    duration::parse(text, &(0..=3600))
}

impl Connect {
    /// Runs until it is told to end.
    pub(super) async fn run(self, output: &mut Output) -> Result<(), CliError> {
        start_log(output.is_json());
        // The server runs as we do: it is not to read our environment, with its secrets, from outside.
        #[cfg(target_os = "linux")]
        if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
            tracing::warn!("the server's process can read this one's environment: {error}");
        }
        let mut ends = [
            signals(SignalKind::terminate())?,
            signals(SignalKind::interrupt())?,
        ];
        let settings = self.settings(|name| std::env::var(name).ok())?;
        let [terminate, interrupt] = &mut ends;
        let ended = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let connected = match Connected::start(settings, ended).await {
            Err(ConnectError::ToldToEnd) => return Ok(()),
            connected => connected?,
        };
        output.line(&format!("listening http://{}{PATH}", connected.address))?;
        output.line("ready")?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("ending: requests in flight finish");
        connected.stop().await;
        Ok(())
    }

    fn settings(self, env: impl Fn(&str) -> Option<String>) -> Result<Settings, CliError> {
        let place = self.place()?;
        Ok(Settings {
            identity: self.identity(&place, env)?,
            place,
            listen: self.listen,
            hosts: self.hosts,
            origins: self.origins,
            local_single_use: matches!(self.single_use, SingleUseArg::Local),
            command: self.command,
            passed: self.passed,
            max_sessions: self.max_sessions.into(),
            idle: self.idle_timeout,
            start_time: self.start_timeout,
            grace: self.grace,
            max_message: usize::try_from(self.max_message).unwrap_or(usize::MAX) * 1024,
        })
    }

    fn identity(
        &self,
        place: &Place,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Identity, CliError> {
        let env = |name| env(name).filter(|value| !value.is_empty());
        if let (Some(file), Some(issuer), Some(resource)) =
            (&self.register, &self.issuer, &self.resource)
        {
            if matches!(place, Place::Tls { .. }) {
                let told = "--register is for a token service on this machine: a server has no certificate of its own";
                return Err(CliError::Usage(told.to_owned()));
            }
            if issuer.scheme() != "https"
                && !(issuer.scheme() == "http" && is_loopback_host(issuer))
            {
                return Err(CliError::Usage(format!(
                    "--issuer {issuer}: tokens and secrets would cross the network in clear; name its https URL"
                )));
            }
            return Ok(Identity::Registering(Registration {
                issuer: issuer.as_str().trim_end_matches('/').to_owned(),
                resource: resource.to_string(),
                token: env(REGISTRATION_TOKEN).map(SecretString::from),
                file: file.clone(),
            }));
        }
        let (Some(server), Some(gateway)) = (&self.server, &self.gateway) else {
            let told = "name the server with --server and its gateway with --gateway, or let it --register";
            return Err(CliError::Usage(told.to_owned()));
        };
        let secret = match (place, &self.secret_file) {
            (Place::Tls { .. }, _) => None,
            (_, Some(file)) => Some(private_file::read(file)?),
            (_, None) => Some(env(GATEWAY_SECRET).map(Zeroizing::new).ok_or_else(|| {
                CliError::Usage(format!(
                    "the secret of `{gateway}` is missing: set {GATEWAY_SECRET}, or name a file with --secret-file"
                ))
            })?),
        };
        Ok(Identity::Guarded {
            server: server.to_string(),
            gateway: gateway.to_string(),
            snapshot_key: self.snapshot_key.clone(),
            secret: secret.map(|secret| SecretString::from(secret.trim_end().to_owned())),
        })
    }

    fn place(&self) -> Result<Place, CliError> {
        if let Some(path) = self.service.strip_prefix("unix:") {
            return Ok(Place::Unix(path.into()));
        }
        let usage = |told: &str| CliError::Usage(format!("--service {}: {told}", self.service));
        let url = Url::parse(&self.service).map_err(|e| usage(&e.to_string()))?;
        let is_loopback = is_loopback_host(&url);
        match (url.scheme(), &self.identity_file) {
            ("http", None) if is_loopback => Ok(Place::Loopback(url)),
            ("http", _) => Err(usage(
                "a secret stays on this machine; to reach a token service on another one use https and --identity-file",
            )),
            ("https", Some(identity)) => Ok(Place::Tls {
                url,
                identity: private_file::read(identity)?.as_bytes().to_vec(),
                authorities: match &self.ca_file {
                    Some(file) => read(file)?.into_bytes(),
                    None => Vec::new(),
                },
            }),
            ("https", None) => Err(usage(
                "over TLS a gateway proves who it is with a certificate; name it with --identity-file",
            )),
            _ => Err(usage("it must be an http or https URL, or unix:/path")),
        }
    }
}

fn read(file: &PathBuf) -> Result<String, CliError> {
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|open| open.take(MAX_FILE).read_to_string(&mut text))
        .map_err(|source| CliError::Io {
            action: format!("read {}", file.display()),
            source,
        })?;
    Ok(text)
}
