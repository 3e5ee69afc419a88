//! `writ audit sinks`

use serde::Serialize;

use super::{CliError, Output};
use crate::{
    clock::{Clock as _, SystemClock},
    config::Config,
    sinks::lag,
    store::Store,
};

/// A sink, as it is configured or was.
#[derive(Serialize)]
struct Line {
    name: String,
    /// None where it is configured no more.
    r#type: Option<&'static str>,
    /// None where nothing runs yet that would send.
    position: Option<u64>,
    lag_records: u64,
    lag_seconds: f64,
    skipped: u64,
    last_sent: Option<String>,
    last_error: Option<String>,
    last_error_time: Option<String>,
}

pub(super) async fn run(
    config: &Config,
    store: &Store,
    output: &mut Output,
) -> Result<(), CliError> {
    let size = store.log_state().await?.size;
    let now = SystemClock.now();
    let mut lines = Vec::new();
    let configured = &config.audit.sinks;
    let states = store.sinks().await?;
    for sink in configured {
        if !states.iter().any(|state| state.name == sink.name) {
            lines.push(Line {
                name: sink.name.clone(),
                r#type: Some(sink.to.as_str()),
                position: None,
                lag_records: 0,
                lag_seconds: 0.0,
                skipped: 0,
                last_sent: None,
                last_error: None,
                last_error_time: None,
            });
        }
    }
    for state in states {
        let lag = lag::of(store, &state, size, now).await?;
        let sink = configured.iter().find(|sink| sink.name == state.name);
        lines.push(Line {
            r#type: sink.map(|sink| sink.to.as_str()),
            name: state.name,
            position: Some(state.next),
            lag_records: lag.records,
            lag_seconds: lag.seconds,
            skipped: state.skipped,
            last_sent: state.last_sent,
            last_error: state.last_error,
            last_error_time: state.last_error_time,
        });
    }
    if output.is_json() {
        return lines.iter().try_for_each(|line| output.json(line));
    }
    let header = [
        "NAME",
        "TYPE",
        "POSITION",
        "LAG",
        "SKIPPED",
        "LAST SENT",
        "LAST ERROR",
    ];
    output.table(&lines, header, |line| {
        let error = [&line.last_error_time, &line.last_error];
        let error: Vec<&str> = error.into_iter().flatten().map(String::as_str).collect();
        [
            line.name.clone(),
            line.r#type.unwrap_or("not configured").to_owned(),
            line.position
                .map(|next| next.to_string())
                .unwrap_or_default(),
            format!("{} ({:.0} s)", line.lag_records, line.lag_seconds),
            line.skipped.to_string(),
            line.last_sent.clone().unwrap_or_default(),
            error.join(" "),
        ]
    })
}
