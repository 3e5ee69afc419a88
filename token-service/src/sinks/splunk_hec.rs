//! Splunk's HTTP Event Collector: events one after the other at `/services/collector/event`, the token in `Authorization: Splunk`.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    Failure,
    answer::{self, Answer},
    batch::Message,
    http::Http,
};
use crate::config::sinks::Format;

/// Where a collector takes events.
const PATH: &str = "/services/collector/event";
/// Codes that are about an event: invalid data format, no event, a blank one, fields that cannot be indexed. All others are about
/// the token, the index or the collector itself, and no event is lost for them.
const ABOUT_AN_EVENT: [u32; 4] = [6, 12, 13, 15];

#[derive(Debug)]
pub(super) struct SplunkHec {
    http: Http,
    index: Option<String>,
    /// The log's name.
    log: String,
    format: Format,
}

#[derive(Serialize)]
struct Event<'a> {
    /// Seconds since the epoch.
    time: f64,
    host: &'a str,
    source: &'a str,
    sourcetype: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<&'a str>,
    event: &'a RawValue,
    fields: Fields<'a>,
}

/// What can be searched by without the event being looked into.
#[derive(Serialize)]
struct Fields<'a> {
    writ_id: &'a str,
    writ_index: u64,
    writ_kind: &'a str,
}

/// What a collector answers.
#[derive(Deserialize)]
struct Said {
    code: u32,
}

impl SplunkHec {
    pub(super) fn new(mut http: Http, index: Option<String>, log: String, format: Format) -> Self {
        if http.endpoint.url.path() == "/" {
            http.endpoint.url.set_path(PATH);
        }
        Self {
            http,
            index,
            log,
            format,
        }
    }

    pub(super) async fn send(&self, batch: &[Message]) -> Result<(), Failure> {
        let mut body = Vec::new();
        for message in batch {
            self.write(message, &mut body).map_err(Failure::later)?;
        }
        let url = &self.http.endpoint.url;
        let request = self.http.post(url, "application/json", body)?;
        judge(&answer::to(request).await?)
    }

    fn write(&self, message: &Message, to: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let record = &message.entry.record;
        let host = self.log.split('/').next().unwrap_or_default();
        let event = Event {
            time: seconds(&record.time),
            host,
            source: &self.log,
            sourcetype: match self.format {
                Format::Ocsf => "writ:ocsf",
                Format::Writ => "writ:audit",
            },
            index: self.index.as_deref(),
            event: serde_json::from_str(&message.text)?,
            fields: Fields {
                writ_id: &record.id,
                writ_index: message.leaf,
                writ_kind: record.kind.as_str(),
            },
        };
        serde_json::to_writer(&mut *to, &event)?;
        to.push(b'\n');
        Ok(())
    }
}

fn judge(answer: &Answer) -> Result<(), Failure> {
    let said: Option<Said> = serde_json::from_slice(&answer.body).ok();
    match (answer.status.as_u16(), said) {
        (200..=299, None | Some(Said { code: 0 })) => Ok(()),
        (400, Some(said)) if ABOUT_AN_EVENT.contains(&said.code) => Err(answer.rejected()),
        (413, _) => Err(answer.rejected()),
        _ => Err(answer.later()),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds since the epoch fit into a double until 2255"
)]
fn seconds(time: &str) -> f64 {
    let at = time.parse::<jiff::Timestamp>().unwrap_or_default();
    at.as_microsecond() as f64 / 1e6
}
