//! The exporters of traces and metrics, while the service runs: they are stopped last, when all has been said.

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use crate::{
    app::SharedApp,
    sinks::http::Http,
    telemetry::{metrics, traces},
};

/// How long a request to the collector may take.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// How long the exporters have at the end.
const GRACE: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub(super) struct Telemetry {
    stop: watch::Sender<bool>,
    exporters: Vec<JoinHandle<()>>,
}

impl Telemetry {
    /// Starts what is configured.
    pub(super) fn start(app: &SharedApp, handle: Option<PrometheusHandle>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut exporters = Vec::new();
        if let Some(config) = &app.config.telemetry {
            let client = app.outbound.trusted().clone();
            let http = || Http::new(client.clone(), config.endpoint.clone(), REQUEST_TIME);
            if let Some(queue) = app.telemetry.waiting() {
                let exporter = traces::Exporter::new(http(), config.clone(), queue);
                exporters.push(tokio::spawn(exporter.run(stopped.clone())));
            }
            if let Some(handle) = handle {
                let exporter = metrics::Exporter::new(http(), config.clone(), handle);
                exporters.push(tokio::spawn(exporter.run(stopped)));
            }
        }
        Self { stop, exporters }
    }

    /// Sends what is left.
    pub(super) async fn stop(self) {
        let _ = self.stop.send(true);
        let until = Instant::now() + GRACE;
        for exporter in self.exporters {
            if timeout_at(until, exporter).await.is_err() {
                tracing::warn!(
                    "the collector of `telemetry.url` did not take the last of traces or metrics in time"
                );
            }
        }
    }
}
