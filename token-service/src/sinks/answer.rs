//! What a sink's answer over HTTP means.

use std::time::Duration;

use jiff::{Timestamp, fmt::rfc2822};
use reqwest::{RequestBuilder, Response, StatusCode, header::RETRY_AFTER};
use url::Url;

use super::{Failure, http::Http};
use crate::{
    audit::{clip, printable},
    http::outbound::{cause, read},
};

/// Of an answer, so much is read.
const MOST: usize = 64 * 1024;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// RFC 9110 section 15.
    pub(super) status: StatusCode,
    /// The content.
    pub(crate) body: Vec<u8>,
    retry_after: Option<Duration>,
}

/// Sends a request and reads what is answered, whatever that is.
pub(super) async fn to(request: RequestBuilder) -> Result<Answer, Failure> {
    let response = request
        .send()
        .await
        .map_err(|error| Failure::later(cause(&error)))?;
    let status = response.status();
    let retry_after = retry_after(&response, Timestamp::now());
    // The status says it all where the rest is too long, or does not come.
    let body = read(response, MOST).await.unwrap_or_default();
    Ok(Answer {
        status,
        body,
        retry_after,
    })
}

/// Sends JSON; an answer that is no yes is a failure.
pub(crate) async fn post(http: &Http, url: &Url, json: &str) -> Result<Answer, Failure> {
    let request = http.post(url, "application/json", json.as_bytes().to_vec())?;
    let answer = to(request).await?;
    answer.judge()?;
    Ok(answer)
}

impl Answer {
    /// By its status: 400, 413 and 422 are about what was sent, all other refusals about who sent it, or where and when.
    pub(super) fn judge(&self) -> Result<(), Failure> {
        match self.status.as_u16() {
            200..=299 => Ok(()),
            400 | 413 | 422 => Err(self.rejected()),
            _ => Err(self.later()),
        }
    }

    pub(super) fn rejected(&self) -> Failure {
        Failure::Rejected {
            problem: self.problem(),
        }
    }

    pub(super) fn later(&self) -> Failure {
        Failure::Later {
            problem: self.problem(),
            after: self.retry_after,
        }
    }

    fn problem(&self) -> String {
        let said = String::from_utf8_lossy(&self.body);
        match clip(said.trim(), 256) {
            nothing if nothing.is_empty() => format!("it answered {}", self.status),
            said => format!("it answered {}: {}", self.status, printable(&said)),
        }
    }
}

/// RFC 9110 section 10.2.3: seconds, or a date.
fn retry_after(response: &Response, now: Timestamp) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Duration::try_from(at.duration_since(now)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(retry_after: &str) -> Response {
        let response = axum::http::Response::builder().header(RETRY_AFTER, retry_after);
        response.body("").unwrap().into()
    }

    #[test]
    fn when_to_come_again_is_said_in_seconds_or_as_a_date() {
        let now = "1994-11-06T08:49:00Z".parse().unwrap();
        let after = |text| super::retry_after(&answered(text), now);
        assert_eq!(after("120"), Some(Duration::from_secs(120)));
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(after(date), Some(Duration::from_secs(37)));
        assert_eq!(after("Sun, 06 Nov 1994 08:48:37 GMT"), None);
        assert_eq!(after("soon"), None);
    }
}
