//! `[rate_limits]`: how often anybody may ask, as `NUMBER/TIME`.

use std::num::NonZeroU32;

use serde::Deserialize;

use super::{ConfigError, duration, raw::Source};
use crate::{http::limits::Rates, rates::Rate};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRateLimits {
    per_address: Option<String>,
    per_client: Option<String>,
}

pub(super) fn check(source: &Source) -> Result<Rates, ConfigError> {
    let raw = &source.values.rate_limits;
    let rate = |field: &str, given: &Option<String>, default: &str| {
        let text = given.as_deref().unwrap_or(default);
        parse(text).map_err(|problem| source.wrong(field, text, problem))
    };
    Ok(Rates {
        per_address: rate("rate_limits.per_address", &raw.per_address, "600/1m")?,
        per_client: rate("rate_limits.per_client", &raw.per_client, "1200/1m")?,
    })
}

fn parse(text: &str) -> Result<Rate, String> {
    let explained = || "write a number of requests and a time, such as 600/1m".to_owned();
    let (requests, period) = text.split_once('/').ok_or_else(explained)?;
    Ok(Rate {
        requests: requests.parse::<NonZeroU32>().map_err(|_| explained())?,
        period: duration::parse(period, &(1..=3600))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_in_a_time() {
        let rate = parse("600/1m").unwrap();
        assert_eq!((rate.requests.get(), rate.period.as_secs()), (600, 60));
        for bad in ["600", "0/1m", "600/", "600/2h", "x/1m", "-1/1m"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
