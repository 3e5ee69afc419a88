//! `[telemetry]`: where traces and metrics are sent to.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;
use url::Url;

use super::{
    ConfigError, duration,
    raw::Source,
    remote::{self, Secret, TokenAt},
    sinks::Endpoint,
};

const TABLE: &str = "telemetry";

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTelemetry {
    url: Option<String>,
    token_file: Option<PathBuf>,
    token_env: Option<String>,
    token_header: Option<String>,
    gzip: Option<bool>,
    service_name: Option<String>,
    sample: Option<f64>,
    metrics_interval: Option<String>,
}

/// Where traces and metrics are sent to, and how much.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// A collector that takes OTLP over HTTP.
    pub endpoint: Endpoint,
    /// What this service is called there.
    pub service_name: String,
    /// How many of the traces that begin here are kept: 0 to 1. Of others, whoever began them has said.
    pub sample: f64,
    /// How often metrics are sent.
    pub metrics_interval: Duration,
}

impl Telemetry {
    /// Where spans go.
    #[must_use]
    pub fn traces_url(&self) -> Url {
        self.signal("traces")
    }

    /// Where metrics go.
    #[must_use]
    pub fn metrics_url(&self) -> Url {
        self.signal("metrics")
    }

    /// OTLP, "Endpoint URLs for OTLP/HTTP".
    fn signal(&self, name: &str) -> Url {
        let mut url = self.endpoint.url.clone();
        let base = url.path().trim_end_matches('/');
        let path = format!("{base}/v1/{name}");
        url.set_path(&path);
        url
    }
}

pub(super) fn check(source: &Source) -> Result<Option<Telemetry>, ConfigError> {
    let raw = &source.values.telemetry;
    let wrong = |field: &str, value: &str, problem: &str| {
        source.wrong(&format!("{TABLE}.{field}"), value, problem)
    };
    let Some(url) = &raw.url else {
        let given = [
            ("token_file", raw.token_file.is_some()),
            ("token_env", raw.token_env.is_some()),
            ("token_header", raw.token_header.is_some()),
            ("gzip", raw.gzip.is_some()),
            ("service_name", raw.service_name.is_some()),
            ("sample", raw.sample.is_some()),
            ("metrics_interval", raw.metrics_interval.is_some()),
        ];
        return match given.iter().find(|(_, given)| *given) {
            None => Ok(None),
            Some((field, _)) => Err(wrong(
                field,
                "",
                "is without effect: name the collector in telemetry.url",
            )),
        };
    };
    let service_name = raw.service_name.as_deref().unwrap_or("writ");
    if service_name.is_empty()
        || service_name.len() > 64
        || service_name.chars().any(char::is_control)
    {
        let problem = "must have 1 to 64 characters";
        return Err(wrong("service_name", service_name, problem));
    }
    let sample = raw.sample.unwrap_or(1.0);
    if !(0.0..=1.0).contains(&sample) {
        return Err(wrong("sample", &sample.to_string(), "must be 0 to 1"));
    }
    let interval = raw.metrics_interval.as_deref().unwrap_or("60s");
    let token = TokenAt {
        table: TABLE,
        file: raw.token_file.as_ref(),
        variable: raw.token_env.as_ref(),
    };
    Ok(Some(Telemetry {
        endpoint: Endpoint {
            url: remote::url(source, TABLE, url, Secret::Token)?,
            credential: remote::credential(source, token, "Bearer", raw.token_header.as_deref())?,
            gzip: raw.gzip.unwrap_or(true),
        },
        service_name: service_name.to_owned(),
        sample,
        metrics_interval: duration::parse(interval, &(1..=3600))
            .map_err(|problem| source.wrong("telemetry.metrics_interval", interval, problem))?,
    }))
}
