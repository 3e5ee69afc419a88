//! Clocks: tokens live for seconds, so that a minute's difference refuses all of them.

use jiff::{SignedDuration, Timestamp, fmt::rfc2822};

use super::Finding;
use crate::store::{Store, audit::Filter};

const CHECK: &str = "clock";
/// What the filter tolerates unless it is told otherwise (`clock_skew`).
const TOLERATED: SignedDuration = SignedDuration::from_secs(5);
const FIX: &str = "synchronise the clocks (NTP)";

/// Compares this machine's clock with the `Date` of an answer (RFC 9110 section 6.6.1).
pub(super) fn of_answer(whose: &str, date: Option<&str>, now: Timestamp) -> Option<Finding> {
    let theirs = rfc2822::parse(date?).ok()?.timestamp();
    let apart = now.duration_since(theirs).abs();
    Some(if apart <= TOLERATED {
        Finding::ok(CHECK, format!("{whose} has the same time"))
    } else {
        let found = format!("{whose} is {} s apart from this machine", apart.as_secs());
        Finding::problem(CHECK, found, FIX)
    })
}

/// Records are made by the service's clock: none lies ahead.
pub(super) async fn of_records(store: &Store, now: Timestamp) -> Option<Finding> {
    let newest = store.newest_records(&Filter::default(), 1).await.ok()?;
    let written: Timestamp = newest.first()?.record.time.parse().ok()?;
    let ahead = written.duration_since(now);
    Some(if ahead <= TOLERATED {
        Finding::ok(CHECK, "no record lies ahead")
    } else {
        let found = format!("the newest audit record lies {} s ahead", ahead.as_secs());
        Finding::problem(CHECK, found, FIX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn a_minute_between_clocks_is_a_problem() {
        let now = "2026-11-24T18:00:00Z".parse().unwrap();
        let level = |date| of_answer("the issuer", Some(date), now).unwrap().level;
        assert_eq!(level("Tue, 24 Nov 2026 18:00:01 GMT"), Level::Ok);
        assert_eq!(level("Tue, 24 Nov 2026 17:59:00 GMT"), Level::Problem);
        assert_eq!(of_answer("the issuer", None, now), None);
    }
}
