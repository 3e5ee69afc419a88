//! `writ serve`

use std::sync::Arc;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::{CliError, Output};
use crate::{
    clock::SystemClock,
    config::{Config, GatewayListen},
    serve::Running,
    telemetry::{OPERATION_SECONDS, OPERATIONS},
};

/// Bounds of the latency histograms, in seconds.
const SECONDS: [f64; 11] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5,
];
/// Bounds of the group commit's batch sizes.
const BATCHES: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 256.0];

pub(super) async fn run(config: Config, output: &mut Output) -> Result<(), CliError> {
    start_log(output.is_json());
    let mut ends = [
        signals(SignalKind::terminate())?,
        signals(SignalKind::interrupt())?,
    ];
    let mut reloads = signals(SignalKind::hangup())?;
    let running = Running::start(config, Arc::new(SystemClock), install_metrics()).await?;
    output.line(&format!("listening public http://{}", running.public))?;
    output.line(&match &running.gateway {
        GatewayListen::Loopback(address) => format!("listening gateway http://{address}"),
        GatewayListen::Tls(address, _) => format!("listening gateway https://{address}"),
        GatewayListen::Unix(path) => format!("listening gateway unix:{}", path.display()),
    })?;
    output.line("ready")?;
    let policy = running.app.policy();
    tracing::info!(issuer = %running.app.config.issuer, policy = policy.revision(), "ready");
    let [terminate, interrupt] = &mut ends;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = reloads.recv() => {
                match running.reload_policy().await {
                    Ok(true) => tracing::info!(policy = running.app.policy().revision(), "policy reloaded"),
                    Ok(false) => tracing::info!("the published policy stays in force; `writ policy publish` changes it"),
                    Err(error) => tracing::error!(%error, "the policy in force stays: the new one cannot be loaded"),
                }
                if let Err(error) = running.reload_certificates() {
                    tracing::error!(%error, "the certificates in force stay: the new ones cannot be used");
                }
            }
        }
    }
    tracing::info!(
        "about to end: /readyz says so for {:?}",
        running.app.config.drain
    );
    tokio::select! {
        () = running.drain() => {}
        // Told twice.
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("ending: requests in flight finish");
    running.stop().await;
    Ok(())
}

pub(super) fn signals(kind: SignalKind) -> Result<tokio::signal::unix::Signal, CliError> {
    signal(kind).map_err(|source| CliError::Io {
        action: "watch for signals".to_owned(),
        source,
    })
}

/// The log goes to standard error; `RUST_LOG` sets its level.
pub(super) fn start_log(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    // Only a subscriber that is there already makes this fail, and then there is a log.
    let _ = if json {
        log.json().try_init()
    } else {
        log.try_init()
    };
}

/// None when the process has a recorder already.
fn install_metrics() -> Option<PrometheusHandle> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Suffix("_batch_size".to_owned()), &BATCHES)
        })
        .and_then(|builder| {
            let durations = Matcher::Full(OPERATIONS.to_owned());
            builder.set_buckets_for_metric(durations, &OPERATION_SECONDS)
        })
        .ok()?
        .install_recorder()
        .ok()
}
